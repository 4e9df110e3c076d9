"""Images in memory as files: prompts name paths, so that an image is read in one way wherever it comes from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from adfm.inspection.sources import Source

Picture = str | Path | Image.Image | np.ndarray


@contextmanager
def spooled(images: Sequence[Picture]) -> Iterator[list[Source]]:
    """Give a source for each image; those in memory have a PNG file as long as this lasts, and a number as name.

    Raises:
        TypeError: an array is no 8-bit image.
    """
    with TemporaryDirectory(prefix="adfm-images-") as folder:
        yield [_source(image, number, Path(folder)) for number, image in enumerate(images)]


def _source(image: Picture, number: int, folder: Path) -> Source:
    if isinstance(image, str | Path):
        return Source(path=Path(image), name=str(image))
    file = folder / f"{number}.png"
    _as_png(image).save(file, compress_level=1)
    return Source(path=file, name=f"image {number}")


def _as_png(image: Image.Image | np.ndarray) -> Image.Image:
    """Return what a PNG file can hold of an image, pixel for pixel."""
    if isinstance(image, Image.Image):
        return image if image.mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16") else image.convert("RGB")
    if image.dtype != np.uint8 or image.shape[2:] not in ((), (3,), (4,)) or image.ndim < 2:
        raise TypeError(
            f"an array of {image.dtype} with the shape {image.shape} is no image: give uint8 values as "
            "[height, width], or with 3 (RGB) or 4 channels last"
        )
    return Image.fromarray(image)
