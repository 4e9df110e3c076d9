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
    """Of two textures, 5 + 2 good images and 5 + 1 with a defect."""
    for name in ("Class1", "Class10"):
        for folder, good, bad in (("Train", 5, 5), ("Test", 2, 1)):
            for number in range(good + bad):
                draw(tmp_path / name / folder / f"{number:04d}.PNG")
            for number in range(good, good + bad):
                draw(tmp_path / name / folder / "Label" / f"{number:04d}_label.PNG", (6, 4, 20, 10))
            (tmp_path / name / folder / "Label" / "Labels.txt").write_text("1\n")
    return tmp_path


def test_an_image_with_a_label_has_a_defect(root: Path):
    textures = ("texture 1", "texture 10")
    assert counts(opened("dagm2007", root)) == {
        "train": {(texture, kind): 4 for texture in textures for kind in (None, "defect")},
        "val": {(texture, kind): 1 for texture in textures for kind in (None, "defect")},
        "test": {(texture, kind): count for texture in textures for kind, count in ((None, 2), ("defect", 1))},
    }


def test_boxes_and_mask(root: Path):
    found = samples(opened("dagm2007", root, "dataset.category=Class10"))
    assert found["Class10/Test/0002"].boxes == ((6.0, 4.0, 20.0, 10.0),)
    assert found["Class10/Test/0002"].mask is not None
    assert found["Class10/Test/0002"].mask.files == (root / "Class10" / "Test" / "Label" / "0002_label.PNG",)
    assert found["Class10/Test/0001"].boxes == ()


def test_damage_is_named(root: Path):
    (root / "Class1" / "Test" / "0002.PNG").unlink()
    label = root / "Class1" / "Test" / "Label" / "0002_label.PNG"
    with pytest.raises(DataError, match=re.escape(f"{label}: labels an image that is not there")):
        opened("dagm2007", root).split("test")
    shutil.rmtree(root / "Class1" / "Train" / "Label")
    with pytest.raises(DataError, match=re.escape(f"{root}/Class1/Train/Label: cannot be listed (No such file")):
        opened("dagm2007", root).split("test")
    with pytest.raises(DataError, match=re.escape("has no category of this layout; check dataset.root")):
        opened("dagm2007", root / "Class1").split("test")
