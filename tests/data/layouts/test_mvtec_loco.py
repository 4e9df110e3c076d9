from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from data_support import opened
from trees import counts, draw, samples

from adfm.errors import DataError

LOGICAL, STRUCTURAL = (6, 4, 20, 10), (2, 16, 8, 22)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Of `screw_bag`, 4 + 2 + 1 normals, two logical anomalies (one without a mask) and a structural one."""
    home = tmp_path / "screw_bag"
    for folder, number in {"train": 4, "validation": 2, "test": 1}.items():
        for place in range(number):
            draw(home / folder / "good" / f"{place:03d}.png")
    for kind, number in {"logical_anomalies": 2, "structural_anomalies": 1}.items():
        for place in range(number):
            draw(home / "test" / kind / f"{place:03d}.png")
    draw(home / "ground_truth" / "logical_anomalies" / "000" / "000.png", LOGICAL, value=1)
    draw(home / "ground_truth" / "logical_anomalies" / "000" / "001.png", STRUCTURAL, value=251)
    draw(home / "ground_truth" / "structural_anomalies" / "000" / "000.png", STRUCTURAL, value=255)
    draw(home / "defects_config.png")
    return tmp_path


def test_validation_is_the_published_val_part(root: Path):
    assert counts(opened("mvtec_loco", root, "dataset/split=published")) == {
        "train": {("screw bag", None): 4},
        "val": {("screw bag", None): 2},
        "test": {
            ("screw bag", None): 1,
            ("screw bag", "logical anomalies"): 2,
            ("screw bag", "structural anomalies"): 1,
        },
    }


def test_a_mask_is_the_union_of_its_files_whatever_their_grey(root: Path):
    found = samples(opened("mvtec_loco", root, "dataset/split=published"))
    both = found["screw_bag/test/logical_anomalies/000"]
    assert both.mask is not None
    assert [file.name for file in both.mask.files] == ["000.png", "001.png"]
    assert both.boxes == ((6.0, 4.0, 20.0, 10.0), (2.0, 16.0, 8.0, 22.0))
    assert found["screw_bag/test/structural_anomalies/000"].boxes == ((2.0, 16.0, 8.0, 22.0),)


def test_an_anomaly_without_a_folder_of_masks_stays_without_mask(root: Path):
    sample = samples(opened("mvtec_loco", root, "dataset/split=published"))["screw_bag/test/logical_anomalies/001"]
    assert sample.anomalous
    assert (sample.mask, sample.boxes) == (None, ())


def test_damage_is_named(root: Path):
    truth = root / "screw_bag" / "ground_truth" / "logical_anomalies"
    for mask in (truth / "000").iterdir():
        mask.unlink()
    with pytest.raises(DataError, match=re.escape(f"{truth / '000'}: has no images (.bmp, ")):
        opened("mvtec_loco", root).split("test")
    shutil.rmtree(truth)
    gone = f"{truth}: cannot be listed (No such file or directory); check dataset.root"
    with pytest.raises(DataError, match=re.escape(gone)):
        opened("mvtec_loco", root).split("test")
    shutil.rmtree(root / "screw_bag" / "validation")
    gone = f"{root / 'screw_bag' / 'validation'}: cannot be listed (No such file or directory); check dataset.root"
    with pytest.raises(DataError, match=re.escape(gone)):
        opened("mvtec_loco", root).split("train")
