"""Opening a data set as a user does: by its config."""

from __future__ import annotations

from pathlib import Path

from adfm.config.compose import build, check, compose
from adfm.types import Dataset


def opened(option: str, root: Path, *overrides: str) -> Dataset:
    """Compose `dataset=<option>` with its root and further overrides, check it and build it."""
    config = compose("data", [f"dataset={option}", f"dataset.root={root}", *overrides])
    check(config)
    return build(config.dataset)
