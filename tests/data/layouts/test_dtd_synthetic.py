from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from data_support import opened
from trees import counts, draw, samples

from adfm.errors import DataError

HOME = "Woven_001"
BOXES = ((6, 4, 20, 10), (2, 16, 8, 22))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Of one texture, 5 + 1 normals and two bad images, whose masks have names of their own."""
    for place in range(5):
        draw(tmp_path / HOME / "train" / "good" / f"{place:03d}.png")
    draw(tmp_path / HOME / "test" / "good" / "000.png")
    for place, box in enumerate(BOXES):
        draw(tmp_path / HOME / "test" / "bad" / f"{place:03d}.png")
        draw(tmp_path / HOME / "ground_truth" / "bad" / f"{place + 7:03d}_gt.png", box)
    return tmp_path


def test_masks_are_paired_in_the_order_of_names(root: Path):
    data = opened("dtd_synthetic", root, "dataset/split=published")
    assert counts(data) == {
        "train": {("Woven 001", None): 4},
        "val": {("Woven 001", None): 1},
        "test": {("Woven 001", None): 1, ("Woven 001", "defect"): 2},
    }
    for place, box in enumerate(BOXES):
        assert samples(data)[f"{HOME}/test/bad/{place:03d}"].boxes == (tuple(map(float, box)),)


def test_damage_is_named(root: Path):
    masks = root / HOME / "ground_truth" / "bad"
    (masks / "007_gt.png").unlink()
    fewer = f"{masks}: has 1 masks for the 2 images of {root / HOME}/test/bad; they are paired in the order of their"
    with pytest.raises(DataError, match=re.escape(fewer)):
        opened("dtd_synthetic", root).split("test")
    shutil.rmtree(masks)
    with pytest.raises(DataError, match=re.escape(f"{masks}: cannot be listed (No such file or directory)")):
        opened("dtd_synthetic", root).split("test")
    shutil.rmtree(root / HOME / "train")
    with pytest.raises(DataError, match=re.escape(f"{root}: has no category of this layout; check dataset.root")):
        opened("dtd_synthetic", root).split("test")
