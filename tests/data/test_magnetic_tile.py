from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from adfm.data.layouts.magnetic_tile import MagneticTile
from adfm.data.leaks import leaks
from adfm.errors import ConfigError, DataError
from adfm.types import Dataset

PARTS = ("train", "val", "test")


@pytest.fixture(scope="module")
def data(shared: Path) -> MagneticTile:
    return MagneticTile(shared / "data" / "magnetic_tile")


def test_every_image_is_in_one_part_or_named_as_left_out(data: MagneticTile):
    assert isinstance(data, Dataset)
    ids = [sample.id for part in PARTS for sample in data.split(part)]
    assert len(ids) == len(set(ids)) == 1344 - len(data.excluded)
    assert data.excluded == {
        "MT_Uneven/exp3_num_45042": "mask is empty",
        "MT_Uneven/exp4_num_124690": "mask is empty",
        "MT_Uneven/exp4_num_352527": "mask is empty",
        "MT_Uneven/exp4_num_45057": "mask is empty",
        "MT_Uneven/exp3_num_24829": "mask has 1 pixels, none in a component of dataset.min_area=5",
        "MT_Uneven/exp4_num_24843": "mask has 3 pixels, none in a component of dataset.min_area=5",
    }


def test_types_are_divided_by_the_shares(data: MagneticTile):
    counts = {part: Counter(sample.defect_type for sample in data.split(part)) for part in PARTS}
    total = sum(counts.values(), Counter())
    assert total == {None: 952, "blowhole": 115, "break": 85, "crack": 57, "fray": 32, "uneven": 97}
    for kind, number in total.items():
        assert abs(counts["val"][kind] / number - 0.15) < 0.04
        assert abs(counts["test"][kind] / number - 0.25) < 0.04


def test_near_identical_images_stay_in_one_part(data: MagneticTile):
    home = {sample.id: part for part in PARTS for sample in data.split(part)}
    assert home["MT_Crack/exp4_num_85602"] == home["MT_Crack/exp4_num_85998"]
    assert leaks({part: data.split(part) for part in PARTS}) == []


def test_samples_carry_boxes_knowledge_and_a_good_reference_of_train(data: MagneticTile):
    good = {sample.image for sample in data.split("train") if not sample.anomalous}
    for sample in data.split("test"):
        assert bool(sample.boxes) == sample.anomalous
        assert all(0 <= x0 < x1 <= sample.width and 0 <= y0 < y1 <= sample.height for x0, y0, x1, y1 in sample.boxes)
        assert sample.references[0] in good
        assert "blowhole" in sample.knowledge


def test_a_missing_folder_and_useless_shares_are_named(tmp_path: Path):
    (tmp_path / "MT_Free" / "Imgs").mkdir(parents=True)
    message = f"{tmp_path}: lacks MT_Blowhole/Imgs, MT_Break/Imgs, MT_Crack/Imgs, MT_Fray/Imgs, MT_Uneven/Imgs"
    with pytest.raises(DataError, match=re.escape(message)):
        MagneticTile(tmp_path)
    with pytest.raises(ConfigError, match=re.escape("dataset.val=0.5 and dataset.test=0.5 must be above 0 and leave")):
        MagneticTile(tmp_path, val=0.5, test=0.5)
