from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from data_support import opened
from trees import counts, draw, samples

from adfm.errors import DataError

SUFFIXES = {"01": ("bmp", "png"), "02": ("png", "png"), "03": ("bmp", "bmp")}
"""Of images and masks, by product."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Of each product, 5 + 1 normals and one anomaly."""
    for product, (image, mask) in SUFFIXES.items():
        for place in range(5):
            draw(tmp_path / product / "train" / "ok" / f"{place:04d}.{image}")
        draw(tmp_path / product / "test" / "ok" / f"0005.{image}")
        draw(tmp_path / product / "test" / "ko" / f"0000.{image}")
        draw(tmp_path / product / "ground_truth" / "ko" / f"0000.{mask}", (6, 4, 20, 10))
    return tmp_path


def test_ok_is_good_and_ko_a_defect(root: Path):
    assert counts(opened("btad", root, "dataset/split=published")) == {
        "train": {(product, None): 4 for product in SUFFIXES},
        "val": {(product, None): 1 for product in SUFFIXES},
        "test": {(product, kind): 1 for product in SUFFIXES for kind in (None, "defect")},
    }


@pytest.mark.parametrize("product", SUFFIXES)
def test_a_mask_is_found_whatever_its_suffix(root: Path, product: str):
    sample = samples(opened("btad", root, "dataset/split=published"))[f"{product}/test/ko/0000"]
    assert sample.boxes == ((6.0, 4.0, 20.0, 10.0),)
    assert sample.mask is not None
    assert sample.mask.files == (root / product / "ground_truth" / "ko" / f"0000.{SUFFIXES[product][1]}",)


def test_damage_is_named(root: Path):
    draw(root / "03" / "test" / "ko" / "0001.bmp")
    sample = samples(opened("btad", root, "dataset/split=published"))["03/test/ko/0001"]
    with pytest.raises(DataError, match=re.escape(f"{root}/03/ground_truth/ko/0001.png: no such image")):
        _ = sample.boxes
    draw(root / "03" / "ground_truth" / "ko" / "0000.png")
    with pytest.raises(DataError, match=re.escape(f"{root}/03/ground_truth/ko/0000.png: 0000.bmp has the same name")):
        opened("btad", root).split("test")
    shutil.rmtree(root / "03" / "train" / "ok")
    with pytest.raises(DataError, match=re.escape(f"{root}/03/train/ok: cannot be listed (No such file")):
        opened("btad", root).split("test")
