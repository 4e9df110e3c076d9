from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_dilation
from scipy.stats import rankdata
from skimage.filters import laplace

from adfm.data.defects import FAMILIES
from adfm.data.images import read_image
from adfm.data.masks import boxes_from_mask
from adfm.data.render import BINS, Recipe, scene
from adfm.data.synthetic import Synthetic
from adfm.data.textures import textures
from adfm.errors import ConfigError, DataError
from adfm.types import Dataset, Sample

RECIPE = Recipe(seed=0, image_size=112, easy=0.4, medium=0.4, hard=0.2, dilation=0.01, min_area=5)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Synthetic:
    return Synthetic(tmp_path_factory.mktemp("synthetic"), train=30, val=20, test=10)


def _bytes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "lock")
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_it_is_a_dataset_and_draws_only_what_is_read(data: Synthetic):
    assert isinstance(data, Dataset)
    samples = data.split("val")
    assert len(samples) == 20
    assert not (data.folder / "test").exists()
    assert all(sample.image.is_file() and sample.references[0].is_file() and sample.knowledge for sample in samples)


def test_two_builds_are_byte_identical_and_parallel_ones_too(data: Synthetic, tmp_path: Path):
    data.split("val")
    again = Synthetic(tmp_path, train=30, val=101, test=10)  # two shards: drawn by worker processes
    again.split("val")
    first, second = _bytes(data.folder / "val"), _bytes(again.folder / "val")
    assert len(first) > 100
    assert first.items() <= second.items()


def test_the_first_samples_do_not_depend_on_the_number(data: Synthetic):
    more = Synthetic(data.folder.parent, train=50, val=20, test=10)
    assert list(more.split("train"))[:30] == list(data.split("train"))
    assert len(more.split("train")) == 50


def test_later_training_samples_are_those_that_a_longer_part_ends_with(data: Synthetic):
    later = Synthetic(data.folder.parent, train=20, train_from=90, val=20, test=10)
    longer = Synthetic(data.folder.parent, train=110, val=20, test=10)
    assert list(later.split("train")) == list(longer.split("train"))[90:]
    assert later.fingerprint() != Synthetic(data.folder.parent, train=20, val=20, test=10).fingerprint()


def test_whole_textures_and_categories_are_held_out():
    names = {part: {texture.name for texture in textures(part)} for part in ("train", "val", "test")}
    categories = {part: {texture.category for texture in textures(part)} for part in names}
    assert {part: len(found) for part, found in names.items()} == {"train": 102, "val": 12, "test": 12}
    for found in (names, categories):
        assert not found["train"] & found["val"] | found["train"] & found["test"] | found["val"] & found["test"]


def test_half_of_every_part_is_normal_and_labels_agree(data: Synthetic):
    samples = data.split("train")
    assert sum(sample.anomalous for sample in samples) == 15
    for sample in samples:
        assert sample.anomalous == bool(sample.boxes) == (sample.mask is not None) == (sample.defect_type is not None)
        if sample.mask is not None:
            mask = sample.mask.read(sample.size)
            assert sample.boxes == boxes_from_mask(mask, dilation=0.01, min_area=5)
            assert sample.attributes["bin"] in BINS
            assert sample.attributes["severity"] in ("slight", "moderate", "severe")


def _pixels(path: Path) -> np.ndarray:
    return np.asarray(read_image(path), int)


def test_an_image_differs_from_its_twin_at_the_mask_only(data: Synthetic):
    for sample in data.split("train"):
        if sample.mask is None:
            continue
        mask = sample.mask.read(sample.size)
        twin = sample.image.with_name(str(sample.attributes["twin"]))
        changed = np.abs(_pixels(sample.image) - _pixels(twin)).max(-1)
        assert changed[mask].mean() > 2
        assert not changed[binary_dilation(mask, iterations=6) == 0].any()


def test_the_reference_is_another_view_of_the_same_texture(data: Synthetic):
    for sample in data.split("train"):
        assert sample.references[0].name.startswith(str(sample.attributes["texture"]).replace(" ", "_"))
        assert (_pixels(sample.references[0]) != _pixels(sample.image)).mean() > 0.5


def test_every_family_can_be_drawn_and_meets_its_contrast():
    seen: dict[str, list[float]] = {kind: [] for kind in FAMILIES}
    for index in range(160):
        view = scene(replace(RECIPE, easy=0.0, medium=1.0, hard=0.0), "val", index)
        seen[view.defect_type or "none"] = seen.get(view.defect_type or "none", [])
        seen[view.defect_type or "none"] += [defect.contrast for defect in view.defects]
        assert not view.defects or view.mask.sum() >= 20
    low, high = BINS["medium"]
    for kind in FAMILIES:
        assert low - 0.6 < np.median(seen[kind]) < high + 0.6, kind


def test_the_fingerprint_follows_the_recipe(tmp_path: Path):
    base = Synthetic(tmp_path).fingerprint()
    assert Synthetic(tmp_path / "elsewhere").fingerprint() == base
    assert len({base, Synthetic(seed=1).fingerprint(), Synthetic(train=8000).fingerprint()}) == 3
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigError, match=r"dataset.easy \+ dataset.medium \+ dataset.hard must be 1, not 0.9"):
        Synthetic(easy=0.3)
    with pytest.raises(ConfigError, match=r"dataset.val must not be negative, but is -1"):
        Synthetic(val=-1)
    with pytest.raises(DataError, match=r"no part 'dev'; there are train, val, test"):
        Synthetic().split("dev")


def test_other_sizes_keep_the_proportions(tmp_path: Path):
    view = scene(replace(RECIPE, image_size=224), "test", 1)
    assert view.image.shape == (224, 224, 3)
    assert view.mask.shape == (224, 224)


def _auroc(positive: list[float], negative: list[float]) -> float:
    ranks = rankdata([*positive, *negative])[: len(positive)]
    return float((ranks.sum() - len(positive) * (len(positive) + 1) / 2) / (len(positive) * len(negative)))


def _laplacian(sample: Sample) -> float:
    return float(np.abs(laplace(np.asarray(Image.open(sample.image).convert("L"), float) / 255)).max())


@pytest.mark.slow
@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_a_trivial_detector_does_not_solve_the_medium_bin(tmp_path: Path, part: str):
    samples = Synthetic(tmp_path, **{"train": 0, "val": 0, "test": 0, part: 1000}).split(part)
    normal = [_laplacian(sample) for sample in samples if not sample.anomalous]
    medium = [_laplacian(sample) for sample in samples if sample.attributes.get("bin") == "medium"]
    assert _auroc(medium, normal) < 0.70
