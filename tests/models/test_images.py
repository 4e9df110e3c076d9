from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adfm.errors import DataError
from adfm.models.images import ImageReader


@pytest.fixture
def reader(folder: Path) -> ImageReader:
    return ImageReader.load(str(folder), revision=None, min_pixels=56 * 56, max_pixels=128 * 128)


@pytest.mark.parametrize("size", [(112, 112), (300, 40), (17, 19), (640, 480)])
def test_grid_is_known_without_decoding(reader: ImageReader, tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "image.jpg"
    Image.new("RGB", size, (200, 30, 60)).save(path)
    key = reader.key(path)
    patches = reader.patches(key)
    assert len(patches) == np.prod(key.grid)
    assert reader.token_count(key) == len(patches) // 4
    width, height = reader.seen_size(key)
    assert width % reader.factor == height % reader.factor == 0
    assert width * height <= 128 * 128


def test_key_follows_the_content(reader: ImageReader, tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    Image.new("RGB", (112, 112)).save(path)
    before = reader.key(path)
    assert reader.key(path) is before
    Image.new("RGB", (112, 112), (9, 9, 9)).save(path)
    os.utime(path, ns=(1, 1))
    after = reader.key(path)
    assert after.digest != before.digest
    with pytest.raises(DataError, match="changed while it was in use"):
        reader.patches(before)


def test_unusable_images_are_named(reader: ImageReader, tmp_path: Path) -> None:
    missing, text, elongated, deep = (tmp_path / name for name in ("missing.png", "text.png", "line.png", "deep.png"))
    text.write_text("no pixels here")
    Image.new("RGB", (1000, 2)).save(elongated)
    Image.fromarray(np.zeros((60, 60), dtype=np.uint16)).save(deep)
    for path, reason in {
        missing: "cannot read this image",
        text: "not an image that can be read",
        elongated: "cannot be resized for the model",
        deep: "not as 8 bits per channel",
    }.items():
        with pytest.raises(DataError, match=reason) as caught:
            reader.key(path)
        assert str(path) in str(caught.value)


def test_torn_image_is_named(reader: ImageReader, tmp_path: Path) -> None:
    path = tmp_path / "torn.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (112, 112, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DataError, match=r"torn.png: cannot decode"):
        reader.patches(reader.key(path))
