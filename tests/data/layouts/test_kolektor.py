from __future__ import annotations

import re
from pathlib import Path

import pytest
from data_support import opened
from trees import counts, draw, samples

from adfm.data.benchmark import Source
from adfm.data.layouts.kolektor_sdd import kolektor_sdd
from adfm.data.layouts.kolektor_sdd2 import kolektor_sdd2
from adfm.errors import ConfigError, DataError

DEFECT = (6, 4, 20, 10)


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """KolektorSDD: two commutators of three surfaces, of the second one cracked."""
    for name in ("kos01", "kos02"):
        for part in range(3):
            draw(tmp_path / name / f"Part{part}.jpg", (0, 0, 1 + part, 5))
            defects = [DEFECT] if (name, part) == ("kos02", 1) else []
            draw(tmp_path / name / f"Part{part}_label.bmp", *defects)
    return tmp_path


@pytest.fixture
def second(tmp_path: Path) -> Path:
    """KolektorSDD2: 5 good and 5 defective to train on, one of each to test, and a copy."""
    for part, good, bad in (("train", 5, 5), ("test", 1, 1)):
        for number in range(good + bad):
            draw(tmp_path / part / f"{10000 + number}.png")
            draw(tmp_path / part / f"{10000 + number}_GT.png", *[DEFECT] * (number >= good))
    draw(tmp_path / "train" / "10000 (copy).png")
    return tmp_path


def test_the_masks_of_the_first_know_the_label(first: Path):
    listing = kolektor_sdd(Source(root=first))
    found = {sample.id: sample for sample in listing.parts["test"]}
    assert {name for name, sample in found.items() if sample.anomalous} == {"kos02/Part1"}
    assert len(found) == 6
    assert found["kos02/Part1"].defect_type == "crack"
    assert found["kos02/Part1"].boxes == ((6.0, 4.0, 20.0, 10.0),)
    assert found["kos02/Part1"].attributes == {"commutator": "kos02"}
    assert found["kos01/Part0"].mask is None
    assert not listing.parts["train"]


def test_a_commutator_is_a_category(first: Path):
    listing = kolektor_sdd(Source(root=first, categories=("kos02",)))
    assert [sample.id for sample in listing.parts["test"]] == ["kos02/Part0", "kos02/Part1", "kos02/Part2"]
    with pytest.raises(ConfigError, match=re.escape("dataset.category=kos77: not in")):
        opened("kolektor_sdd", first, "dataset.category=kos77").split("test")


def test_damage_of_the_first_is_named(first: Path):
    label = first / "kos01" / "Part2_label.bmp"
    label.write_bytes(b"no image")
    with pytest.raises(DataError, match=re.escape(f"{label}: is not an image")):
        kolektor_sdd(Source(root=first))
    label.unlink()
    with pytest.raises(DataError, match=re.escape(f"{first}/kos01/Part2.jpg: has no mask Part2_label.bmp beside it")):
        kolektor_sdd(Source(root=first))
    with pytest.raises(DataError, match=re.escape("has no category of this layout")):
        opened("kolektor_sdd", first / "kos01").split("test")


def test_the_masks_of_the_second_know_the_label(second: Path):
    item = "production item"
    data = opened("kolektor_sdd2", second)
    assert counts(data) == {
        "train": {(item, None): 4, (item, "defect"): 4},
        "val": {(item, None): 1, (item, "defect"): 1},
        "test": {(item, None): 1, (item, "defect"): 1},
    }
    assert samples(data)["test/10001"].boxes == ((6.0, 4.0, 20.0, 10.0),)
    assert kolektor_sdd2(Source(root=second)).excluded == {"train/10000 (copy)": "a copy in the published archive"}


def test_damage_of_the_second_is_named(second: Path):
    mask = second / "train" / "10003_GT.png"
    mask.write_bytes(b"")
    with pytest.raises(DataError, match=re.escape(f"{mask}: ")):
        opened("kolektor_sdd2", second).split("train")
    mask.unlink()
    with pytest.raises(DataError, match=re.escape(f"{second}/train/10003.png: has no mask 10003_GT.png beside it")):
        opened("kolektor_sdd2", second).split("train")
    with pytest.raises(DataError, match=re.escape(f"{second}/test/train: cannot be listed (No such file")):
        opened("kolektor_sdd2", second / "test").split("train")
