"""Fixtures of the tracking tests; `fake_run` makes what they hold."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
from fake_run import CONFIG, draw_sample, fill

from adfm.types import Sample


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """An empty run folder with its config."""
    folder = tmp_path / "runs" / "adfm-0a1b2c3d"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(CONFIG, encoding="utf-8")
    return folder


@pytest.fixture
def finished(run_folder: Path, tmp_path: Path) -> Path:
    """The folder of a finished run of 12 steps, evaluated before and after on 24 images."""
    fill(run_folder, tmp_path / "images", steps=12, held_out=24)
    return run_folder


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    """One defective image of 64 x 48 pixels with its boxes alone."""
    return replace(draw_sample(tmp_path / "images", 0, random.Random(0), size=(64, 48)), mask=None)
