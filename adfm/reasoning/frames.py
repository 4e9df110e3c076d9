"""Coordinate systems of the model families: the only place that knows how a model writes a box.

Qwen2-VL and Qwen2.5-VL write pixels of the image after their own resizing (`AbsoluteFrames`), Qwen3-VL writes
thousandths of each side (`RelativeFrames`). Both resize by the rule of transformers' `Qwen2VLImageProcessor`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from adfm.errors import DataError
from adfm.types import Box

MOST_ELONGATED = 200
"""The image processor refuses images with one side more than this many times the other."""


def resized(width: int, height: int, *, factor: int, min_pixels: int, max_pixels: int) -> tuple[int, int]:
    """Return the width and height to which the Qwen image processors resize an image.

    Both become multiples of `factor`; their product is brought between `min_pixels` and `max_pixels`, keeping the
    aspect ratio as far as the multiples allow. Equals `smart_resize` of transformers' Qwen2-VL image processor.

    Raises:
        DataError: one side is more than 200 times the other, or not positive.

    >>> resized(100, 200, factor=28, min_pixels=56 * 56, max_pixels=1280 * 28 * 28)
    (112, 196)
    """
    if min(width, height) < 1 or max(width, height) > MOST_ELONGATED * min(width, height):
        raise DataError(f"an image of {width} x {height} pixels cannot be shown to the model: too elongated or empty")
    sides = [round(side / factor) * factor for side in (width, height)]
    if math.prod(sides) > max_pixels:
        shrink = math.sqrt(height * width / max_pixels)
        sides = [max(factor, math.floor(side / shrink / factor) * factor) for side in (width, height)]
    elif math.prod(sides) < min_pixels:
        grow = math.sqrt(min_pixels / (height * width))
        sides = [math.ceil(side * grow / factor) * factor for side in (width, height)]
    return sides[0], sides[1]


def _scaled(boxes: Sequence[Box], by_x: float, by_y: float) -> tuple[Box, ...]:
    return tuple((x0 * by_x, y0 * by_y, x1 * by_x, y1 * by_y) for x0, y0, x1, y1 in boxes)


def _rounded(box: Box) -> Box:
    """Round to whole coordinates, at least one apart, without leaving the image."""
    (x0, x1), (y0, y1) = (_apart(round(low), round(high)) for low, high in ((box[0], box[2]), (box[1], box[3])))
    return x0, y0, x1, y1


def _apart(low: int, high: int) -> tuple[float, float]:
    if low < high:
        return float(low), float(high)
    return (float(high - 1), float(high)) if high >= 1 else (0.0, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class GridFrame:
    """An image whose boxes are written as whole numbers on a grid of `width` x `height`.

    A box that is written and taken back is off by at most half a step of the grid at each edge (a box thinner than a
    step by at most one step).

    >>> frame = GridFrame(original_size=(200, 100), width=100, height=100, image_size=(100, 100), words="in pixels")
    >>> frame.written([(20.0, 10.2, 100.0, 50.0)])
    ((10.0, 10.0, 50.0, 50.0),)
    >>> frame.original([(10.0, 10.0, 50.0, 50.0)])
    ((20.0, 10.0, 100.0, 50.0),)
    """

    original_size: tuple[int, int]
    width: float
    height: float
    image_size: tuple[int, int]
    words: str

    def describe(self) -> str:
        """Say the coordinate system, and the image's size as the model sees it, in the words a prompt uses."""
        return self.words

    def written(self, boxes: Sequence[Box]) -> tuple[Box, ...]:
        """Take boxes from original pixels to the grid, rounded to whole numbers and never empty."""
        scaled = _scaled(boxes, self.width / self.original_size[0], self.height / self.original_size[1])
        return tuple(_rounded(box) for box in scaled)

    def original(self, boxes_written: Sequence[Box]) -> tuple[Box, ...]:
        """Take boxes from the grid to original pixels, unrounded and unclipped."""
        return _scaled(boxes_written, self.original_size[0] / self.width, self.original_size[1] / self.height)


@dataclass(frozen=True, slots=True, kw_only=True)
class AbsoluteFrames:
    """Qwen2-VL and Qwen2.5-VL: pixels of the image as the model sees it, after its own resizing.

    >>> AbsoluteFrames(min_pixels=3136, max_pixels=1003520)(100, 200).describe()
    'in pixels of the 112 x 196 image'
    """

    min_pixels: int
    max_pixels: int
    factor: int = 28
    """Patch size times merge size: the sides of the image are multiples of it."""

    def __call__(self, width: int, height: int) -> GridFrame:
        """Return the frame of an image of `width` x `height` original pixels."""
        size = resized(width, height, factor=self.factor, min_pixels=self.min_pixels, max_pixels=self.max_pixels)
        words = f"in pixels of the {size[0]} x {size[1]} image"
        return GridFrame(
            original_size=(width, height), width=float(size[0]), height=float(size[1]), image_size=size, words=words
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RelativeFrames:
    """Qwen3-VL: thousandths of the image's width and height, whatever its size.

    >>> RelativeFrames(min_pixels=4096, max_pixels=1048576)(100, 200).describe()
    'from 0 to 1000 across and down the 96 x 192 image'
    """

    min_pixels: int
    max_pixels: int
    factor: int = 32
    """Patch size times merge size: the sides of the image are multiples of it."""
    steps: int = 1000

    def __call__(self, width: int, height: int) -> GridFrame:
        """Return the frame of an image of `width` x `height` original pixels."""
        size = resized(width, height, factor=self.factor, min_pixels=self.min_pixels, max_pixels=self.max_pixels)
        words = f"from 0 to {self.steps} across and down the {size[0]} x {size[1]} image"
        return GridFrame(
            original_size=(width, height),
            width=float(self.steps),
            height=float(self.steps),
            image_size=size,
            words=words,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityFrame:
    """Completions whose coordinates already are the original pixels, as in a file of completions without its images."""

    width: float
    height: float

    @property
    def image_size(self) -> tuple[int, int]:
        """Width and height in whole pixels."""
        return round(self.width), round(self.height)

    def describe(self) -> str:
        """Say the coordinate system in the words a prompt uses."""
        return f"in pixels of the {self.image_size[0]} x {self.image_size[1]} image"

    def written(self, boxes: Sequence[Box]) -> tuple[Box, ...]:
        """Return the boxes as they are, without rounding."""
        return tuple(boxes)

    def original(self, boxes_written: Sequence[Box]) -> tuple[Box, ...]:
        """Return the boxes as they are."""
        return tuple(boxes_written)
