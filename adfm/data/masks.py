"""Defect masks, and the boxes of their defects."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image
from skimage.measure import label, regionprops
from skimage.morphology import dilation as dilate

from adfm.data.images import read_grey
from adfm.errors import DataError
from adfm.types import Box

ABOVE = 127
"""Where files carry JPEG-like noise, defect is above this grey value."""
LABELS = 32
"""A file without JPEG compression whose values all lie below this numbers its classes: 0 is background."""
SAME_SHAPE = 0.01
"""A mask whose aspect ratio differs from the image's by at most this share is the same picture in another size."""


@dataclass(frozen=True, slots=True)
class MaskFiles:
    """A mask kept in grey files; of several, their union. A file of another size is brought to the image's."""

    files: tuple[Path, ...]
    above: int | None = ABOVE
    """A pixel is defect above this value; 0 where every value but 0 names a defect; None decides for each file."""
    dilation: float = 0.01
    """See `boxes_from_mask`."""
    min_area: int = 5
    """See `boxes_from_mask`."""

    def read(self, size: tuple[int, int]) -> Bool[np.ndarray, "height width"]:
        """Return the pixels of an image of `size` (width, height).

        Raises:
            DataError: A file is missing, cannot be decoded or has another shape than the image as shown.
        """
        defect = np.zeros((size[1], size[0]), bool)
        for file in self.files:
            defect |= _fitted(file, read_defect(file, self.above), size)
        return defect

    def boxes(self, size: tuple[int, int]) -> tuple[Box, ...]:
        """Return one box per defect; computed once."""
        return _boxes(self, size)


@lru_cache(maxsize=1 << 17)
def _boxes(mask: MaskFiles, size: tuple[int, int]) -> tuple[Box, ...]:
    return boxes_from_mask(mask.read(size), dilation=mask.dilation, min_area=mask.min_area)


def read_defect(file: Path, above: int | None) -> Bool[np.ndarray, "rows columns"]:
    """Return where one file says defect, in its own size; `above` as in `MaskFiles`. DataError if it cannot be read."""
    values = read_grey(file)
    return values > (threshold(file, values) if above is None else above)


def threshold(file: Path, values: UInt8[np.ndarray, "height width"]) -> int:
    """Decide above which value a pixel of a user's mask is defect.

    Files of 0 and 1, and others that number their classes from 0 (all below 32), take every value but 0; every other
    file takes what is above 127, and so does a JPEG, where small values are noise.
    """
    numbered = file.suffix.lower() not in (".jpg", ".jpeg") and int(values.max(initial=0)) < LABELS
    return 0 if numbered else ABOVE


def _fitted(
    file: Path, defect: Bool[np.ndarray, "rows columns"], size: tuple[int, int]
) -> Bool[np.ndarray, "height width"]:
    """Bring a mask of the image's shape to its size, each pixel that of the nearest."""
    width, height = defect.shape[1], defect.shape[0]
    if (width, height) == size:
        return defect
    if _same_shape((width, height), size):
        return np.asarray(Image.fromarray(defect).resize(size, Image.Resampling.NEAREST))
    sizes = f"the mask is {width} x {height}, its image {size[0]} x {size[1]}"
    if _same_shape((height, width), size):
        raise DataError(
            f"{file}: {sizes}: it fits the image as stored, not as shown; turn the mask as the image's EXIF "
            "orientation says, or remove that orientation"
        )
    raise DataError(f"{file}: {sizes}: another shape; a mask must show the whole image")


def _same_shape(first: tuple[int, int], second: tuple[int, int]) -> bool:
    return abs(first[0] * second[1] / (first[1] * second[0]) - 1) <= SAME_SHAPE


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
