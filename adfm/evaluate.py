"""`python -m adfm.evaluate`: a run, or a checkpoint folder, on a data set. See conf/evaluate.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from adfm.config.command import command
from adfm.config.compose import check
from adfm.config.run_folder import RunFolder, checkpoint_hash, newest
from adfm.errors import ConfigError

PLAN = (
    "split",
    "score",
    "draws",
    "temperature",
    "seed",
    "answering",
    "batch",
    "nproc",
    "resamples",
    "calibrate",
    "baselines",
)
"""Keys that go to the plan as they are."""


@command("evaluate")
def main(config: DictConfig) -> None:
    """Evaluate, print the tables, write the page beside the numbers and say where it lies."""
    check(config)
    from adfm.evaluation.comparison import compare  # torch takes seconds, and a wrong config is told before
    from adfm.evaluation.plan import Plan
    from adfm.tracking.html import evaluation as page

    OmegaConf.resolve(config)  # its nodes are taken out of it
    subject = _checkpoint(config) if config.checkpoint is not None else _run(config)
    settings = {name: config[name] for name in PLAN}
    plan = Plan.of(subject.pop("nodes"), count=config.samples, **settings)
    print(compare(plan, **subject, leaks=config.leaks), end="\n\n")
    for part in plan.parts():
        print(page.write(subject["folder"] / part.folder_name))


def _run(config: DictConfig) -> dict[str, Any]:
    """Take a run's own groups, except where the command names others, and its exported weights."""
    run = RunFolder(Path(config.run)) if config.run is not None else newest(Path(config.runs))
    own = run.config
    exported = run.path / "export" / config.which
    if not exported.is_dir():
        raise ConfigError(f"{run.path} has no export/{config.which} yet; let the run go on, or use checkpoint=<folder>")
    start = own.model if config.model is None else config.model
    after = OmegaConf.merge(start, {"path": str(exported), "revision": None})
    nodes = {name: own[name] if config[name] is None else config[name] for name in ("dataset", "reasoning")}
    return {
        "nodes": nodes | {"reward": own.reward, "masks": config.masks},
        "after": after,
        "before": start if config.before else None,
        "folder": run.path / "eval",
    }


def _checkpoint(config: DictConfig) -> dict[str, Any]:
    """Take a checkpoint with the groups that the command names; there is no run to take them from."""
    missing = [name for name in ("model", "dataset", "reasoning") if config[name] is None]
    if config.run is not None:
        raise ConfigError("run and checkpoint are both set: give one of them")
    if missing:
        raise ConfigError(f"checkpoint={config.checkpoint} needs also {' '.join(f'{name}=...' for name in missing)}")
    content = checkpoint_hash(config.checkpoint, None)
    name = f"{Path(config.checkpoint).name}-{content[:8]}" if Path(config.checkpoint).is_dir() else content
    return {
        "nodes": {name: config[name] for name in ("dataset", "reasoning", "masks")},
        "after": OmegaConf.merge(config.model, {"path": config.checkpoint, "revision": None}),
        "before": None,
        "folder": Path(config.runs) / "checkpoints" / name.replace("/", "--") / "eval",
    }


if __name__ == "__main__":
    main()
