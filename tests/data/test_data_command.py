from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adfm.data.__main__ import problems, table
from adfm.data.manifest import Manifest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three samples in two parts; the test image is a copy of the train image."""
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        Image.fromarray(rng.integers(0, 255, (32, 32), np.uint8)).save(tmp_path / f"{name}.png")
    (tmp_path / "copy.png").write_bytes((tmp_path / "a.png").read_bytes())
    (tmp_path / "train.jsonl").write_text(
        '{"image": "a.png", "category": "disc", "anomalous": false}\n'
        '{"image": "b.png", "category": "disc", "anomalous": true, "defect_type": "dent", "boxes": [[1, 2, 9, 9]]}\n'
    )
    (tmp_path / "test.jsonl").write_text('{"image": "copy.png", "category": "disc", "anomalous": false}\n')
    return tmp_path


def _command(folder: Path, repository: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "adfm.data", "dataset=manifest", f"dataset.root={folder}"],
        cwd=repository,
        env={**os.environ, "ADFM_CACHE": str(folder / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_table_counts_types_and_parts(folder: Path):
    data = Manifest(folder)
    text = table("mine", {part: data.split(part) for part in ("train", "val", "test")})
    assert [line.split() for line in text.splitlines()] == [
        ["mine", "train", "val", "test"],
        ["normal", "1", "0", "1"],
        ["dent", "1", "0", "0"],
        ["all", "2", "0", "1"],
        ["categories", "1", "0", "1"],
    ]


def test_the_command_names_leaks(folder: Path, repository: Path):
    done = _command(folder, repository)
    assert done.returncode == 0, done.stderr
    assert "near-duplicates across parts: 1\n  a.png and copy.png" in done.stdout


def test_the_command_names_an_unreadable_image(folder: Path, repository: Path):
    (folder / "b.png").write_bytes((folder / "b.png").read_bytes()[:200])
    done = _command(folder, repository)
    assert done.returncode == 2
    assert f"1 problems, the first 1:\n{folder}/b.png: cannot be decoded" in done.stderr


def test_an_anomaly_without_box_and_an_id_in_two_parts_are_problems(folder: Path):
    (folder / "test.jsonl").write_text('{"image": "a.png", "category": "disc", "anomalous": true}\n')
    data = Manifest(folder)
    assert list(problems({part: data.split(part) for part in ("train", "test")})) == [
        "a.png: in test and in train",
        "a.png: anomalous but without a box",
    ]
