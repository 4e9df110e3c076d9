"""Checkpoints that are whole or absent: written under another name, flushed, renamed, then pointed to.

    <folder>/latest               the name of the newest checkpoint, replaced in one step
    <folder>/step-000020/         what the engine wrote
    <folder>/writing-step-000040  a checkpoint that was never finished; the next save removes it

Anything else in the folder (`best`, `final`, an export) is never touched.
"""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from adfm.errors import DataError

WRITING = "writing-"
LATEST = "latest"


def latest(folder: Path) -> Path | None:
    """Return the newest whole checkpoint in `folder`, or None if there is none yet."""
    pointer = folder / LATEST
    if not pointer.is_file():
        return None
    checkpoint = folder / pointer.read_text().strip()
    if not checkpoint.is_dir():
        raise DataError(
            f"{pointer} names {checkpoint.name}, which is not there; write the name of another into it or delete it"
        )
    return checkpoint


def begin(folder: Path, step: int) -> str:
    """Clear what unfinished saves left behind and return the name under which to write the checkpoint of `step`."""
    folder.mkdir(parents=True, exist_ok=True)
    for unfinished in folder.glob(f"{WRITING}*"):
        shutil.rmtree(unfinished)
    name = f"step-{step:06d}"
    while (folder / name).exists():
        name += "b"
    (folder / f"{WRITING}{name}").mkdir()
    return f"{WRITING}{name}"


def commit(folder: Path, written: str, keep: int) -> Path:
    """Make the checkpoint written under the name from `begin` the latest, and delete all but the newest `keep`.

    Everything is on disk before the name changes, and the name changes before `latest` does, so that a crash at any
    moment leaves the previous checkpoint or this one.
    """
    for path in sorted((folder / written).rglob("*")):
        _flush(path)
    _flush(folder / written)
    checkpoint = (folder / written).rename(folder / written.removeprefix(WRITING))
    _flush(folder)
    pointer = folder / f"{WRITING}{LATEST}"
    pointer.write_text(checkpoint.name)
    _flush(pointer)
    pointer.replace(folder / LATEST)
    _flush(folder)
    for old in sorted(folder.glob("step-*"))[:-keep]:
        shutil.rmtree(old)
    return checkpoint


def random_state(device: torch.device) -> dict[str, Any]:
    """Return the state of every global random generator of this process: Python, numpy, torch and the GPU's."""
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }


def restore_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Put every global random generator of this process back to where `random_state` found it."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)


def _flush(path: Path) -> None:
    """Make sure that a file or a folder's list of names is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
