"""What makes masks of boxes, and the two simplest of it: nothing, and the box itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, UInt8

from adfm.types import Box

Picture = UInt8[np.ndarray, "height width 3"]
"""An image as `adfm.data.images.read_image` shows it."""
Masks = Bool[np.ndarray, "box height width"]
Window = tuple[int, int, int, int]
"""`(x0, y0, x1, y1)`: whole pixels, half-open, inside the image."""


@runtime_checkable
class Segmenter(Protocol):
    """Finds the pixels of the defect in each box."""

    name: ClassVar[str]
    """As in `masks=`."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """Everything that decides its masks, as plain values: a part of the key of kept predictions."""
        ...

    def __call__(self, image: Picture, boxes: Sequence[Box]) -> Masks:
        """Return one mask a box, in the size of the image; empty for a box that covers no pixel of it.

        Equal arguments give equal masks, and the masks of one image do not depend on the images before it.
        """
        ...


def no_segmenter() -> None:
    """Build `masks=none`: no masks are made, and an inspection has none."""


class BoxMasks:
    """The box itself as mask."""

    name: ClassVar[str] = "box"
    settings: Mapping[str, Any] = {}

    def __call__(self, image: Picture, boxes: Sequence[Box]) -> Masks:
        """Return one mask a box: all its pixels."""
        masks = np.zeros((len(boxes), *image.shape[:2]), bool)
        for mask, box in zip(masks, boxes, strict=True):
            x0, y0, x1, y1 = pixels_of(box, width=image.shape[1], height=image.shape[0])
            mask[y0:y1, x0:x1] = True
        return masks


def pixels_of(box: Box, *, width: int, height: int) -> Window:
    """Return the pixels of a box: those whose centre is in it, as `adfm.evaluation.localization.boxes_mask` has it.

    What lies outside the image is cut off. A box without a pixel gives a window without an area.
    """
    x0, x1 = (_first(edge, width) for edge in (box[0], box[2]))
    y0, y1 = (_first(edge, height) for edge in (box[1], box[3]))
    return x0, y0, max(x0, x1), max(y0, y1)


def _first(edge: float, size: int) -> int:
    """First pixel whose centre is not below `edge`."""
    return math.ceil(min(max(edge, 0.0), float(size)) - 0.5)
