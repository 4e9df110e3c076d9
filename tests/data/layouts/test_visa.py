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
    """Of `pipe_fryum`, 5 normals to train; to test, one normal and two bad ones whose masks number the defects."""
    home = tmp_path / "pipe_fryum"
    for place in range(5):
        draw(home / "train" / "good" / f"{place:04d}.JPG")
    draw(home / "test" / "good" / "0005.JPG")
    for place in range(2):
        draw(home / "test" / "bad" / f"{place:03d}.JPG")
        draw(home / "ground_truth" / "bad" / f"{place:03d}.png", (6, 4, 20, 10), value=place + 1)
    return tmp_path


def test_one_class(root: Path):
    data = opened("visa", root, "dataset/split=published")
    assert counts(data) == {
        "train": {("pipe fryum", None): 4},
        "val": {("pipe fryum", None): 1},
        "test": {("pipe fryum", None): 1, ("pipe fryum", "defect"): 2},
    }
    for name in ("000", "001"):
        assert samples(data)[f"pipe_fryum/test/bad/{name}"].boxes == ((6.0, 4.0, 20.0, 10.0),)


def test_two_classes_have_masks_by_part(root: Path):
    home = root / "pipe_fryum"
    (home / "ground_truth").rename(home / "old")
    (home / "ground_truth").mkdir()
    (home / "old").rename(home / "ground_truth" / "test")
    draw(home / "train" / "bad" / "000.JPG")
    draw(home / "ground_truth" / "train" / "bad" / "000.png", (2, 16, 8, 22))
    data = opened("visa", root, "dataset/split=published", "dataset.layout.two_class=true")
    assert counts(data)["train"] == {("pipe fryum", None): 4, ("pipe fryum", "defect"): 1}
    assert samples(data)["pipe_fryum/train/bad/000"].boxes == ((2.0, 16.0, 8.0, 22.0),)
    assert samples(data)["pipe_fryum/test/bad/000"].boxes == ((6.0, 4.0, 20.0, 10.0),)


def test_damage_is_named(root: Path):
    home = root / "pipe_fryum"
    (home / "ground_truth" / "bad" / "001.png").unlink()
    sample = samples(opened("visa", root, "dataset/split=published"))["pipe_fryum/test/bad/001"]
    with pytest.raises(DataError, match=re.escape(f"{home}/ground_truth/bad/001.png: no such image")):
        _ = sample.boxes
    draw(home / "test" / "bad" / "000.png")
    twice = f"{home}/test/bad/000.png: 000.JPG has the same name but for the suffix; keep one of them"
    with pytest.raises(DataError, match=re.escape(twice)):
        opened("visa", root).split("test")
    shutil.rmtree(home / "train" / "good")
    gone = f"{home}/train/good: cannot be listed (No such file or directory); check dataset.root"
    with pytest.raises(DataError, match=re.escape(gone)):
        opened("visa", root).split("train")
