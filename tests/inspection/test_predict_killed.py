"""The command as a line of production runs it: in its own process, with the embedded model, and killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from inspection_support import content, rows
from PIL import Image
from pycocotools.coco import COCO

pytestmark = pytest.mark.slow

IMAGES = 40
LONGEST = 600
"""Seconds that a process may take."""


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Noise, every other image with a bright square."""
    rng = np.random.default_rng(0)
    (tmp_path / "größe (1)").mkdir()
    for number in range(IMAGES):
        grey = rng.integers(90, 110, size=(112, 112), dtype=np.uint8)
        if number % 2:
            grey[20:40, 30 : 40 + number] = 250
        Image.fromarray(grey).save(tmp_path / "größe (1)" / f"{number:02d}.png")
    return tmp_path / "größe (1)"


def start(images: Path, out: Path, repository: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "adfm.predict", f"images='{images}'", f"out='{out}'", "batch=2"]
    environment = os.environ | {"PYTHONPATH": str(repository)}
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_killed_and_started_again_it_ends_with_the_same_files(images: Path, tmp_path: Path, repository: Path) -> None:
    whole = start(images, tmp_path / "whole", repository)
    said, _ = whole.communicate(timeout=LONGEST)
    assert whole.returncode == 1, said
    assert f"{IMAGES} images: " in said

    out = tmp_path / "killed"
    file = out / "predictions.jsonl"
    for least in (1, 9):
        process = start(images, out, repository)
        deadline = time.monotonic() + LONGEST
        while not file.exists() or file.read_bytes().count(b"\n") < least:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert not (out / "summary.json").exists()
        assert least <= file.read_bytes().count(b"\n") < IMAGES
    resumed = start(images, out, repository)
    resumed.communicate(timeout=LONGEST)
    assert resumed.returncode == 1
    assert content(out) == content(tmp_path / "whole")

    verdicts = {row["path"]: row["verdict"] for row in rows(out)}
    assert set(verdicts.values()) <= {"normal", "anomalous"}
    assert sum(verdicts[f"{number:02d}.png"] == "anomalous" for number in range(1, IMAGES, 2)) > IMAGES // 4
    coco = COCO(str(out / "coco.json"))
    assert len(coco.loadRes(coco.dataset["annotations"]).getAnnIds()) == len(coco.getAnnIds()) > 0
