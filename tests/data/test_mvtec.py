from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adfm.data.layouts.mvtec import MVTec
from adfm.errors import DataError
from adfm.types import Dataset

PARTS = ("train", "val", "test")


def _image(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (32, 24), value).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A `bottle` with 10 + 3 normals and 5 broken ones; a `gadget` with 5 + 1 normals and 4 bent ones."""
    sizes = {"bottle": (10, 3, "broken_large", 5), "gadget": (5, 1, "bent", 4)}
    for category, (train, good, defect, anomalies) in sizes.items():
        for number in range(train):
            _image(tmp_path / category / "train" / "good" / f"{number:03d}.png", number)
        for number in range(good):
            _image(tmp_path / category / "test" / "good" / f"{number:03d}.png", 100 + number)
        for number in range(anomalies):
            _image(tmp_path / category / "test" / defect / f"{number:03d}.png", 200 + number)
            mask = np.zeros((24, 32), np.uint8)
            mask[4:10, 6:20] = 255
            target = tmp_path / category / "ground_truth" / defect / f"{number:03d}_mask.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(target)
    return tmp_path


def _counts(data: MVTec) -> dict[str, Counter]:
    return {part: Counter(sample.defect_type for sample in data.split(part)) for part in PARTS}


def test_shots_leave_the_test_part(root: Path):
    data = MVTec(root, "bottle", shots_per_type=2, val_shots_per_type=1, val=0.2)
    assert isinstance(data, Dataset)
    assert _counts(data) == {
        "train": {None: 8, "broken large": 2},
        "val": {None: 2, "broken large": 1},
        "test": {None: 3, "broken large": 2},
    }
    ids = [sample.id for part in PARTS for sample in data.split(part)]
    assert len(ids) == len(set(ids)) == 18
    assert "bottle/test/broken_large/000" in ids


def test_a_sample_has_box_mask_reference_and_knowledge(root: Path):
    sample = MVTec(root, "bottle", shots_per_type=2, val_shots_per_type=1).split("test")[-1]
    assert sample.boxes == ((6.0, 4.0, 20.0, 10.0),)
    assert sample.mask is not None
    assert sample.mask.parent == root / "bottle" / "ground_truth" / "broken_large"
    assert sample.references[0].parent == root / "bottle" / "train" / "good"
    assert sample.knowledge.startswith("Good is the round mouth of a bottle")


def test_several_categories_and_one_without_text(root: Path):
    data = MVTec(root, ["bottle", "gadget"], shots_per_type=2, val_shots_per_type=1)
    assert Counter(sample.category for sample in data.split("train")) == {"bottle": 10, "gadget": 6}
    assert data.split("train")[-1].knowledge == "Possible defects: bent."


def test_the_seed_decides_what_is_drawn(root: Path):
    first, again, other = (MVTec(root, "bottle", shots_per_type=2, seed=seed).split("train") for seed in (0, 0, 3))
    assert list(first) == list(again)
    assert [sample.id for sample in first] != [sample.id for sample in other]


def test_what_is_missing_is_named(root: Path):
    few = (
        f"{root}/gadget/test/bent: has 4 images, too few for dataset.shots_per_type=3 and dataset.val_shots_per_type=1"
    )
    with pytest.raises(DataError, match=re.escape(few)):
        MVTec(root, "gadget", shots_per_type=3, val_shots_per_type=1)
    with pytest.raises(
        DataError, match=re.escape(f"{root}/cable/train/good: no such folder; expected the tree of MVTec")
    ):
        MVTec(root, "cable")
    (root / "bottle" / "ground_truth" / "broken_large" / "003_mask.png").unlink()
    with pytest.raises(
        DataError, match=re.escape(f"{root}/bottle/ground_truth/broken_large/003_mask.png: no such image")
    ):
        MVTec(root, "bottle", shots_per_type=2)
