"""Where in a box the defect is, in the eyes of one classical method each (scikit-image, on the CPU).

A method is a function of a `Cutout`; it returns the pixels of the box that it calls defect, which may be none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from skimage.color import rgb2gray
from skimage.filters import sobel, threshold_otsu
from skimage.segmentation import felzenszwalb as segment
from skimage.segmentation import morphological_chan_vese
from skimage.segmentation import watershed as flood

from adfm.masks.segmenter import Picture, Window

Grey = Float[np.ndarray, "height width"]
Region = Bool[np.ndarray, "height width"]


@dataclass(frozen=True, slots=True)
class Cutout:
    """A part of an image around one box."""

    picture: Picture
    grey: Grey
    """0 to 1."""
    window: Window
    """The box in this part; it has an area."""
    inside: Region
    """The pixels of the box."""
    surface: float
    """Median grey of the ring around the box, taken for good surface; of the box's rim where there is no ring."""

    @classmethod
    def of(cls, picture: Picture, window: Window) -> Cutout:
        """Look at a box in a part of an image."""
        x0, y0, x1, y1 = window
        inside = np.zeros(picture.shape[:2], bool)
        inside[y0:y1, x0:x1] = True
        grey = rgb2gray(picture)
        return cls(picture, grey, window, inside, float(np.median(grey[_around(inside, window)])))

    @property
    def around(self) -> Region:
        """The ring around the box; the box's own rim where it fills the part."""
        return _around(self.inside, self.window)

    @property
    def in_box(self) -> Grey:
        """Grey values of the box."""
        x0, y0, x1, y1 = self.window
        return self.grey[y0:y1, x0:x1]


def _around(inside: Region, window: Window) -> Region:
    if not inside.all():
        return ~inside
    x0, y0, x1, y1 = window
    rim = inside.copy()
    rim[y0 + 1 : y1 - 1, x0 + 1 : x1 - 1] = False
    return rim


def ellipse(cutout: Cutout) -> Region:
    """Return the ellipse that fits the box: pixels whose centre is in it."""
    x0, y0, x1, y1 = cutout.window
    rows, columns = np.indices(cutout.inside.shape)
    across = (columns + 0.5 - (x0 + x1) / 2) / ((x1 - x0) / 2)
    down = (rows + 0.5 - (y0 + y1) / 2) / ((y1 - y0) / 2)
    return np.less_equal(across**2 + down**2, 1)


def otsu(cutout: Cutout) -> Region:
    """Return the side of Otsu's threshold of the box that the surface is not on; all of a box of one grey value."""
    if np.ptp(cutout.in_box) == 0:
        return cutout.inside
    threshold = threshold_otsu(cutout.in_box)
    bright = cutout.grey > threshold
    return (bright if cutout.surface <= threshold else ~bright) & cutout.inside


def watershed(cutout: Cutout, *, seeds: float) -> Region:
    """Flood Sobel's gradient from the surface around the box and from what differs most from it.

    Args:
        cutout: Where to look.
        seeds: Share of the box's pixels that the flood of the defect starts from.
    """
    difference = np.abs(cutout.grey - cutout.surface)
    bound = np.quantile(difference[cutout.inside], 1 - seeds)
    markers = np.where(cutout.inside & (difference >= bound), 2, 0)
    markers[cutout.around] = 1
    return (flood(sobel(cutout.grey), markers) == 2) & cutout.inside


def felzenszwalb(cutout: Cutout, *, scale: float, sigma: float, min_size: int, within: float) -> Region:
    """Return the segments of Felzenszwalb and Huttenlocher (IJCV 2004) that lie mostly in the box.

    Args:
        cutout: Where to look.
        scale: Larger values give larger segments.
        sigma: Of the smoothing before, in pixels.
        min_size: Of a segment, in pixels.
        within: A segment belongs to the defect if at least this share of it is in the box.
    """
    segments = segment(cutout.picture, scale=scale, sigma=sigma, min_size=min_size)
    total = np.bincount(segments.ravel())
    boxed = np.bincount(segments[cutout.inside], minlength=len(total))
    return (boxed >= within * total)[segments] & cutout.inside


def chan_vese(cutout: Cutout, *, steps: int, smoothing: int) -> Region:
    """Let the box's outline move to where two grey levels explain the picture best (morphological Chan-Vese).

    Márquez-Neila, Baumela and Alvarez, TPAMI 2014. `steps` of the outline, each smoothed `smoothing` times. It stays
    where it is in a picture of one grey value, or of one row or column.
    """
    if np.ptp(cutout.grey) == 0 or min(cutout.grey.shape) < 2:
        return cutout.inside
    outline: Any = cutout.inside.astype(np.int8)
    moved = morphological_chan_vese(cutout.grey, steps, init_level_set=outline, smoothing=smoothing)
    return (moved > 0) & cutout.inside
