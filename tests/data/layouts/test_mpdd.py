from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from data_support import opened
from trees import counts, draw, samples

from adfm.errors import DataError

DEFECTS = {"bracket_brown": ("bend_and_parts_mismatch", "parts_mismatch"), "tubes": ("anomalous",)}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Of each part, 5 + 1 normals and one image of each defect."""
    for part, kinds in DEFECTS.items():
        for place in range(5):
            draw(tmp_path / part / "train" / "good" / f"{place:03d}.png")
        draw(tmp_path / part / "test" / "good" / "000.png")
        for kind in kinds:
            draw(tmp_path / part / "test" / kind / "000.png")
            draw(tmp_path / part / "ground_truth" / kind / "000_mask.png", (6, 4, 20, 10), (2, 16, 8, 22))
    return tmp_path


def test_parts_and_types(root: Path):
    data = opened("mpdd", root, "dataset/split=published")
    assert counts(data)["train"] == {("bracket brown", None): 4, ("tubes", None): 4}
    assert counts(data)["test"] == {
        ("bracket brown", None): 1,
        ("bracket brown", "bend and parts mismatch"): 1,
        ("bracket brown", "parts mismatch"): 1,
        ("tubes", None): 1,
        ("tubes", "defect"): 1,
    }
    sample = samples(data)["tubes/test/anomalous/000"]
    assert sample.boxes == ((6.0, 4.0, 20.0, 10.0), (2.0, 16.0, 8.0, 22.0))


def test_damage_is_named(root: Path):
    (root / "tubes" / "ground_truth" / "anomalous" / "000_mask.png").rename(root / "tubes" / "000_mask.png")
    with pytest.raises(DataError, match=re.escape(f"{root}/tubes/ground_truth/anomalous: has no images (.bmp")):
        opened("mpdd", root).split("test")
    shutil.rmtree(root / "tubes" / "test" / "good")
    with pytest.raises(DataError, match=re.escape(f"{root}/tubes/test/good: cannot be listed (No such file")):
        opened("mpdd", root).split("test")
    shutil.rmtree(root / "tubes" / "test")
    with pytest.raises(DataError, match=re.escape(f"{root}/tubes/test: cannot be listed (No such file")):
        opened("mpdd", root).split("test")
