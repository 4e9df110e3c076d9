"""Masks without a model: a vote of three classical methods in a part of the image around each box."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from adfm.errors import ConfigError
from adfm.masks import candidates
from adfm.masks.candidates import Cutout
from adfm.masks.segmenter import Masks, Picture, Window, pixels_of
from adfm.types import Box

Part = UInt8[np.ndarray, "rows columns 3"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Classical:
    """What at least two of Otsu, watershed and felzenszwalb call defect; large boxes can go their own way.

    An empty result becomes the box. The cost of a box depends on its size, and no more than `pixels` of it count.
    experiments/masks_from_boxes measures it against its parts and against the raw box.

    Args:
        margin: Width of the ring around a box that is taken for good surface, as a share of the box's sides.
        least_margin: Of that ring, in pixels.
        pixels: A box with its ring that has more is looked at in reduced size, and its mask enlarged.
        seeds: See `candidates.watershed`.
        scale: See `candidates.felzenszwalb`.
        sigma: Likewise.
        min_size: Likewise.
        within: Likewise.
        large_from: A box of at least this share of the image is large.
        large: What a large box becomes: the same vote, the box itself, or where its outline moves by `chan_vese`.
        steps: See `candidates.chan_vese`.
        smoothing: Likewise.

    Raises:
        ConfigError: A number is out of its range.
    """

    name: ClassVar[str] = "classical"

    margin: float = 0.5
    least_margin: int = 4
    pixels: int = 65536
    seeds: float = 0.1
    scale: float = 50.0
    sigma: float = 0.8
    min_size: int = 10
    within: float = 0.8
    large_from: float = 0.25
    large: Literal["vote", "box", "chan_vese"] = "chan_vese"
    steps: int = 30
    smoothing: int = 1

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"masks.{name} must be between {low:g} and {high:g}, but is {value:g}")

    @property
    def settings(self) -> Mapping[str, Any]:
        """Every number above."""
        return asdict(self)

    def __call__(self, image: Picture, boxes: Sequence[Box]) -> Masks:
        """Return one mask a box, inside the box; empty for a box that covers no pixel."""
        height, width = image.shape[:2]
        masks = np.zeros((len(boxes), height, width), bool)
        for mask, box in zip(masks, boxes, strict=True):
            x0, y0, x1, y1 = window = pixels_of(box, width=width, height=height)
            if x0 < x1 and y0 < y1:
                mask[y0:y1, x0:x1] = self._in_window(image, window)
        return masks

    def _in_window(self, image: Picture, window: Window) -> Bool[np.ndarray, "rows columns"]:
        """Return the defect in a box that has an area, in the box's own pixels."""
        x0, y0, x1, y1 = window
        whole = np.ones((y1 - y0, x1 - x0), bool)
        large = whole.size >= self.large_from * image.shape[0] * image.shape[1]
        if large and self.large == "box":
            return whole
        cutout = Cutout.of(*self._reduced(*self._around(image, window)))
        found = self._moved(cutout) if large and self.large == "chan_vese" else self.vote(cutout)
        x0, y0, x1, y1 = cutout.window
        found = found[y0:y1, x0:x1]
        if not found.any():
            return whole
        if found.shape == whole.shape:
            return found
        return np.asarray(Image.fromarray(found).resize((whole.shape[1], whole.shape[0]), Image.Resampling.NEAREST))

    def vote(self, cutout: Cutout) -> candidates.Region:
        """Return what at least two of the three methods call defect."""
        votes = [
            candidates.otsu(cutout),
            candidates.watershed(cutout, seeds=self.seeds),
            candidates.felzenszwalb(
                cutout, scale=self.scale, sigma=self.sigma, min_size=self.min_size, within=self.within
            ),
        ]
        return np.sum(votes, axis=0) >= 2

    def _moved(self, cutout: Cutout) -> candidates.Region:
        return candidates.chan_vese(cutout, steps=self.steps, smoothing=self.smoothing)

    def _around(self, image: Picture, window: Window) -> tuple[Part, Window]:
        """Cut out the box with its ring."""
        x0, y0, x1, y1 = window
        beside, above = (max(self.least_margin, round(self.margin * side)) for side in (x1 - x0, y1 - y0))
        left, top = max(0, x0 - beside), max(0, y0 - above)
        part = image[top : y1 + above, left : x1 + beside]
        return part, (x0 - left, y0 - top, x1 - left, y1 - top)

    def _reduced(self, part: Part, window: Window) -> tuple[Picture, Window]:
        """Bring a part to at most about `pixels`; the box keeps at least one."""
        height, width = part.shape[:2]
        shrink = math.sqrt(self.pixels / (width * height))
        if shrink >= 1:
            return part, window
        size = max(1, math.floor(width * shrink)), max(1, math.floor(height * shrink))
        across, down = size[0] / width, size[1] / height
        x0, y0, x1, y1 = window
        smaller = np.asarray(Image.fromarray(part).resize(size, Image.Resampling.BOX))
        return smaller, (
            math.floor(x0 * across),
            math.floor(y0 * down),
            min(size[0], math.ceil(x1 * across)),
            min(size[1], math.ceil(y1 * down)),
        )


_RANGES: Mapping[str, tuple[float, float]] = {
    "margin": (0, 10),
    "least_margin": (1, 1000),
    "pixels": (64, 2**24),
    "seeds": (0, 1),
    "scale": (0, 1e6),
    "sigma": (0, 100),
    "min_size": (1, 1e6),
    "within": (0, 1),
    "large_from": (0, 1),
    "steps": (1, 10_000),
    "smoothing": (0, 100),
}
