"""The folder of a run: which one it is, what lies where, who may write, and whether it is complete.

    runs/<name>-<id>/   config.yaml   env.json   metrics.jsonl   metrics.json   data/   samples/   checkpoints/
                        eval/<dataset>/   report.html   completed.json   lock

`<id>` is a hash of what changes the result, so the same command finds its own folder again and resumes.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from adfm.errors import ConfigError
from adfm.files import write_whole
from adfm.models import card, tiny
from adfm.types import Dataset

NOT_IDENTITY = (
    # where things lie, what is recorded, on what it runs, how long
    *("name", "runs", "fresh", "study", "steps", "logger", "callbacks", "engine", "checkpoint"),
    # looks at the result, but chooses nothing
    *("evaluate.test_samples", "evaluate.at_end", "leaks"),
    # the content of the checkpoint and of the data is hashed instead
    *("model.path", "model.revision", "dataset.root", "dataset.manifest"),
    *("dataset.datasets.*.root", "dataset.datasets.*.manifest"),
    # changes cost, not results
    *("model.gradient_checkpointing", "model.feature_cache_mb"),
    *("model.feature_cache_disk", "model.feature_cache_disk_gb"),
    *("model.token_budget", "model.prompt_tokens"),
    *("model.zero_stage", "model.offload"),
    # counts where it is used: in optimizer, rollout and the run itself
    *("model.learning_rate", "model.warmup_steps", "model.steps", "model.prompts_per_step", "model.completion_tokens"),
)
"""Config paths that do not enter a run's identity; * stands for every key."""
CAME_LATER = ("sampling", "optimizer.average")
"""Choices that runs once did not have; null, which is what they all did, does not enter it either."""


@dataclass(frozen=True)
class RunFolder:
    """One run's folder, by name of what lies in it."""

    path: Path

    @property
    def config(self) -> DictConfig:
        """The composed and resolved config of the run."""
        file = self.path / "config.yaml"
        if not file.is_file():
            raise ConfigError(f"{self.path} is not a run folder: it has no config.yaml")
        config = OmegaConf.load(file)
        assert isinstance(config, DictConfig)
        return config

    @property
    def metrics_path(self) -> Path:
        """One JSON object per step."""
        return self.path / "metrics.jsonl"

    @property
    def summary_path(self) -> Path:
        """The final metrics, as one JSON object."""
        return self.path / "metrics.json"

    @property
    def data(self) -> Path:
        """The split that the run trained on; see `adfm.data.kept.store`."""
        return self.path / "data"

    @property
    def samples(self) -> Path:
        """Completions with their rewards."""
        return self.path / "samples"

    @property
    def checkpoints(self) -> Path:
        """What a run needs to go on, and the exported model."""
        return self.path / "checkpoints"

    @property
    def report(self) -> Path:
        """The page about the run."""
        return self.path / "report.html"

    def evaluation(self, dataset: str) -> Path:
        """Return the folder for predictions and metrics on a data set."""
        return self.path / "eval" / dataset

    @property
    def completed_steps(self) -> int:
        """How many steps the run had when it last finished; 0 if it never did."""
        marker = self.path / "completed.json"
        return json.loads(marker.read_text())["steps"] if marker.is_file() else 0

    def complete(self, steps: int) -> None:
        """Mark the run as finished at this many steps."""
        write_whole(self.path / "completed.json", json.dumps({"steps": steps}))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out while this one writes; the system frees the lock of a process that died.

        Raises ConfigError that names the holder if another process has it, or if there is no such folder.
        """
        if not self.path.is_dir():
            raise ConfigError(f"{self.path}: there is no such run folder")
        with (self.path / "lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                message = f"{self.path} is in use by {file.read()}; wait until it ends, or stop it, then run this again"
                raise ConfigError(message) from None
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}")
            file.flush()
            yield


def prepare(config: DictConfig, dataset: Dataset) -> RunFolder:
    """Find or make the folder of a checked training config, whose data set is built, and write `config.yaml`.

    With `fresh` an existing folder of the same identity is moved aside. Raises ConfigError if another process uses it.
    """
    plain: Any = OmegaConf.to_container(config, resolve=True)
    start = checkpoint_hash(plain["model"]["path"], plain["model"]["revision"])
    run_id = identity(plain, start, dataset.fingerprint())
    folder = RunFolder(Path(plain["runs"]) / f"{plain['name']}-{run_id}")
    if plain["fresh"] and folder.path.exists():
        with folder.locked():
            folder.path.rename(_aside(folder.path))
    folder.path.mkdir(parents=True, exist_ok=True)
    with folder.locked():
        write_whole(folder.path / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(plain)))
    return folder


def newest(runs: Path) -> RunFolder:
    """Return the run whose config was written last; raises ConfigError if there is none."""
    configs = [file for file in runs.glob("*/config.yaml") if ".old-" not in file.parent.name]
    if not configs:
        raise ConfigError(f"there is no run in {runs}; make one with python -m adfm.train, or name one with run=...")
    return RunFolder(max(configs, key=lambda file: file.stat().st_mtime_ns).parent)


def identity(config: Mapping[str, Any], checkpoint_hash: str, data_fingerprint: str) -> str:
    """Return 8 hex digits that change exactly when the result of a run may change; see `NOT_IDENTITY`."""
    science = deepcopy(dict(config))
    for path in NOT_IDENTITY:
        _drop(science, path.split("."))
    for path in CAME_LATER:
        keys = path.split(".")
        if reduce(lambda node, key: (node or {}).get(key), keys, science) is None:
            _drop(science, keys)
    content = json.dumps([_canonical(science), checkpoint_hash, data_fingerprint], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:8]


def _drop(node: Any, path: Sequence[str]) -> None:
    if not isinstance(node, dict):
        return
    first, *rest = path
    for key in list(node) if first == "*" else [first]:
        if rest:
            _drop(node.get(key), rest)
        else:
            node.pop(key, None)


def checkpoint_hash(path: str, revision: str | None) -> str:
    """Return a hash of the bytes of a local checkpoint folder, or the id and revision of one on the hub.

    The card beside the weights does not count: it changes with a calibration, what the model writes does not.

    Raises ConfigError for what is neither.
    """
    folder = tiny.folder() if path == "tiny" else Path(path)
    if folder.is_dir():
        digest = hashlib.sha256()
        for file in sorted(folder.rglob("*")):
            if file.is_file() and file.name != card.NAME:
                digest.update(str(file.relative_to(folder)).encode())
                with file.open("rb") as stream:
                    digest.update(hashlib.file_digest(stream, "sha256").digest())
        return digest.hexdigest()
    if path.count("/") != 1 or path.startswith((".", "/", "~")):
        raise ConfigError(
            f"model.path: {path} is neither a folder nor a hub id; use model.path=<folder> or model.path=<owner>/<name>"
        )
    return f"{path}@{revision or 'main'}"


def _aside(path: Path) -> Path:
    number = 1
    while (aside := path.with_name(f"{path.name}.old-{number}")).exists():
        number += 1
    return aside


def _canonical(value: Any) -> Any:
    """Make numbers that are equal look equal, whether written 1 or 1.0."""
    if isinstance(value, Mapping):
        return {str(key): _canonical(child) for key, child in value.items()}
    if isinstance(value, list):
        return [_canonical(child) for child in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
