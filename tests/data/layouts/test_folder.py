from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from data_support import opened
from trees import counts, draw, samples

from adfm.data.benchmark import Listing, Source
from adfm.data.layouts.folder import folder
from adfm.errors import ConfigError, DataError

BOX = (6, 4, 20, 10)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two folders of good images, two of defects, masks for one of them, and an image that lies about."""
    for name, count in (("OK/line1", 2), ("OK/line2", 1), ("spare", 1), ("scratch", 2), ("deep_dent/line1", 1)):
        for number in range(count):
            draw(tmp_path / name / f"{number}.PNG", (0, 0, 1 + number, 3))
    for number in range(2):
        draw(tmp_path / "masks" / "scratch" / f"{number}_mask.png", BOX)
    draw(tmp_path / "stray.jpg")
    return tmp_path


def _types(listing: Listing) -> dict[str, dict[str | None, int]]:
    return {
        part: dict(Counter(sample.defect_type for sample in found)) for part, found in listing.parts.items() if found
    }


def test_names_tell_what_is_good(root: Path):
    listing = folder(Source(root=root), product="gear")
    assert _types(listing) == {"test": {None: 3, "scratch": 2, "deep dent": 1, "spare": 1}}
    assert listing.excluded == {"stray.jpg": "lies in no folder that says what it is"}
    found = {sample.id: sample for sample in listing.parts["test"]}
    assert {sample.category for sample in found.values()} == {"gear"}
    assert found["scratch/1"].boxes == ((6.0, 4.0, 20.0, 10.0),)
    assert found["deep_dent/line1/0"].mask is None


def test_good_and_defects_can_be_given(root: Path):
    listing = folder(Source(root=root), normal=["OK/line1", "spare"], defects=["deep_dent/line1"])
    assert _types(listing) == {"test": {None: 3, "line1": 1}}
    assert set(listing.excluded.values()) == {
        "not in dataset.layout.defects",
        "lies in no folder that says what it is",
    }
    assert _types(folder(Source(root=root), normal=[], defects=["scratch"])) == {"test": {"scratch": 2}}


def test_a_general_name_says_no_type(tmp_path: Path):
    draw(tmp_path / "good" / "0.png")
    for name in ("NG/scratch", "NG/dent", "bad"):
        draw(tmp_path / name / "0.png")
    draw(tmp_path / "gt" / "scratch" / "0.png", BOX)
    draw(tmp_path / "gt" / "NG" / "dent" / "0.png", BOX)
    listing = folder(Source(root=tmp_path))
    found = {sample.id: (sample.defect_type, sample.boxes) for sample in listing.parts["test"]}
    assert found == {
        "good/0": (None, ()),
        "NG/scratch/0": ("scratch", ((6.0, 4.0, 20.0, 10.0),)),
        "NG/dent/0": ("dent", ((6.0, 4.0, 20.0, 10.0),)),
        "bad/0": ("defect", ()),
    }


@pytest.mark.parametrize("place", ["ground_truth/test/dent", "ground_truth/dent", "test/ground_truth/dent", "Masks"])
def test_parts_and_the_places_of_masks(tmp_path: Path, place: str):
    for name in ("train/good", "Validation/good", "test/good", "test/dent", "notes/dent"):
        draw(tmp_path / name / "007.jpg")
    draw(tmp_path / place / "007.png", BOX)
    listing = folder(Source(root=tmp_path))
    assert _types(listing) == {"train": {None: 1}, "val": {None: 1}, "test": {None: 1, "dent": 1}}
    assert listing.excluded == {"notes": "lies beside the parts"}
    found = samples(opened("folder", tmp_path, "dataset/split=published"))
    assert found["test/dent/007"].boxes == ((6.0, 4.0, 20.0, 10.0),)


def test_a_mask_may_be_several_files_of_0_and_1(tmp_path: Path):
    draw(tmp_path / "good" / "0.png")
    draw(tmp_path / "dent" / "0.png")
    draw(tmp_path / "labels" / "dent" / "0" / "000.png", (1, 1, 8, 8), value=1)
    draw(tmp_path / "labels" / "dent" / "0" / "001.png", (20, 10, 30, 20), value=2)
    listing = folder(Source(root=tmp_path), masks="labels")
    assert _types(listing) == {"test": {None: 1, "dent": 1}}
    assert listing.parts["test"][0].boxes == ((1.0, 1.0, 8.0, 8.0), (20.0, 10.0, 30.0, 20.0))


def test_links_and_other_alphabets(tmp_path: Path):
    draw(tmp_path / "elsewhere" / "a.png")
    draw(tmp_path / "root" / "良品" / "0.png")
    draw(tmp_path / "root" / "划痕" / "0.png")
    (tmp_path / "root" / "good").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root" / "划痕" / "again").symlink_to(tmp_path / "root" / "划痕")
    listing = folder(Source(root=tmp_path / "root"), normal=["良品", "good"])
    assert _types(listing) == {"test": {None: 2, "划痕": 1}}


def test_the_default_split_divides_anew(tmp_path: Path):
    for name in ("good", "dent"):
        for number in range(8):
            draw(tmp_path / name / f"{number}.png", (3 * number, 0, 3 * number + 3, 20 - 2 * number))
    found = counts(opened("folder", tmp_path, "dataset.layout.product=gear"))
    assert sum(sum(part.values()) for part in found.values()) == 16
    assert all(found[part][("gear", kind)] for part in found for kind in (None, "dent"))


def test_damage_is_named(root: Path):
    (root / "masks" / "scratch" / "1_mask.png").unlink()
    with pytest.raises(DataError, match=re.escape(f"{root}/scratch/1.PNG: has no mask in {root}/masks, but others")):
        opened("folder", root).split("test")
    draw(root / "scratch" / "1.jpg")
    with pytest.raises(DataError, match=re.escape(f"{root}/scratch/1.jpg: 1.PNG has the same name")):
        opened("folder", root).split("test")
    given = f"dataset.layout.normal: {root} has no images in fine; it has some in OK/line1, OK/line2, deep_dent/line1"
    (root / "scratch" / "1.jpg").unlink()
    with pytest.raises(DataError, match=re.escape(given)):
        opened("folder", root, "dataset.layout.normal=[fine]").split("test")
    with pytest.raises(DataError, match=re.escape(f"{root}/nowhere: no such folder; check dataset.layout.masks")):
        opened("folder", root, "dataset.layout.masks=nowhere").split("test")
    (root / "OK").rename(root / "fine")
    unnamed = (
        f"{root}: no folder is called good, ok or normal; set dataset.layout.normal to one or several of deep_dent"
    )
    with pytest.raises(DataError, match=re.escape(unnamed)):
        opened("folder", root).split("test")
    with pytest.raises(ConfigError, match=re.escape("dataset.category=gear: not in")):
        opened("folder", root, "dataset.category=gear").split("test")
