"""What a checkpoint was trained on: the names of the data sets, and the images as far as runs have kept them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from adfm.config.compose import build
from adfm.config.run_folder import RunFolder
from adfm.data.kept import Training, training
from adfm.models import tiny
from adfm.models.card import read_card


def trained_on(checkpoint: str) -> list[str] | None:
    """Return the names of the data sets that a checkpoint was trained on, those of its starts among them.

    Its card says them, else the run in whose `export` it lies. None where nothing says them.
    """
    card = read_card(tiny.folder() if checkpoint == "tiny" else Path(checkpoint))
    if card is not None and card.trained_on is not None:
        return list(card.trained_on)
    run = run_of(checkpoint)
    return None if run is None else names_after(run.config.model.path, run.config.dataset)


def names_after(start: str | None, dataset: Any) -> list[str]:
    """Return what `trained_on` says after training on a `dataset` node, from `start` or (None) from random weights."""
    return list(dict.fromkeys([*(trained_on(start) or () if start else ()), *data_set_names(dataset)]))


def training_of(checkpoint: str) -> Training:
    """Find the samples that a checkpoint was trained on, by the run in whose `export` it lies and those before it."""
    found = Training()
    while (run := run_of(checkpoint)) is not None:
        config: DictConfig = run.config
        found += training(run.data, partial(build, config.dataset))
        checkpoint = config.model.path
    return found


def run_of(checkpoint: str) -> RunFolder | None:
    """Return the run whose `export` a checkpoint folder lies in; None for any other checkpoint."""
    export = Path(checkpoint).absolute().parent
    return RunFolder(export.parent) if export.name == "export" and (export.parent / "config.yaml").is_file() else None


def data_set_names(node: Any) -> list[str]:
    """Return the name of the data set that a `dataset` node describes, or those of the data sets it mixes."""
    mixed = [name for child in node.get("datasets", {}).values() for name in data_set_names(child)]
    return mixed or [node.get("name") or node["_target_"].rpartition(".")[2].lower()]
