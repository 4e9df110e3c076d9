"""`python -m adfm.train`: compose, check, write the run's folder, hand over. conf/train.yaml says what can be set."""

from __future__ import annotations

import json
import subprocess
import sys

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from adfm.config.command import command
from adfm.config.compose import build, check
from adfm.config.run_folder import RunFolder, prepare
from adfm.data.leaks import guard_run
from adfm.types import Dataset


@command("train")
def main(config: DictConfig) -> float | None:
    """Train, or resume, the run of a config; under multirun return the metric that chose its best checkpoint."""
    check(config)
    dataset: Dataset = build(config.dataset)
    guard_run(dataset, config.leaks)
    swept = HydraConfig.get().mode == RunMode.MULTIRUN
    if swept and config.study is None:
        config.study = config.name  # a sweep is one group in W&B
    folder = prepare(config, dataset)
    engine = config.engine
    done = folder.completed_steps
    if done >= config.steps:
        print(
            f"{folder.path} is complete ({done} steps). Extend it with steps=N (N > {done}), or redo it with "
            f"fresh=true.\nReport: {folder.report}"
        )
    elif engine.nnodes > 1:
        distributed = f"--nnodes={engine.nnodes} --rdzv-backend=c10d --rdzv-endpoint=HOST:29500"
        arguments = " ".join(_ranks(distributed.split(), engine.nproc, folder))
        print(f"{folder.path} is ready. Start it on each machine, HOST being one of them:\n  python {arguments}")
        return None
    elif engine.nproc > 1:
        _hand_over(_ranks(["--standalone"], engine.nproc, folder))
    elif swept:
        _hand_over(["-m", "adfm", str(folder.path)])
    else:
        from adfm.run import execute  # torch takes seconds, and a wrong config is told before

        execute(folder.path)
    return json.loads(folder.summary_path.read_text())[config.evaluate.metric] if swept else None


def _ranks(rendezvous: list[str], nproc: int, folder: RunFolder) -> list[str]:
    launcher = ["-m", "torch.distributed.run", *rendezvous, f"--nproc-per-node={nproc}"]
    return [*launcher, "-m", "adfm", str(folder.path)]


def _hand_over(arguments: list[str]) -> None:
    """Run a Python process and wait for it, also when Ctrl-C asks it to end; leave with its status if it fails."""
    process = subprocess.Popen([sys.executable, *arguments])
    try:
        status = process.wait()
    except KeyboardInterrupt:
        status = process.wait()
    if status:
        sys.exit(status)


if __name__ == "__main__":
    main()
