"""The control: each run's start goes on with supervised lessons for as long as GRPO trained.

    python experiments/first_light/control.py [reward=fine_grained_strict] [seed=0] ...

takes the finished runs of sweep.yaml (those with the named choices, or all), trains into `<run>/control` and evaluates
into `<run>/eval/control`, on the run's own test images and with its reward; `python -m adfm.report` then compares.
What is done is not done again. Time is that inside steps, without start, validation and saving. The seconds of the run
itself are of no use, for it may have shared its machine: a step of each is timed here, in turns, and the control gets
as many steps as fit into GRPO's.
"""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from omegaconf import DictConfig, OmegaConf

from adfm.config.command import user_errors
from adfm.config.compose import check
from adfm.config.run_folder import RunFolder
from adfm.errors import ConfigError
from adfm.evaluation import comparison
from adfm.evaluation.plan import Plan
from adfm.files import write_whole
from adfm.supervised.run import DONE
from adfm.tracking import jsonl, study

HERE = Path(__file__).parent
WARM_UP, TIMED, ROUNDS = 5, 10, 3
"""Steps before the clock is started, and under it, and how often each side has its turn."""
REPORTS = 10
"""Reports of a control; its steps are a multiple, so that the last one says the seconds of all."""


def main(wanted: list[str]) -> None:
    """Train and evaluate the control of every finished run with the wanted choices.

    Raises:
        ConfigError: no cell of the sweep has them, or none is finished.
    """
    cells = {cell.run: cell for cell in study.cells(HERE)}.values()
    chosen = [cell for cell in cells if set(wanted) <= {f"{key}={value}" for key, value in cell.choices.items()}]
    finished = [cell.folder for cell in chosen if cell.folder.completed_steps]
    if not finished:
        raise ConfigError(
            f"{HERE / 'sweep.yaml'} has {len(chosen)} cells with {' '.join(wanted) or 'any choice'}, none of them "
            "finished; run python -m adfm.train -cd experiments/first_light -cn sweep first"
        )
    for run in finished:
        train(run)
        evaluate(run)
    print(f"{len(finished)} of {len(chosen)} controls done; now python -m adfm.report study={HERE}")


def train(run: RunFolder) -> None:
    """Train the control of a run, unless it is there, and say how its seconds compare."""
    folder = run.path / "control"
    if (folder / DONE).is_file():
        return
    if not (folder / "config.yaml").is_file():
        turns = [(grpo_pace(run), control_pace(run)) for _ in range(ROUNDS)]
        ratio = median(grpo / control for grpo, control in turns)
        steps = max(1, round(run.config.steps * ratio / REPORTS)) * REPORTS
        write(coldstart(run, folder, steps), folder)
        told = {"seconds_of_a_step": {"grpo, control": turns}, "ratio": ratio, "control_steps": steps}
        write_whole(folder / "control.json", json.dumps(told, indent=2) + "\n")
        print(f"{run.path.name}: {told}")
    subprocess.run([sys.executable, "-m", "adfm.supervised", str(folder)], check=True)


def grpo_pace(run: RunFolder) -> float:
    """Measure the seconds of a step of GRPO: the median over a short run that is thrown away."""
    config = copy.deepcopy(run.config)
    config.steps = WARM_UP + TIMED
    config.evaluate.at_end, config.evaluate.val_samples, config.logger = False, 1, {"jsonl": config.logger.jsonl}
    with TemporaryDirectory() as parent:
        short = RunFolder(Path(parent) / run.path.name)
        short.path.mkdir()
        write_whole(short.path / "config.yaml", OmegaConf.to_yaml(config, resolve=True))
        subprocess.run([sys.executable, "-m", "adfm", str(short.path)], check=True)
        seconds = [line["seconds/step"] for line in jsonl.read(short.metrics_path) if "seconds/step" in line]
    return median(seconds[WARM_UP:])


def control_pace(run: RunFolder) -> float:
    """Measure the seconds of a step of the control by a short one that is thrown away."""
    with TemporaryDirectory() as folder:
        config = coldstart(run, Path(folder), WARM_UP + TIMED)
        config.supervised.report_every = WARM_UP
        write(config, Path(folder))
        subprocess.run([sys.executable, "-m", "adfm.supervised", folder], check=True)
        start, *_, end = clock(Path(folder))
    return (end["seconds"] - start["seconds"]) / TIMED


def clock(folder: Path) -> list[dict[str, float]]:
    """Read the reports of the newest try that say how long it has trained."""
    lines = [line for line in jsonl.read(folder / "metrics.jsonl") if "seconds" in line]
    first = max(at for at, line in enumerate(lines) if line["step"] == min(line["step"] for line in lines))
    return lines[first:]


def coldstart(run: RunFolder, folder: Path, steps: int) -> DictConfig:
    """Make the config of a control: control.yaml with the run's model, data and template, and so many steps."""
    config = study.composed(
        HERE / "control.yaml",
        [
            f"output={folder}",
            f"seed={run.config.seed}",
            f"supervised.steps={steps}",
            f"supervised.report_every={max(1, steps // REPORTS)}",
            f"supervised.measure_every={steps}",
        ],
    )
    learning_rate = config.model.learning_rate
    own = {name: run.config[name] for name in ("model", "dataset", "reasoning")}
    config = OmegaConf.merge(config, own, {"model": {"learning_rate": learning_rate}})
    assert isinstance(config, DictConfig)
    check(config)
    return config


def write(config: DictConfig, folder: Path) -> None:
    """Write the folder from which `adfm.supervised` trains."""
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "config.yaml", OmegaConf.to_yaml(config, resolve=True))


def evaluate(run: RunFolder) -> None:
    """Evaluate the control as the run was evaluated, unless that is done."""
    config = run.config
    plan = Plan.of(config, score=config.evaluate.score, count=config.evaluate.test_samples)
    node = copy.deepcopy(config.model)
    node.path, node.revision = str(run.path / "control" / "checkpoint"), None
    comparison.compare(replace(plan, baselines=()), after=node, before=None, folder=run.path / "eval" / "control")


if __name__ == "__main__":
    with user_errors():
        main(sys.argv[1:])
