from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

from adfm.errors import DataError
from adfm.models import images
from adfm.models.images import ImageReader


@pytest.fixture
def reader(folder: Path) -> ImageReader:
    return ImageReader.load(str(folder), revision=None, min_pixels=56 * 56, max_pixels=128 * 128)


@pytest.mark.parametrize("size", [(112, 112), (300, 40), (17, 19), (640, 480)])
def test_grid_is_known_without_decoding(reader: ImageReader, tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "image.jpg"
    Image.new("RGB", size, (200, 30, 60)).save(path)
    key = reader.key(path)
    (patches,) = reader.patches([key])
    assert len(patches) == np.prod(key.grid)
    assert reader.token_count(key.grid) == len(patches) // 4
    width, height = reader.seen_size(key)
    assert width % reader.factor == height % reader.factor == 0
    assert width * height <= 128 * 128


def test_key_follows_the_content(reader: ImageReader, tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    Image.new("RGB", (112, 112)).save(path)
    before = reader.key(path)
    assert reader.key(path) is before
    reader.patches([before])
    Image.new("RGB", (112, 112), (9, 9, 9)).save(path)
    os.utime(path, ns=(1, 1))
    after = reader.key(path)
    assert after.digest != before.digest
    with pytest.raises(DataError, match="changed while it was in use"):
        reader.patches([before])


def test_one_read_gives_key_and_pixels(reader: ImageReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[Path] = []
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: reads.append(path) or read(path))
    paths = [tmp_path / f"{index}.bmp" for index in range(3)]
    for index, path in enumerate(paths):
        Image.new("RGB", (112, 112), (index, 0, 0)).save(path)
    first = reader.patches([reader.key(path) for path in paths])
    assert reads == paths
    assert torch.equal(reader.patches([reader.key(paths[0])])[0], first[0])
    assert reads == [*paths, paths[0]]


def test_files_that_wait_to_be_decoded_are_bounded(
    reader: ImageReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / f"{index}.bmp" for index in range(3)]
    for index, path in enumerate(paths):
        Image.new("RGB", (112, 112), (index, 0, 0)).save(path)
    monkeypatch.setattr(images, "HELD_BYTES", 2 * paths[0].stat().st_size)
    keys = [reader.key(path) for path in paths]
    paths[0].unlink()
    paths[1].unlink()
    assert len(reader.patches([keys[1]])[0])
    with pytest.raises(DataError, match=r"0\.bmp: cannot read this image"):
        reader.patches([keys[0]])


def test_unusable_images_are_named(reader: ImageReader, tmp_path: Path) -> None:
    missing, text, elongated = (tmp_path / name for name in ("missing.png", "text.png", "line.png"))
    text.write_text("no pixels here")
    Image.new("RGB", (1000, 2)).save(elongated)
    for path, reason in {
        missing: "cannot read this image",
        text: "not an image that can be read",
        elongated: "cannot be resized for the model",
    }.items():
        with pytest.raises(DataError, match=reason) as caught:
            reader.key(path)
        assert str(path) in str(caught.value)


def test_torn_image_is_named(reader: ImageReader, tmp_path: Path) -> None:
    path = tmp_path / "torn.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (112, 112, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DataError, match=r"torn.png: cannot be decoded"):
        reader.patches([reader.key(path)])


def test_the_tower_sees_the_image_as_it_is_shown(reader: ImageReader, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 4095, (84, 56), dtype=np.uint16)
    turned, upright = tmp_path / "turned.png", tmp_path / "upright.png"
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(pixels).save(turned, exif=exif)
    Image.fromarray(np.rint(np.rot90(pixels, -1) * (255 / 4095)).astype(np.uint8)).save(upright)
    first, second = reader.key(turned), reader.key(upright)
    assert first.grid == second.grid == (1, 4, 6)
    assert torch.equal(*reader.patches([first, second]))
