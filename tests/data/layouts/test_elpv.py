from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from data_support import opened
from trees import draw

from adfm.data.benchmark import Source
from adfm.data.layouts.elpv import elpv
from adfm.errors import ConfigError, DataError

CELLS = [("1.0", "mono"), ("0.3333333333333333", "mono"), ("0.6666666666666666", "poly"), ("0.0", "poly")]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four cells, one of each probability."""
    lines = []
    for number, (probability, module) in enumerate(CELLS, start=1):
        draw(tmp_path / "images" / f"cell{number:04d}.png")
        lines.append(f"images/cell{number:04d}.png  {probability:18}  {module}\n")
    (tmp_path / "labels.csv").write_text("".join(lines))
    return tmp_path


def test_the_probability_gives_the_label(root: Path):
    listing = elpv(Source(root=root))
    assert {sample.id: (sample.category, sample.defect_type) for sample in listing.parts["test"]} == {
        "images/cell0001": ("monocrystalline solar cell", "defect"),
        "images/cell0002": ("monocrystalline solar cell", None),
        "images/cell0003": ("polycrystalline solar cell", "defect"),
        "images/cell0004": ("polycrystalline solar cell", None),
    }
    assert listing.parts["test"][1].attributes == {"probability": 0.3333333333333333}
    assert listing.parts["test"][0].boxes == ()


def test_the_threshold_and_the_module_are_options(root: Path):
    for share, anomalous in ((0.3, 3), (1.0, 1)):
        listing = elpv(Source(root=root), anomalous_from=share)
        assert Counter(sample.anomalous for sample in listing.parts["test"])[True] == anomalous
    assert len(elpv(Source(root=root, categories=("mono",))).parts["test"]) == 2
    with pytest.raises(ConfigError, match=re.escape("dataset.layout.anomalous_from must be above 0")):
        opened("elpv", root, "dataset.layout.anomalous_from=0").split("test")


def test_the_newer_place_of_the_labels(root: Path, tmp_path: Path):
    home = tmp_path / "new" / "src" / "elpv_dataset" / "data"
    home.parent.mkdir(parents=True)
    (root / "images").rename(home.parent / "images")
    home.mkdir()
    (home.parent / "images").rename(home / "images")
    (root / "labels.csv").rename(home / "labels.csv")
    assert len(elpv(Source(root=tmp_path / "new")).parts["test"]) == 4


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("images/cell0009.png 1.0 mono", "{root}/images/cell0009.png: no such image"),
        ("../cell0001.png 1.0 mono", "path '../cell0001.png' does not stay in {root}"),
        ("images/cell0001.png 1.0 mono", "images/cell0001 was already listed in line 1"),
        ("images/cell0001.png,1.0,mono", "must be a path, a probability, and mono or poly, not 'images/cell00"),
        ("images/cell0001.png 1.5 mono", "probability 1.5 is not between 0 and 1"),
        ("images/cell0001.png nan mono", "'nan' is not a number"),
    ],
)
def test_damage_is_named(root: Path, line: str, message: str):
    with (root / "labels.csv").open("a") as file:
        file.write(line)
    with pytest.raises(DataError, match=re.escape(f"{root}/labels.csv, line 5: {message.format(root=root)}")):
        opened("elpv", root).split("test")


def test_labels_are_needed(root: Path):
    with pytest.raises(DataError, match=re.escape(f"{root}/images: has no labels.csv; check dataset.root")):
        opened("elpv", root / "images").split("test")
