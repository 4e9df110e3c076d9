"""Defect masks, and the boxes of their defects."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Bool
from skimage.measure import label, regionprops
from skimage.morphology import dilation as dilate

from adfm.data.images import read_grey
from adfm.errors import DataError
from adfm.types import Box

ABOVE = 127
"""Where files carry JPEG-like noise, defect is above this grey value."""


@dataclass(frozen=True, slots=True)
class MaskFiles:
    """A mask kept in grey files of the image's size; of several, their union."""

    files: tuple[Path, ...]
    above: int = ABOVE
    """A pixel is defect above this grey value; 0 where every value but 0 names a defect."""
    dilation: float = 0.01
    """See `boxes_from_mask`."""
    min_area: int = 5
    """See `boxes_from_mask`."""

    def read(self, size: tuple[int, int]) -> Bool[np.ndarray, "height width"]:
        """Return the pixels of an image of `size` (width, height).

        Raises:
            DataError: A file is missing, cannot be decoded or has another size.
        """
        defect = np.zeros((size[1], size[0]), bool)
        for file in self.files:
            grey = read_grey(file)
            if grey.shape != defect.shape:
                raise DataError(
                    f"{file}: the mask is {grey.shape[1]} x {grey.shape[0]}, its image {size[0]} x {size[1]}"
                )
            defect |= grey > self.above
        return defect

    def boxes(self, size: tuple[int, int]) -> tuple[Box, ...]:
        """Return one box per defect; computed once."""
        return _boxes(self, size)


@lru_cache(maxsize=1 << 17)
def _boxes(mask: MaskFiles, size: tuple[int, int]) -> tuple[Box, ...]:
    return boxes_from_mask(mask.read(size), dilation=mask.dilation, min_area=mask.min_area)


def ellipse(size: int) -> np.ndarray:
    """Return a `size` x `size` elliptical kernel (`size` odd), each row rounded as OpenCV does."""
    radius = size // 2
    offset = np.arange(-radius, radius + 1)
    reach = np.rint(np.sqrt(radius**2 - offset**2))
    return (np.abs(offset)[None, :] <= reach[:, None]).astype(np.uint8)


def kernel_size(height: int, width: int, ratio: float) -> int:
    """Return max(3, ratio * shorter side), rounded, and made odd by adding one."""
    size = max(3, round(ratio * min(height, width)))
    return size + 1 - size % 2


def boxes_from_mask(mask: Bool[np.ndarray, "height width"], *, dilation: float, min_area: int) -> tuple[Box, ...]:
    """Return the boxes of a mask's defects, top to bottom, then left to right.

    The mask is dilated with an elliptical kernel so that fragments of one defect join; each connected component (8
    neighbours) is one defect. Its box encloses the *original* mask's pixels in it, so the dilation decides what belongs
    together but widens no box. A component with fewer than `min_area` original pixels is dropped. `dilation` is the
    kernel's size as a share of the shorter side; 0 dilates nothing.

    AD-FM section 4 (dilate, connected components, enclosing boxes); kernel and smallest area as in a third party's
    re-implementation, since the paper's text does not give them.
    """
    height, width = mask.shape
    kernel = ellipse(kernel_size(height, width, dilation))
    joined = dilate(mask.astype(np.uint8), kernel) if dilation > 0 else mask
    components = label(joined > 0, connectivity=2) * mask
    found = []
    for region in regionprops(components):
        if region.area >= min_area:
            y0, x0, y1, x1 = region.bbox
            found.append((y0, x0, y1, x1))
    return tuple((float(x0), float(y0), float(x1), float(y1)) for y0, x0, y1, x1 in sorted(found))
