"""The command as a line of production runs it: in its own process, with the embedded model, and killed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from inspection_support import content, rows
from killed_process import finish, kill_when, lines_of, start
from PIL import Image
from pycocotools.coco import COCO

pytestmark = pytest.mark.slow

IMAGES = 40


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


def test_killed_and_started_again_it_ends_with_the_same_files(images: Path, tmp_path: Path) -> None:
    def inspection(out: str) -> list[str]:
        processes = {"whole": 1, "killed": 2}[out]  # two share the batches, in the same order
        return ["adfm.predict", f"images='{images}'", f"out='{tmp_path / out}'", "batch=2", f"nproc={processes}"]

    assert f"{IMAGES} images: " in finish(start(*inspection("whole")), status=1)

    out = tmp_path / "killed"
    file = out / "predictions.jsonl"
    for least in (1, 9):
        kill_when(start(*inspection("killed")), lambda least=least: len(lines_of(file)) >= least)
        assert not (out / "summary.json").exists()
        assert least <= len(lines_of(file)) < IMAGES
    finish(start(*inspection("killed")), status=1)
    assert content(out) == content(tmp_path / "whole")

    verdicts = {row["path"]: row["verdict"] for row in rows(out)}
    assert set(verdicts.values()) <= {"normal", "anomalous"}
    assert sum(verdicts[f"{number:02d}.png"] == "anomalous" for number in range(1, IMAGES, 2)) > IMAGES // 4
    coco = COCO(str(out / "coco.json"))
    assert len(coco.loadRes(coco.dataset["annotations"]).getAnnIds()) == len(coco.getAnnIds()) > 0
