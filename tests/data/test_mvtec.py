from __future__ import annotations

import pickle
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from data_support import opened
from PIL import Image

from adfm.errors import ConfigError, DataError
from adfm.types import Dataset, Sample

PARTS = ("train", "val", "test")


def _image(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (32, 24), value).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A `bottle` with 10 + 3 normals and 5 broken ones; a `gadget` with 5 + 1 normals and 4 bent ones."""
    sizes = {"bottle": (10, 3, "broken_large", 5), "gadget": (5, 1, "bent", 4)}
    for category, (train, good, defect, anomalies) in sizes.items():
        for number in range(train):
            _image(tmp_path / category / "train" / "good" / f"{number:03d}.png", number)
        for number in range(good):
            _image(tmp_path / category / "test" / "good" / f"{number:03d}.png", 100 + number)
        for number in range(anomalies):
            _image(tmp_path / category / "test" / defect / f"{number:03d}.png", 200 + number)
            mask = np.zeros((24, 32), np.uint8)
            mask[4:10, 6:20] = 255
            target = tmp_path / category / "ground_truth" / defect / f"{number:03d}_mask.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(target)
    return tmp_path


def _counts(data: Dataset) -> dict[str, Counter]:
    return {part: Counter(sample.defect_type for sample in data.split(part)) for part in PARTS}


def _shots(train: int, val: int) -> list[str]:
    return [f"dataset.split.shots_per_type={train}", f"dataset.split.val_shots_per_type={val}"]


def test_shots_leave_the_test_part(root: Path):
    data = opened("mvtec", root, "dataset.category=bottle", *_shots(2, 1))
    assert isinstance(data, Dataset)
    assert _counts(data) == {
        "train": {None: 8, "broken large": 2},
        "val": {None: 2, "broken large": 1},
        "test": {None: 3, "broken large": 2},
    }
    ids = [sample.id for part in PARTS for sample in data.split(part)]
    assert len(ids) == len(set(ids)) == 18
    assert "bottle/test/broken_large/000" in ids


def test_as_published_train_has_normals_alone(root: Path):
    data = opened("mvtec", root, "dataset/split=published", "dataset.category=bottle")
    assert _counts(data) == {"train": {None: 8}, "val": {None: 2}, "test": {None: 3, "broken large": 5}}


def test_a_fraction_of_each_category_and_type_leaves_the_test_part(root: Path):
    data = opened(
        "mvtec", root, "dataset/split=fraction", "dataset.split.train_fraction=0.4", "dataset.split.val_fraction=0.2"
    )
    counts = _counts(data)
    assert counts["train"] == {None: 10 + 1 + 5, "broken large": 2, "bent": 2}
    assert counts["val"] == {None: 1, "broken large": 1, "bent": 1}
    assert counts["test"] == {None: 2, "broken large": 2, "bent": 1}


def test_nothing_is_opened_before_it_is_asked_for(root: Path):
    for file in (root / "bottle").rglob("*.png"):
        file.write_bytes(b"")
    sample = opened("mvtec", root, "dataset.category=bottle", *_shots(2, 1)).split("test")[-1]
    with pytest.raises(DataError, match=re.escape(f"{sample.image}: is empty (0 bytes)")):
        _ = sample.boxes


def test_thousands_are_listed_by_name_alone(tmp_path: Path):
    """Empty files: whatever opened one would raise."""
    for folder, number in {"train/good": 1000, "test/good": 500, "test/bent": 750, "ground_truth/bent": 750}.items():
        (tmp_path / "gadget" / folder).mkdir(parents=True)
        for place in range(number):
            ending = "_mask" if folder.startswith("ground_truth") else ""
            (tmp_path / "gadget" / folder / f"{place:04d}{ending}.png").touch()
    data = opened("mvtec", tmp_path, "dataset/split=published")
    assert _counts(data) == {"train": {None: 800}, "val": {None: 200}, "test": {None: 500, "bent": 750}}
    assert len(pickle.dumps(data.split("test"))) < 1000 * len(data.split("test"))


def test_upper_case_other_alphabets_and_links(root: Path):
    home = root / "bottle"
    for folder in ("test", "ground_truth"):
        (home / folder / "broken_large").rename(home / folder / "Öffnung_gesprungen")
    mask = home / "ground_truth" / "Öffnung_gesprungen" / "003_mask.png"
    mask.rename(mask.with_suffix(".PNG"))
    mask.with_name("002_mask.png").rename(root / "elsewhere.png")
    mask.with_name("002_mask.png").symlink_to(root / "elsewhere.png")
    image = home / "test" / "Öffnung_gesprungen" / "003.png"
    image.rename(image.with_suffix(".PNG"))
    image.with_name("._000.png").write_bytes(b"left by another system")
    home.rename(root / "瓶")
    (root / "flasche").symlink_to(root / "瓶", target_is_directory=True)
    data = opened("mvtec", root, "dataset/split=published", "dataset.category=['瓶',flasche]")
    assert _counts(data)["test"] == {None: 6, "Öffnung gesprungen": 10}
    found = {sample.id: sample for sample in data.split("test")}
    for category in ("瓶", "flasche"):
        for name in ("002", "003"):
            assert found[f"{category}/test/Öffnung_gesprungen/{name}"].boxes == ((6.0, 4.0, 20.0, 10.0),)


def test_a_sample_has_box_mask_reference_and_knowledge(root: Path):
    sample = opened("mvtec", root, "dataset.category=bottle", *_shots(2, 1)).split("test")[-1]
    assert sample.boxes == ((6.0, 4.0, 20.0, 10.0),)
    assert sample.mask is not None
    assert sample.mask.files[0].parent == root / "bottle" / "ground_truth" / "broken_large"
    assert sample.references[0].parent == root / "bottle" / "train" / "good"
    assert sample.knowledge.startswith("Good is the round mouth of a bottle")
    assert pickle.loads(pickle.dumps(sample)) == sample


def test_references_are_other_good_images_of_the_category(root: Path):
    for count in (0, 3):
        data = opened("mvtec", root, f"dataset.references={count}", *_shots(2, 1))
        for sample in data.split("train"):
            assert len(set(sample.references)) == count
            assert sample.image not in sample.references
            assert {file.parts[-4] for file in sample.references} <= {sample.category}


def test_several_categories_and_one_without_text(root: Path):
    data = opened("mvtec", root, *_shots(2, 1))
    assert Counter(sample.category for sample in data.split("train")) == {"bottle": 10, "gadget": 6}
    assert data.split("train")[-1].knowledge == "Possible defects: bent."


def test_the_seed_decides_what_is_drawn(root: Path):
    def drawn(seed: int) -> list[Sample]:
        only = ["dataset.category=bottle", f"dataset.split.seed={seed}"]
        return list(opened("mvtec", root, *only, *_shots(2, 2)).split("train"))

    assert drawn(0) == drawn(0)
    assert [sample.id for sample in drawn(0)] != [sample.id for sample in drawn(3)]


def test_what_is_missing_is_named(root: Path):
    few = (
        "gadget, bent: has 4 images, too few for dataset.split.shots_per_type=3 and "
        "dataset.split.val_shots_per_type=1 with one left to test"
    )
    with pytest.raises(DataError, match=re.escape(few)):
        opened("mvtec", root, "dataset.category=gadget", *_shots(3, 1)).split("train")
    with pytest.raises(
        ConfigError, match=re.escape(f"dataset.category=cable: not in {root}, which has bottle, gadget")
    ):
        opened("mvtec", root, "dataset.category=cable").split("train")
    with pytest.raises(DataError, match=re.escape("has no category of this layout; check dataset.root")):
        opened("mvtec", root / "bottle" / "test").split("train")
    with pytest.raises(DataError, match=re.escape(f"{root / 'no'}: no such folder")):
        opened("mvtec", root / "no").split("train")
    _image(root / "gadget" / "train" / "good" / "001.bmp", 0)
    twice = f"{root}/gadget/train/good/001.png: 001.bmp has the same name but for the suffix; keep one of them"
    with pytest.raises(DataError, match=re.escape(twice)):
        opened("mvtec", root, "dataset.category=gadget").split("train")
    (root / "gadget" / "train" / "good").rename(root / "gadget" / "train" / "ok")
    with pytest.raises(DataError, match=re.escape(f"{root}/gadget/train/good: cannot be listed (No such file")):
        opened("mvtec", root, "dataset.category=gadget").split("train")
    (root / "bottle" / "ground_truth" / "broken_large" / "003_mask.png").unlink()
    with pytest.raises(DataError, match=re.escape("broken_large/003_mask.png: cannot be read (No such file")):
        opened("mvtec", root, "dataset.category=bottle", "dataset/split=published").fingerprint()


def test_shares_that_leave_nothing_are_refused(root: Path):
    with pytest.raises(ConfigError, match=re.escape("dataset.split.val must be between 0 and 1, but is 1")):
        opened("mvtec", root, "dataset.split.val=1.0")
    with pytest.raises(ConfigError, match="must leave something to test"):
        opened("mvtec", root, "dataset/split=fraction", "dataset.split.train_fraction=0.9")
