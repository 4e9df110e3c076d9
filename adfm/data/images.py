"""Reading images and masks, with errors that name the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Bool
from PIL import Image, ImageOps, UnidentifiedImageError

from adfm.errors import DataError

MASK_THRESHOLD = 127
"""A mask pixel is defect above this: masks stored with JPEG-like noise are not just 0 and 255."""


def read_image(path: Path) -> Image.Image:
    """Return the image as RGB, turned upright as its EXIF says.

    Raises:
        DataError: The file is missing or cannot be decoded. No other image is ever taken in its place.
    """
    try:
        with Image.open(path) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such image") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as an image ({error})") from error


def image_size(path: Path) -> tuple[int, int]:
    """Return width and height of the upright image from the file's header.

    Raises:
        DataError: The file is missing or is no image.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            sideways = image.getexif().get(0x0112, 1) >= 5
            return (height, width) if sideways else (width, height)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such image") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as an image ({error})") from error


def read_mask(path: Path, size: tuple[int, int] | None = None) -> Bool[np.ndarray, "height width"]:
    """Return a mask, True where the file is above 127; `size` is the (width, height) that it must have.

    Raises:
        DataError: The file is missing, cannot be decoded or has another size.
    """
    grey = np.asarray(read_image(path).convert("L"))
    if size is not None and grey.shape != (size[1], size[0]):
        raise DataError(f"{path}: the mask is {grey.shape[1]} x {grey.shape[0]}, its image {size[0]} x {size[1]}")
    return grey > MASK_THRESHOLD
