from __future__ import annotations

from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from adfm.data.images import image_size, is_turned, read_grey, read_image
from adfm.errors import DataError

RGB = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)
GREY = RGB[..., 0]
UNDONE = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}
"""What each EXIF orientation asks a viewer to do."""


def _saved(path: Path, image: Image.Image | np.ndarray, **options: object) -> Path:
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **options)
    return path


def _with_orientation(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = value
    return exif


@pytest.mark.parametrize("name", ["a.png", "a.PNG", "a.bmp", "a.BMP", "a.tif", "a.TIFF", "a.webp", "größe 図.png"])
def test_lossless_formats_and_any_name_give_the_same_pixels(tmp_path: Path, name: str):
    path = _saved(tmp_path / name, RGB, **({"lossless": True} if name.endswith("webp") else {}))
    assert np.array_equal(read_image(path), RGB)
    assert image_size(path) == (20, 12)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "I", "F"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str):
    plain = Image.fromarray(GREY).convert("I") if mode == "I;16" else Image.fromarray(GREY if mode in "IF" else RGB)
    image = Image.new("LAB", (20, 12)) if mode == "LAB" else plain.convert(mode)
    suffix = "png" if mode in ("1", "L", "LA", "P", "RGBA", "I;16") else "tif"
    path = _saved(tmp_path / f"a.{suffix}", image)
    read = read_image(path)
    assert (read.mode, read.size) == ("RGB", (20, 12))
    if mode in ("L", "I;16", "I", "F"):
        assert np.array_equal(np.asarray(read)[..., 0], np.asarray(image).astype(np.uint8))


def test_a_cmyk_jpeg_keeps_its_colours(tmp_path: Path):
    path = _saved(tmp_path / "a.jpg", Image.new("RGB", (16, 16), (200, 40, 90)).convert("CMYK"), quality=95)
    assert np.abs(np.asarray(read_image(path), int) - (200, 40, 90)).max() <= 3


def test_transparency_is_shown_on_white(tmp_path: Path):
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[:2] = (10, 20, 30, 255)
    read = np.asarray(read_image(_saved(tmp_path / "a.png", pixels)))
    assert read[0, 0].tolist() == [10, 20, 30]
    assert read[3, 3].tolist() == [255, 255, 255]


@pytest.mark.parametrize(("brightest", "bits"), [(255, 8), (256, 12), (4095, 12), (4096, 16), (65535, 16)])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_deep_images_are_scaled_by_the_least_depth_that_holds_them(
    tmp_path: Path, brightest: int, bits: int, suffix: str
):
    pixels = np.linspace(0, brightest, 64).astype(np.uint16).reshape(8, 8)
    read = np.asarray(read_image(_saved(tmp_path / f"a.{suffix}", pixels)))
    assert np.array_equal(read[..., 0], np.rint(pixels * (255 / (2**bits - 1))).astype(np.uint8))


def test_a_float_image_is_from_0_to_1_or_like_a_deep_one(tmp_path: Path):
    unit = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    for name, pixels in {"unit.tif": unit, "byte.tif": unit * 255}.items():
        read = np.asarray(read_image(_saved(tmp_path / name, pixels)))
        assert np.array_equal(read[..., 1], np.rint(unit * 255).astype(np.uint8))
    for name, wrong in {"below.tif": -1.0, "over.tif": 70000.0, "nan.tif": np.nan}.items():
        path = _saved(tmp_path / name, np.full((4, 4), wrong, np.float32))
        with pytest.raises(DataError, match=rf"{name}: its values go from .* convert it to 8 or 16 bits"):
            read_image(path)


@pytest.mark.parametrize("orientation", list(UNDONE))
@pytest.mark.parametrize("suffix", ["png", "tif", "webp", "jpg"])
def test_size_pixels_and_masks_are_those_of_the_image_as_shown(tmp_path: Path, orientation: int, suffix: str):
    blocks = np.kron(np.arange(6, dtype=np.uint8).reshape(2, 3) * 40, np.ones((8, 8), np.uint8))
    options = {"webp": {"lossless": True}, "jpg": {"quality": 95}}.get(suffix, {})
    path = _saved(tmp_path / f"a.{suffix}", blocks, exif=_with_orientation(orientation), **options)
    shown = UNDONE[orientation](blocks)
    assert image_size(path) == (shown.shape[1], shown.shape[0])
    for read in (np.asarray(read_image(path).convert("L")), read_grey(path)):
        assert read.shape == shown.shape
        assert np.abs(read.astype(int) - shown).max() <= 2
    assert is_turned(path) or suffix == "tif"


def test_an_unknown_orientation_changes_nothing(tmp_path: Path):
    path = _saved(tmp_path / "a.png", RGB, exif=_with_orientation(9))
    assert np.array_equal(read_image(path), RGB)
    assert not is_turned(path)


def test_links_are_followed_and_a_broken_one_is_named(tmp_path: Path):
    (tmp_path / "link.png").symlink_to(_saved(tmp_path / "a.png", RGB))
    assert np.array_equal(read_image(tmp_path / "link.png"), RGB)
    (tmp_path / "broken.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(DataError, match=r"broken.png: is a link to .*gone.png, which does not exist"):
        image_size(tmp_path / "broken.png")


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tif", "webp"])
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9])
def test_a_truncated_file_is_named(tmp_path: Path, suffix: str, kept: float):
    path = _saved(tmp_path / f"a.{suffix}", np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(DataError, match=rf"a.{suffix}: (is empty \(0 bytes\)|cannot be decoded|is not an image)"):
        read_image(path)


def test_what_is_no_image_is_named(tmp_path: Path):
    (tmp_path / "text.png").write_text("version https://git-lfs.github.com/spec/v1")
    for path, reason in {
        tmp_path / "text.png": "is not an image that can be read",
        tmp_path / "gone.png": "no such image",
        tmp_path: "cannot be decoded",
    }.items():
        for read in (read_image, image_size, read_grey):
            with pytest.raises(DataError) as caught:
                read(path)
            assert str(caught.value).startswith(f"{path}: {reason}")


def test_a_decompression_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = _saved(tmp_path / "a.png", RGB)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DataError, match=r"a.png: has more than 200 pixels, which is not safe to decode; cut it up"):
        read_image(path)


@pytest.mark.filterwarnings("ignore::UserWarning")  # of Pillow, about broken tags
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), suffix=st.sampled_from(["png", "jpeg", "bmp", "tiff", "webp", "gif"]))
def test_damage_never_shows_a_traceback_of_a_library(tmp_path: Path, data: st.DataObject, suffix: str):
    buffer = BytesIO()
    Image.fromarray(RGB).save(buffer, suffix, exif=_with_orientation(6))
    content = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(content)
    for read in (read_image, read_grey, is_turned, image_size.__wrapped__):
        with suppress(DataError):
            read(path)
