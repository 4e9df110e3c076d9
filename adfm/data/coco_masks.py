"""Masks as COCO annotations state them: polygons, and run lengths with or without compression."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from pycocotools import mask as coco

from adfm.data.masks import boxes_from_mask
from adfm.errors import DataError
from adfm.types import Box

Polygon = tuple[float, ...]
"""`x0, y0, x1, y1, ...` in pixels."""

_COMPRESSED = re.compile(r"(?:[P-o]{0,5}[0-O])*")
"""Numbers of up to six characters: five bits each, `P` to `o` where more follow."""


@dataclass(frozen=True, slots=True)
class RunLengths:
    """Column after column, how many pixels are good, then defect, then good, ..."""

    size: tuple[int, int]
    """Width and height (COCO writes height and width)."""
    counts: tuple[int, ...] | str
    """A text where COCO compresses them."""

    def decoded(self) -> Bool[np.ndarray, "height width"]:
        """Return the pixels.

        pycocotools does not do it, for it leaves pixels uninitialised where the counts are too few.

        Raises:
            DataError: They do not fill the image.
        """
        counts = _decompressed(self.counts) if isinstance(self.counts, str) else self.counts
        width, height = self.size
        if min(counts, default=0) < 0 or sum(counts) != width * height:
            raise DataError(f"run lengths do not add up to {width} x {height} pixels")
        values = [value for value, _ in zip(cycle((False, True)), counts, strict=False)]
        return np.repeat(np.array(values, bool), counts).reshape(width, height).T


@dataclass(frozen=True, slots=True)
class CocoMask:
    """The union of an image's segmentations; nothing is drawn before it is read."""

    segments: tuple[Polygon | RunLengths, ...]
    dilation: float = 0.01
    """See `adfm.data.masks.boxes_from_mask`."""
    min_area: int = 5
    """Likewise."""
    place: str = field(default="segmentation", compare=False)
    """File and image, for errors."""

    @property
    def files(self) -> tuple[Path, ...]:
        """None: the segmentation is held here."""
        return ()

    def read(self, size: tuple[int, int]) -> Bool[np.ndarray, "height width"]:
        """Return the pixels of an image of `size` (width, height).

        Raises:
            DataError: Run lengths are for another size or do not fill it, or a polygon lies far outside.
        """
        defect = np.zeros((size[1], size[0]), bool)
        for segment in self.segments:
            try:
                defect |= _drawn(segment, size)
            except DataError as error:
                raise DataError(f"{self.place}: {error}") from error
        return defect

    def boxes(self, size: tuple[int, int]) -> tuple[Box, ...]:
        """Return one box per defect; computed once."""
        return _boxes(self, size)


@lru_cache(maxsize=1 << 17)
def _boxes(mask: CocoMask, size: tuple[int, int]) -> tuple[Box, ...]:
    return boxes_from_mask(mask.read(size), dilation=mask.dilation, min_area=mask.min_area)


def _drawn(segment: Polygon | RunLengths, size: tuple[int, int]) -> Bool[np.ndarray, "height width"]:
    width, height = size
    if isinstance(segment, RunLengths):
        if segment.size != size:
            raise DataError(
                f"run lengths are for {segment.size[0]} x {segment.size[1]}, the image is {width} x {height}"
            )
        return segment.decoded()
    # Drawing costs memory by the length of the outline, so one far outside is refused.
    if any(not -side <= value <= 2 * side for value, side in zip(segment, cycle(size), strict=False)):
        raise DataError(f"a polygon lies far outside the {width} x {height} image")
    outline: Any = [list(segment)]
    return coco.decode(coco.merge(coco.frPyObjects(outline, height, width))).astype(bool)


def segments_of(segmentation: Any) -> tuple[Polygon | RunLengths, ...]:
    """Return what COCO's `segmentation` holds: a list of polygons, or `{size: [height, width], counts}`.

    Raises:
        DataError: It is neither.
    """
    if isinstance(segmentation, list) and segmentation:
        return tuple(_polygon(values) for values in segmentation)
    if isinstance(segmentation, dict):
        return (_run_lengths(segmentation.get("size"), segmentation.get("counts")),)
    raise DataError("segmentation must be a list of polygons, or size and counts")


def _polygon(values: Any) -> Polygon:
    if not isinstance(values, list) or len(values) < 6 or len(values) % 2 or not all(map(_is_number, values)):
        raise DataError("a polygon must be a list of at least three x and y")
    return tuple(float(value) for value in values)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9


def _run_lengths(size: Any, counts: Any) -> RunLengths:
    if not isinstance(size, list) or len(size) != 2 or not all(isinstance(side, int) and side > 0 for side in size):
        raise DataError("run lengths need size: [height, width]")
    if isinstance(counts, list) and all(isinstance(count, int) and count >= 0 for count in counts):
        held: tuple[int, ...] | str = tuple(counts)
    elif isinstance(counts, str) and _COMPRESSED.fullmatch(counts):
        held = counts
    else:
        raise DataError("run lengths need counts: a list of whole numbers, or COCO's compressed text")
    return RunLengths((size[1], size[0]), held)


def _decompressed(text: str) -> tuple[int, ...]:
    """Undo `rleToString` of cocoapi (common/maskApi.c): signed, and from the third on relative to the last but one."""
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if not bits & 0x20:
            if bits & 0x10:
                value -= 1 << shift
            counts.append(value + counts[-2] if len(counts) > 2 else value)
            value = shift = 0
    return tuple(counts)
