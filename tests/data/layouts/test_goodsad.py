from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from data_support import opened
from trees import counts, draw, samples

from adfm.errors import DataError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Of `drink_can`, 5 + 1 normals and two images of one defect."""
    home = tmp_path / "drink_can"
    for place in range(5):
        draw(home / "train" / "good" / f"001_{place:03d}.jpg")
    draw(home / "test" / "good" / "002_000.jpg")
    for place in range(2):
        draw(home / "test" / "surface_damage" / f"003_{place:03d}.jpg")
        draw(home / "ground_truth" / "surface_damage" / f"003_{place:03d}.png", (6, 4, 20, 10))
    return tmp_path


def test_a_photograph_has_the_mask_of_its_name(root: Path):
    data = opened("goodsad", root, "dataset/split=published")
    assert counts(data) == {
        "train": {("drink can", None): 4},
        "val": {("drink can", None): 1},
        "test": {("drink can", None): 1, ("drink can", "surface damage"): 2},
    }
    sample = samples(data)["drink_can/test/surface_damage/003_001"]
    assert sample.image.suffix == ".jpg"
    assert sample.boxes == ((6.0, 4.0, 20.0, 10.0),)


def test_damage_is_named(root: Path):
    home = root / "drink_can"
    (home / "ground_truth" / "surface_damage" / "003_001.png").write_bytes(b"")
    sample = samples(opened("goodsad", root, "dataset/split=published"))["drink_can/test/surface_damage/003_001"]
    with pytest.raises(DataError, match=re.escape(f"{home}/ground_truth/surface_damage/003_001.png: is empty")):
        _ = sample.boxes
    shutil.rmtree(home / "ground_truth")
    gone = f"{home}/ground_truth/surface_damage: cannot be listed (No such file or directory); check dataset.root"
    with pytest.raises(DataError, match=re.escape(gone)):
        opened("goodsad", root).split("test")
    for image in (home / "test" / "good").iterdir():
        image.unlink()
    with pytest.raises(DataError, match=re.escape(f"{home}/test/good: has no images (.bmp, .jpeg, .jpg, .png,")):
        opened("goodsad", root).split("test")
