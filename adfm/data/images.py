"""Reading images and grey files, with errors that name the file. `adfm.types` stands on this module.

An image is what a viewer shows: turned as its EXIF orientation says, transparency on white, more than 8 bits brought
to 8. Boxes and masks refer to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import Float, Integer, UInt8
from PIL import ExifTags, Image, UnidentifiedImageError

from adfm.errors import DataError

DEPTHS = (8, 12, 16)
"""Bits that a pixel of a 16-bit file may really have: cameras write 12 bits into 16."""
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation to what undoes it; Pillow itself does so for TIFF."""
_SIDEWAYS = (5, 6, 7, 8)
_DEEP = "IF"
"""How the modes begin in which Pillow holds more than 8 bits a pixel."""
_Values = Integer[np.ndarray, "height width"] | Float[np.ndarray, "height width"]


def read_image(path: Path, content: bytes | None = None) -> Image.Image:
    """Return the image as RGB.

    A file of more than 8 bits a pixel is scaled by its depth: the least of 8, 12 and 16 bits that holds its brightest
    pixel, so that images of one camera stay comparable. `content` are the file's bytes where they were read before.

    Raises:
        DataError: The file is missing, cannot be decoded, has too many pixels to be safe or values that are no 16-bit
            image. No other image is ever taken in its place.
    """
    with _opened(path, content) as opened:
        image = _shown(opened)
        if image.mode[0] in _DEEP:
            return Image.fromarray(_to_8_bits(path, np.asarray(image))).convert("RGB")
        if image.has_transparency_data:
            image = image.convert("RGBA")
            return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
        return image.convert("RGB")


@lru_cache(maxsize=1 << 18)
def image_size(path: Path) -> tuple[int, int]:
    """Return width and height of the image as shown, from the file's header.

    Raises:
        DataError: The file is missing or is no image.
    """
    return read_size(path)


def read_size(path: Path, content: bytes | None = None) -> tuple[int, int]:
    """Return what `image_size` does, anew; `content` are the file's bytes where they were read before."""
    with _opened(path, content) as image:
        width, height = image.size
        sideways = image.format != "TIFF" and _orientation(image) in _SIDEWAYS
    return (height, width) if sideways else (width, height)


def is_turned(path: Path) -> bool:
    """Return whether an EXIF orientation turns or mirrors the image; DataError as in `image_size`."""
    with _opened(path) as image:
        return _orientation(image) in _TURNS


def read_grey(path: Path) -> UInt8[np.ndarray, "height width"]:
    """Return the values of a mask: of a coloured pixel its brightest channel, of a transparent one 0.

    So every colour but black counts in a mask whose colours name types. Values of a 16-bit file are kept if all are
    below 256, else scaled; none but 0 becomes 0.

    Raises:
        DataError: The file is missing or cannot be decoded.
    """
    with _opened(path) as opened:
        image = _shown(opened)
        if image.mode[0] in _DEEP:
            return _to_mask_values(path, np.asarray(image))
        if image.mode in ("1", "L"):
            return np.asarray(image.convert("L"))
        red, green, blue, alpha = (np.asarray(channel) for channel in image.convert("RGBA").split())
        return np.where(alpha > 0, np.maximum(np.maximum(red, green), blue), np.uint8(0))


def _shown(image: Image.Image) -> Image.Image:
    turn = None if image.format == "TIFF" else _TURNS.get(_orientation(image))
    image.load()
    return image.transpose(turn) if turn is not None else image


def _orientation(image: Image.Image) -> int:
    """Read the orientation from the header; the PNG reader's own method would decode the pixels first."""
    return Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)


@contextmanager
def _opened(path: Path, content: bytes | None = None) -> Iterator[Image.Image]:
    """Open a file for Pillow's readers, which raise whatever a broken file makes them stumble over.

    They get no path: from one they would map an uncompressed TIFF into memory and then mix up its turned sides.
    """
    try:
        with path.open("rb") if content is None else BytesIO(content) as file, Image.open(file) as image:
            yield image
    except FileNotFoundError as error:
        raise DataError(f"{path}: {_missing(path)}") from error
    except UnidentifiedImageError as error:
        raise DataError(f"{path}: {_unidentified(path)}") from error
    except Image.DecompressionBombError as error:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise DataError(f"{path}: has more than {most:,} pixels, which is not safe to decode; cut it up") from error
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{path}: cannot be decoded ({error or type(error).__name__})") from error


def _missing(path: Path) -> str:
    return f"is a link to {path.readlink()}, which does not exist" if path.is_symlink() else "no such image"


def _unidentified(path: Path) -> str:
    empty = path.is_file() and path.stat().st_size == 0
    return "is empty (0 bytes)" if empty else "is not an image that can be read"


def _to_8_bits(path: Path, values: _Values) -> UInt8[np.ndarray, "height width"]:
    brightest = _brightest(path, values)
    if values.dtype.kind == "f" and brightest <= 1:
        return np.rint(values * 255).astype(np.uint8)
    depth = next(bits for bits in DEPTHS if brightest <= 2**bits - 1)
    return np.rint(values * (255 / (2**depth - 1))).astype(np.uint8)


def _to_mask_values(path: Path, values: _Values) -> UInt8[np.ndarray, "height width"]:
    brightest = _brightest(path, values)
    if values.dtype.kind == "f" and brightest <= 1:
        return np.ceil(values * 255).astype(np.uint8)
    return np.ceil(values * (255 / 65535) if brightest > 255 else values).astype(np.uint8)


def _brightest(path: Path, values: _Values) -> float:
    """Return the largest value of a file of more than 8 bits a pixel, if its values can be a picture's."""
    least, most = float(values.min()), float(values.max())
    if not (least >= 0 and most <= 2 ** DEPTHS[-1] - 1):
        raise DataError(f"{path}: its values go from {least:g} to {most:g}; convert it to 8 or 16 bits")
    return most
