"""Reading images and masks, pixels as stored (no EXIF orientation is applied), with errors that name the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import Bool
from PIL import Image, UnidentifiedImageError

from adfm.errors import DataError

MASK_THRESHOLD = 127
"""A mask pixel is defect above this: masks stored with JPEG-like noise are not just 0 and 255."""


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


def image_size(path: Path) -> tuple[int, int]:
    """Return width and height as the file's header says.

    Raises:
        DataError: The file is missing or is no image.
    """
    with _opened(path) as image:
        return image.size


def read_mask(path: Path, size: tuple[int, int] | None = None) -> Bool[np.ndarray, "height width"]:
    """Return a mask, True where the file is above 127; `size` is the (width, height) that it must have.

    Raises:
        DataError: The file is missing, cannot be decoded or has another size.
    """
    with _opened(path) as image:
        grey = np.asarray(image.convert("L"))
    if size is not None and grey.shape != (size[1], size[0]):
        raise DataError(f"{path}: the mask is {grey.shape[1]} x {grey.shape[0]}, its image {size[0]} x {size[1]}")
    return grey > MASK_THRESHOLD
