"""Reading images and grey files, with errors that name the file. `adfm.types` stands on this module."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from adfm.errors import DataError


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        with Image.open(path) as image:
            yield image
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such image") from error
    except UnidentifiedImageError as error:
        raise DataError(f"{path}: is not an image that can be read") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: cannot be decoded ({error})") from error


def read_image(path: Path) -> Image.Image:
    """Return the image as RGB.

    Raises:
        DataError: The file is missing or cannot be decoded. No other image is ever taken in its place.
    """
    with _opened(path) as image:
        return image.convert("RGB")


@lru_cache(maxsize=1 << 18)
def image_size(path: Path) -> tuple[int, int]:
    """Return width and height as the file's header says.

    Raises:
        DataError: The file is missing or is no image.
    """
    with _opened(path) as image:
        return image.size


def read_grey(path: Path) -> UInt8[np.ndarray, "height width"]:
    """Return a file's grey values.

    Raises:
        DataError: The file is missing or cannot be decoded.
    """
    with _opened(path) as image:
        return np.asarray(image.convert("L"))
