"""`python -m adfm.coldstart`: from labels to a model that GRPO can start from. See conf/coldstart.yaml."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from adfm.config.command import command
from adfm.config.compose import check
from adfm.errors import ConfigError
from adfm.files import write_whole

UNCOMPARED = ("command", "engine", "fresh")
"""Keys that may differ when an unfinished cold start goes on."""


@command("coldstart")
def main(config: DictConfig) -> None:
    """Train the cold start of a config, or go on with it, and say where its checkpoint lies."""
    check(config)
    from adfm.supervised.run import DONE, ColdStart, checkpoint_folder  # torch takes seconds

    folder = Path(config.output)
    config.command = shlex.join(["python", "-m", "adfm.coldstart", *sys.argv[1:]])
    if config.fresh and folder.exists():
        shutil.rmtree(folder)
    if (folder / "config.yaml").is_file():
        _check_same(folder, config)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / "config.yaml", OmegaConf.to_yaml(config, resolve=True))
    checkpoint = checkpoint_folder(config)
    if (folder / DONE).is_file():
        print(f"{folder} is complete. Redo it with fresh=true, or choose another output=.")
    elif config.engine.nproc > 1:
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={config.engine.nproc}"]
        subprocess.run([sys.executable, *launcher, "-m", "adfm.supervised", str(folder)], check=True)
    else:
        ColdStart(folder).run()
    print(f"Checkpoint: {checkpoint}\nTrain it with python -m adfm.train model.path={checkpoint}")


def _check_same(folder: Path, config: DictConfig) -> None:
    """Refuse to go on with a cold start of another config."""
    there = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml"))
    here = OmegaConf.to_container(config, resolve=True)
    assert isinstance(there, dict)
    assert isinstance(here, dict)
    differing = sorted(str(key) for key in here if key not in UNCOMPARED and here[key] != there.get(key))
    if differing:
        raise ConfigError(
            f"{folder} holds a cold start with another {', '.join(differing)}; "
            "choose another output=, or fresh=true to drop it"
        )


if __name__ == "__main__":
    main()
