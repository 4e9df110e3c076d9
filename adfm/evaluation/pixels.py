"""Pixels: how well the predicted mask fits the true one, and how well a score of each pixel ranks them.

The score of a pixel is the share of draws whose boxes cover it, or the largest confidence among the boxes that cover
it; 0 where none does. It has few distinct levels, so of each image only the count of its pixels at each level is kept:
a thousand images of a million pixels each take the memory of one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from pycocotools import mask as coco
from scipy.sparse import csr_array

from adfm.errors import DataError
from adfm.evaluation import regions
from adfm.evaluation.estimates import NO_BOXES, NO_TRUE_MASK, Statistic, Weights, ratio
from adfm.evaluation.localization import box_slices
from adfm.evaluation.prediction import Prediction
from adfm.evaluation.truth import Truth

NOT_READ = "the true masks were not read"
NO_RANKING = "one greedy completion without confidences of its boxes does not rank pixels"
LIMIT = 0.3
"""False positive rate of pixels up to which AUPRO integrates (MVTec AD)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelCounts:
    """Pixels of each sample at each distinct score, the lowest first: all that a ranking of pixels needs."""

    defective: Any
    """Counts of truly defective pixels: sparse, sample by level."""
    intact: Any
    covered: Any
    """Sum over the sample's true regions of the share of their pixels at each level."""
    regions: Float[np.ndarray, " sample"]

    def __getitem__(self, index: Int[np.ndarray, " taken"]) -> PixelCounts:
        """Keep the samples at `index`."""
        return PixelCounts(
            defective=self.defective[index],
            intact=self.intact[index],
            covered=self.covered[index],
            regions=self.regions[index],
        )


def columns(predictions: Sequence[Prediction], *, boxes: bool, truth: Truth | None) -> dict[str, Any]:
    """Look at the pixels of each prediction, one image at a time; give the columns of `Outcomes` that come of them."""
    segmented = any(one.mask is not None for one in predictions)
    ranked = all(one.draws or len(one.confidences) == len(one.boxes) for one in predictions)
    reason = NO_BOXES if not boxes else NOT_READ if truth is None else None if ranked else NO_RANKING
    iou = np.full(len(predictions), np.nan)
    counted, found = np.full(len(predictions), np.nan), np.zeros((len(predictions), len(regions.THRESHOLDS) + 1))
    histograms = []
    for row, one in enumerate(predictions):
        mask = truth(one) if truth is not None and one.anomalous else None
        true = mask if mask is not None and mask.any() else None
        if true is not None and segmented:
            iou[row] = segmentation_iou(one, true)
        numbered = None if true is None else regions.components(true)
        if boxes and truth is not None and one.anomalous:
            counted[row], found[row] = _regions(one, numbered)
        if reason is None:
            histograms.append(_histogram(one, numbered))
    known = any(one.regions for one in histograms)
    return {
        "segmentation_iou": iou,
        "segmentation_dice": 2 * iou / (1 + iou),
        "regions": counted,
        "regions_found": found,
        "pixels": reason or (_together(histograms) if known else NO_TRUE_MASK),
    }


def segmentation_iou(prediction: Prediction, true: Bool[np.ndarray, "height width"]) -> float:
    """IoU of the predicted mask with the true one, which must not be empty; 0 where no pixel was predicted.

    Raises:
        DataError: the predicted mask is not of the image's size.
    """
    if prediction.mask is None:
        return 0.0
    if tuple(prediction.mask["size"]) != true.shape:
        raise DataError(
            f"{prediction.id}: the predicted mask has height and width {list(prediction.mask['size'])}, the true one "
            f"{list(true.shape)}"
        )
    said: Any = dict(prediction.mask)
    found: Any = coco.iou([said], [coco.encode(np.asfortranarray(true, dtype=np.uint8))], [0])
    return float(found[0, 0])


def pixel_scores(prediction: Prediction) -> tuple[Float[np.ndarray, " level"], Int[np.ndarray, "height width"]]:
    """Return the levels that pixel scores may have, the lowest first, and the level of each pixel."""
    level = np.zeros((prediction.height, prediction.width), dtype=np.int64)
    if prediction.draws:
        for draw in prediction.draws:
            covered = np.zeros(level.shape, dtype=bool)
            for place in box_slices(draw.boxes, width=prediction.width, height=prediction.height):
                covered[place] = True
            level += covered
        return np.arange(len(prediction.draws) + 1) / len(prediction.draws), level
    order = np.argsort(prediction.confidences, kind="stable").tolist()
    boxes = [prediction.boxes[place] for place in order]
    for number, place in enumerate(box_slices(boxes, width=prediction.width, height=prediction.height), start=1):
        level[place] = number
    return np.array([0.0, *(prediction.confidences[place] for place in order)]), level


def pixel_auroc(pixels: PixelCounts | str, weights: Weights) -> Statistic:
    """Area under the ROC curve of pixels, all images together, ties counting one half; NaN without a true mask."""
    if isinstance(pixels, str):
        return np.full(len(weights), np.nan)
    defective, intact = weights @ pixels.defective, weights @ pixels.intact
    below = intact.cumsum(1) - intact
    return ratio((defective * (below + intact / 2)).sum(1), defective.sum(1) * intact.sum(1))


def aupro(pixels: PixelCounts | str, weights: Weights) -> Statistic:
    """Area under the per-region overlap, up to a false positive rate of `LIMIT`, divided by it; NaN without a region.

    The overlap is the mean over true regions of the share of their pixels that are called, each region with the same
    weight; the rate is over the intact pixels of all images. Between two levels the curve is a straight line, so a
    score that ranks nothing has `LIMIT / 2`.

    Source: Bergmann et al., The MVTec Anomaly Detection Dataset (IJCV 2021), section 5.2 (PRO, integrated to 0.3).
    """
    if isinstance(pixels, str):
        return np.full(len(weights), np.nan)
    wrong, right = ((weights @ counts)[:, ::-1].cumsum(1) for counts in (pixels.intact, pixels.covered))
    start = np.zeros((len(weights), 1))
    rate = np.hstack([start, ratio(wrong, np.broadcast_to(wrong[:, -1:], wrong.shape))])
    overlap = np.hstack([start, ratio(right, np.broadcast_to((weights @ pixels.regions)[:, None], right.shape))])
    step, rise = np.diff(rate), np.diff(overlap)
    within = np.clip(LIMIT - rate[:, :-1], 0, step)
    slope = np.divide(rise, step, out=np.zeros_like(rise), where=step > 0)
    return (within * (overlap[:, :-1] + slope * within / 2)).sum(1) / LIMIT


@dataclass(frozen=True, slots=True, kw_only=True)
class _Histogram:
    """Pixels of one sample at each of its levels; empty where its truth is not known."""

    levels: Float[np.ndarray, " level"]
    defective: Float[np.ndarray, " level"]
    intact: Float[np.ndarray, " level"]
    covered: Float[np.ndarray, " level"]
    regions: int


def _histogram(prediction: Prediction, numbered: Int[np.ndarray, "height width"] | None) -> _Histogram:
    nothing = np.zeros(0)
    if prediction.anomalous and numbered is None:
        return _Histogram(levels=nothing, defective=nothing, intact=nothing, covered=nothing, regions=0)
    levels, level = pixel_scores(prediction)
    every = np.bincount(level.ravel(), minlength=len(levels)).astype(np.float64)
    if numbered is None:
        none = np.zeros_like(every)
        return _Histogram(levels=levels, defective=none, intact=every, covered=none, regions=0)
    count = int(numbered.max())
    inside = numbered > 0
    places = (numbered[inside] - 1) * len(levels) + level[inside]
    of_region = np.bincount(places, minlength=count * len(levels)).reshape(count, len(levels)).astype(np.float64)
    defective = of_region.sum(0)
    return _Histogram(
        levels=levels,
        defective=defective,
        intact=every - defective,
        covered=(of_region / of_region.sum(1, keepdims=True)).sum(0),
        regions=count,
    )


def _together(histograms: Sequence[_Histogram]) -> PixelCounts:
    levels, column = np.unique(np.concatenate([one.levels for one in histograms]), return_inverse=True)
    row = np.repeat(np.arange(len(histograms)), [len(one.levels) for one in histograms])
    values: Mapping[str, Any] = {
        name: csr_array(
            (np.concatenate([getattr(one, name) for one in histograms]), (row, column)),
            shape=(len(histograms), len(levels)),
        )
        for name in ("defective", "intact", "covered")
    }
    return PixelCounts(**values, regions=np.array([one.regions for one in histograms], dtype=np.float64))


def _regions(prediction: Prediction, numbered: Int[np.ndarray, "height width"] | None) -> tuple[float, Sequence[float]]:
    """Count the regions of an anomalous sample and those that were found, by its mask or else by its true boxes."""
    if numbered is not None:
        return regions.found(prediction.boxes, numbered)
    if not prediction.true_boxes:
        return np.nan, [0.0] * (len(regions.THRESHOLDS) + 1)
    return regions.found_boxes(
        prediction.boxes, prediction.true_boxes, width=prediction.width, height=prediction.height
    )
