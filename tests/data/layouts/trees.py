"""What small trees of data sets are made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from adfm.errors import DataError
from adfm.types import Dataset, Sample

SIZE = (32, 24)
T = TypeVar("T")
"""Width and height of all images."""


def draw(path: Path, *boxes: tuple[int, int, int, int], value: int = 255) -> None:
    """Write a black image, or a mask, with filled boxes; the suffix gives the format."""
    pixels = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    for x0, y0, x1, y1 in boxes:
        pixels[y0:y1, x0:x1] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def samples(data: Dataset) -> dict[str, Sample]:
    """Return all samples by id."""
    found = [sample for part in ("train", "val", "test") for sample in data.split(part)]
    assert len({sample.id for sample in found}) == len(found)
    return {sample.id: sample for sample in found}


def counts(data: Dataset) -> dict[str, Counter]:
    """Count the samples of each part by category and defect type."""
    return {
        part: Counter((sample.category, sample.defect_type) for sample in data.split(part))
        for part in ("train", "val", "test")
    }


def told(read: Callable[[], T]) -> T | str:
    """Return what is read, or what the DataError says."""
    try:
        return read()
    except DataError as error:
        return str(error)
