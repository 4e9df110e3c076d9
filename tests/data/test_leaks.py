from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adfm.data.leaks import clusters, leaks, similar_pairs, thumbnail
from adfm.data.splits import grouped_split
from adfm.types import Sample


def _image(path: Path, seed: int, noise: float = 0.0) -> Path:
    pixels = np.random.default_rng(seed).uniform(0, 255, (64, 64))
    pixels += np.random.default_rng(99).normal(0, noise, (64, 64)) if noise else 0
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
    return path


def _sample(path: Path) -> Sample:
    return Sample(id=path.stem, image=path, stated_size=(64, 64), category="part", anomalous=False)


def test_clusters_are_transitive():
    assert clusters(6, [(0, 1), (1, 2), (4, 5)]) == [[0, 1, 2], [3], [4, 5]]
    assert clusters(3, []) == [[0], [1], [2]]


def test_thumbnails_ignore_brightness_and_contrast(tmp_path: Path):
    pixels = np.random.default_rng(0).uniform(0, 100, (64, 64))
    Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "dark.png")
    Image.fromarray((2 * pixels + 40).astype(np.uint8)).save(tmp_path / "bright.png")
    assert thumbnail(tmp_path / "dark.png") @ thumbnail(tmp_path / "bright.png") == pytest.approx(1, abs=2e-3)


def test_an_image_of_one_tone_is_like_no_other(tmp_path: Path):
    Image.new("L", (64, 64), 80).save(tmp_path / "flat.png")
    assert not thumbnail(tmp_path / "flat.png").any()


def test_similar_pairs_and_leaks_find_the_copy(tmp_path: Path):
    first, copy, other = (
        _image(tmp_path / "a.png", 1),
        _image(tmp_path / "b.png", 1, 4.0),
        _image(tmp_path / "c.png", 2),
    )
    shots = np.array([thumbnail(path) for path in (first, other, copy)])
    assert similar_pairs(shots, 0.98) == [(0, 2)]
    parts = {"train": [_sample(first)], "val": [_sample(other)], "test": [_sample(copy)]}
    assert [(one.id, two.id) for one, two in leaks(parts)] == [("a", "b")]


def test_grouped_split_keeps_clusters_together_and_types_in_proportion():
    groups = [[0, 1, 2], [3], [4], [5], [6, 7], [8], [9]]
    types = ["good"] * 6 + ["crack"] * 4
    split = grouped_split(groups, types, {"train": 0.5, "test": 0.5}, seed=3)
    assert sorted(split["train"] + split["test"]) == list(range(10))
    for group in groups:
        assert len({part for part, members in split.items() for index in group if index in members}) == 1
    assert [types[index] for index in split["test"]].count("crack") == 2
    assert split == grouped_split(groups, types, {"train": 0.5, "test": 0.5}, seed=3)
