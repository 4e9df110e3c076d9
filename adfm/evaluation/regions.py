"""Per-region recall: which of the true regions the predicted boxes find.

A region is a connected component of the true mask (8 neighbours), or a true box where the data has no mask.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int
from skimage.measure import label, regionprops

from adfm.evaluation.localization import boxes_mask, has_area, overlaps
from adfm.types import Box

THRESHOLDS = (0.1, 0.3, 0.5)
"""IoU with the box around a region at which one predicted box finds it."""
COVERED = 0.5
"""Share of a region's pixels in predicted boxes from which on it is covered."""
REGIONS = (*(f"region_recall_{threshold}" for threshold in THRESHOLDS), f"region_coverage_{COVERED}")
"""Names of what is counted: found at each IoU, and covered."""
NO_REGION = "no anomalous sample with a known true region, or its masks were not read"


def components(mask: Bool[np.ndarray, "height width"]) -> Int[np.ndarray, "height width"]:
    """Number the regions of a true mask from 1; 0 is intact."""
    return np.asarray(label(mask, connectivity=2), dtype=np.int64)


def found(boxes: Sequence[Box], regions: Int[np.ndarray, "height width"]) -> tuple[int, list[int]]:
    """Count the regions, and those that `boxes` find at each of `THRESHOLDS`, and those they cover by half.

    The IoU is that of the best box with the box around the region, since a box cannot follow a crack; covered is what
    the pixels say, whatever the boxes enclose beside it.
    """
    around: list[Box] = [(float(x0), float(y0), float(x1), float(y1)) for y0, x0, y1, x1 in _boxes(regions)]
    height, width = regions.shape
    inside = boxes_mask(boxes, width=width, height=height)
    pixels = np.bincount(regions[regions > 0], minlength=len(around) + 1)[1:]
    covered = np.bincount(regions[inside & (regions > 0)], minlength=len(around) + 1)[1:]
    return len(around), [*_matched(boxes, around), int(np.count_nonzero(covered >= COVERED * pixels))]


def found_boxes(boxes: Sequence[Box], true: Sequence[Box], *, width: int, height: int) -> tuple[int, list[int]]:
    """Count likewise where a region is a true box."""
    size = {"width": width, "height": height}
    inside = boxes_mask(boxes, **size)
    true_pixels = [boxes_mask([box], **size) for box in true]
    covered = [np.count_nonzero(one & inside) >= COVERED * np.count_nonzero(one) for one in true_pixels if one.any()]
    return len(true), [*_matched(boxes, true), int(np.count_nonzero(covered))]


def _boxes(regions: Int[np.ndarray, "height width"]) -> list[tuple[int, int, int, int]]:
    return [region.bbox for region in regionprops(regions)]


def _matched(boxes: Sequence[Box], true: Sequence[Box]) -> list[int]:
    """Count the true boxes whose best predicted box reaches each threshold."""
    boxes = [box for box in boxes if has_area(box)]
    if not boxes or not true:
        return [0] * len(THRESHOLDS)
    best = overlaps(boxes, true).max(axis=0)
    return [int(np.count_nonzero(best >= threshold)) for threshold in THRESHOLDS]
