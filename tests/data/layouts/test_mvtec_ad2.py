from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from data_support import opened
from trees import counts, draw, samples

from adfm.errors import DataError

LIGHTS = ("overexposed", "regular", "shift_1", "underexposed")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Of `fruit_jelly`, 3 + 2 normals; in public, one normal and one bad object under four lights; a private image."""
    home = tmp_path / "fruit_jelly"
    for folder, number in {"train": 3, "validation": 2}.items():
        for place in range(number):
            draw(home / folder / "good" / f"{place:03d}_regular.png")
    for light in LIGHTS:
        draw(home / "test_public" / "good" / f"000_{light}.png")
        draw(home / "test_public" / "bad" / f"000_{light}.png")
        draw(home / "test_public" / "ground_truth" / "bad" / f"000_{light}_mask.png", (6, 4, 20, 10))
    draw(home / "test_private" / "000_regular.png")
    draw(home / "test_private_mixed" / "000_mixed.png")
    return tmp_path


def test_public_parts_are_listed_and_private_ones_are_not(root: Path):
    data = opened("mvtec_ad2", root)
    assert counts(data) == {
        "train": {("fruit jelly", None): 3},
        "val": {("fruit jelly", None): 2},
        "test": {("fruit jelly", None): 4, ("fruit jelly", "defect"): 4},
    }
    assert not any("private" in sample.id for sample in samples(data).values())


def test_a_bad_image_has_its_mask_and_each_image_its_light(root: Path):
    found = samples(opened("mvtec_ad2", root))
    sample = found["fruit_jelly/test_public/bad/000_shift_1"]
    assert sample.boxes == ((6.0, 4.0, 20.0, 10.0),)
    assert sample.mask is not None
    assert sample.mask.files[0] == root / "fruit_jelly/test_public/ground_truth/bad/000_shift_1_mask.png"
    assert sample.attributes == {"light": "shift 1"}
    assert found["fruit_jelly/train/good/002_regular"].attributes == {"light": "regular"}


def test_damage_is_named(root: Path):
    public = root / "fruit_jelly" / "test_public"
    (public / "ground_truth" / "bad" / "000_regular_mask.png").unlink()
    sample = samples(opened("mvtec_ad2", root))["fruit_jelly/test_public/bad/000_regular"]
    with pytest.raises(DataError, match=re.escape("ground_truth/bad/000_regular_mask.png: no such image")):
        _ = sample.boxes
    shutil.rmtree(public / "ground_truth")
    gone = f"{public / 'ground_truth' / 'bad'}: cannot be listed (No such file or directory); check dataset.root"
    with pytest.raises(DataError, match=re.escape(gone)):
        opened("mvtec_ad2", root).split("test")
    shutil.rmtree(public)
    with pytest.raises(DataError, match=re.escape(f"{public}: cannot be listed (No such file or directory)")):
        opened("mvtec_ad2", root).split("test")
