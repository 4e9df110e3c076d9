from __future__ import annotations

import re
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from data_support import opened
from PIL import Image

from adfm.data.benchmark import Benchmark
from adfm.data.images import read_image
from adfm.data.leaks import leaks
from adfm.data.likeness import close, standardised, thumbnail
from adfm.errors import ConfigError, DataError
from adfm.types import Dataset

PARTS = ("train", "val", "test")


@pytest.fixture(scope="module")
def data(shared: Path) -> Benchmark:
    data = opened("magnetic_tile", shared / "data" / "magnetic_tile")
    assert isinstance(data, Benchmark)
    return data


def test_every_image_is_in_one_part_or_named_as_left_out(data: Benchmark):
    assert isinstance(data, Dataset)
    ids = [sample.id for part in PARTS for sample in data.split(part)]
    assert len(ids) == len(set(ids)) == 1344 - len(data.excluded)
    assert data.excluded == {
        "MT_Uneven/exp3_num_45042": "mask is empty",
        "MT_Uneven/exp4_num_124690": "mask is empty",
        "MT_Uneven/exp4_num_352527": "mask is empty",
        "MT_Uneven/exp4_num_45057": "mask is empty",
        "MT_Uneven/exp3_num_24829": "mask has 1 pixels, none in a component of dataset.min_area",
        "MT_Uneven/exp4_num_24843": "mask has 3 pixels, none in a component of dataset.min_area",
    }


def test_types_are_divided_by_the_shares(data: Benchmark):
    counts = {part: Counter(sample.defect_type for sample in data.split(part)) for part in PARTS}
    total = sum(counts.values(), Counter())
    assert total == {None: 952, "blowhole": 115, "break": 85, "crack": 57, "fray": 32, "uneven": 97}
    for kind, number in total.items():
        assert abs(counts["val"][kind] / number - 0.15) < 0.04
        assert abs(counts["test"][kind] / number - 0.25) < 0.04


def test_near_identical_images_stay_in_one_part(data: Benchmark):
    home = {sample.id: part for part in PARTS for sample in data.split(part)}
    assert home["MT_Crack/exp4_num_85602"] == home["MT_Crack/exp4_num_85998"]
    assert leaks({part: data.split(part) for part in PARTS}).found == []
    shots = {
        part: np.array([standardised(thumbnail(read_image(sample.image))) for sample in data.split(part)])
        for part in PARTS
    }
    for first, second in combinations(PARTS, 2):
        assert list(close(shots[first], shots[second], 0.98)) == []


def test_samples_carry_boxes_knowledge_and_a_good_reference_of_train(data: Benchmark):
    good = {sample.image for sample in data.split("train") if not sample.anomalous}
    for sample in data.split("test"):
        assert bool(sample.boxes) == sample.anomalous
        assert all(0 <= x0 < x1 <= sample.width and 0 <= y0 < y1 <= sample.height for x0, y0, x1, y1 in sample.boxes)
        assert sample.references[0] in good
        assert "blowhole" in sample.knowledge


def test_a_missing_folder_and_useless_shares_are_named(tmp_path: Path):
    (tmp_path / "MT_Free" / "Imgs").mkdir(parents=True)
    with pytest.raises(DataError, match=re.escape(f"{tmp_path}/MT_Free/Imgs: has no images")):
        opened("magnetic_tile", tmp_path).split("train")
    Image.new("L", (8, 8)).save(tmp_path / "MT_Free" / "Imgs" / "one.jpg")
    with pytest.raises(DataError, match=re.escape(f"{tmp_path}/MT_Blowhole/Imgs: cannot be listed (No such file")):
        opened("magnetic_tile", tmp_path).split("train")
    with pytest.raises(ConfigError, match=re.escape("dataset.split.val and .test must leave something to train on")):
        opened("magnetic_tile", tmp_path, "dataset.split.val=0.5", "dataset.split.test=0.5")
