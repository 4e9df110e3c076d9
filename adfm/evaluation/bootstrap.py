"""Intervals by resampling images, all resamples at once.

A resample is a row of weights: how often each image was drawn. Every metric that has an interval is here as a weighted
statistic that takes all rows together; with weights of one it equals the value of `metrics`, which is torchmetrics'.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from jaxtyping import Bool, Float, Int

from adfm.evaluation.estimates import Statistic, Weights, ratio
from adfm.evaluation.outcomes import Outcomes
from adfm.evaluation.pixels import aupro, pixel_auroc
from adfm.evaluation.regions import REGIONS

CHUNK_NUMBERS = 2**21
"""Weights that exist at once (16 MiB)."""
BINS = 15
"""Of the calibration error, of equal width."""
WORK_SAVED = {"work_saved_0": 0.0, "work_saved_0.01": 0.01, "work_saved_0.05": 0.05}
"""Metric to the share of the anomalous samples that the threshold may miss."""


def draws(image: Int[np.ndarray, " sample"], *, resamples: int, seed: int) -> Iterator[Weights]:
    """Draw images with replacement, as many as there are; yield each sample's count, a chunk of resamples at a time."""
    rng = np.random.default_rng(seed)
    images = int(image.max()) + 1
    chunk = max(1, CHUNK_NUMBERS // max(images, len(image)))
    for start in range(0, resamples, chunk):
        rows = min(chunk, resamples - start)
        drawn = rng.integers(images, size=(rows, images)) + images * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * images).reshape(rows, images)
        yield counts[:, image].astype(np.float64)


def interval(values: Statistic, level: float = 0.95) -> tuple[float, float] | None:
    """Percentile interval over the resamples in which the statistic is defined; None where it never is."""
    defined = values[~np.isnan(values)]
    if not len(defined):
        return None
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def mean(values: Float[np.ndarray, " sample"], weights: Weights) -> Statistic:
    """Weighted mean over the samples that have a value; NaN where none is drawn."""
    defined = ~np.isnan(values)
    return ratio(weights[:, defined] @ values[defined], weights[:, defined].sum(1))


def share(event: Bool[np.ndarray, " sample"], among: Bool[np.ndarray, " sample"], weights: Weights) -> Statistic:
    """Weighted share of an event among some samples; NaN where none of those is drawn."""
    return ratio(weights @ (event & among).astype(float), weights @ among.astype(float))


def f1(outcomes: Outcomes, weights: Weights) -> Statistic:
    """F1 of calling samples anomalous; NaN where no anomalous sample is drawn."""
    hits = weights @ (outcomes.called & outcomes.truth).astype(float)
    true = weights @ outcomes.truth.astype(float)
    called = weights @ outcomes.called.astype(float)
    return np.where(true > 0, ratio(2 * hits, true + called), np.nan)


def auroc(outcomes: Outcomes, weights: Weights) -> Statistic:
    """Area under the ROC curve, ties counting one half; NaN where one class is missing."""
    positive, negative = _by_score(outcomes, weights)
    below = negative.cumsum(1) - negative
    pairs = positive.sum(1) * negative.sum(1)
    return ratio((positive * (below + negative / 2)).sum(1), pairs)


def average_precision(outcomes: Outcomes, weights: Weights) -> Statistic:
    """Area under the precision-recall steps; NaN where one class is missing."""
    positive, negative = _by_score(outcomes, weights)
    hits = positive[:, ::-1].cumsum(1)
    called = hits + negative[:, ::-1].cumsum(1)
    precision = np.divide(hits, called, out=np.zeros_like(hits), where=called > 0)
    both = (positive.sum(1) > 0) & (negative.sum(1) > 0)
    return np.where(both, ratio((positive[:, ::-1] * precision).sum(1), positive.sum(1)), np.nan)


def f1_max(outcomes: Outcomes, weights: Weights) -> Statistic:
    """Largest F1 over all thresholds of the score; NaN where one class is missing."""
    positive, negative = _by_score(outcomes, weights)
    hits = positive[:, ::-1].cumsum(1)
    called = hits + negative[:, ::-1].cumsum(1)
    true = positive.sum(1)
    best = ratio(2 * hits, true[:, None] + called).max(1)
    return np.where((true > 0) & (negative.sum(1) > 0), best, np.nan)


def work_saved(outcomes: Outcomes, weights: Weights, missing: float) -> Statistic:
    """Share of all images that nobody need look at when at most a share `missing` of the anomalous ones may slip by.

    Images below a threshold of the score are passed unseen. The threshold is the highest below which at most `missing`
    of the anomalous samples lie; equal scores stay together. What is passed counts good and defective samples alike.
    The threshold is chosen on these very samples, so it is what the ranking allows, not what a threshold that was set
    before would save. NaN where one class is missing.

    Of scores 1 2 3 4 with the second and the fourth anomalous: nothing missed saves 1/4, half of them missed 3/4.
    """
    positive, negative = _by_score(outcomes, weights)
    missed, passed = positive.cumsum(1), (positive + negative).cumsum(1)
    true = missed[:, -1]
    allowed = missed <= missing * true[:, None] + 1e-9
    saved = ratio((passed * allowed).max(1), passed[:, -1])
    return np.where((true > 0) & (true < passed[:, -1]), saved, np.nan)


def calibration_error(outcomes: Outcomes, weights: Weights) -> Statistic:
    """Expected calibration error of the probability in `BINS` bins of equal width; NaN without probabilities.

    The gap between the mean probability of a bin and its share of anomalous samples, weighted by the bin's size.
    """
    place = np.minimum((np.nan_to_num(outcomes.probability) * BINS).astype(int), BINS - 1)
    gaps = weights @ (np.eye(BINS)[place] * (outcomes.probability - outcomes.truth)[:, None])
    return ratio(np.abs(gaps).sum(1), weights.sum(1))


def brier(outcomes: Outcomes, weights: Weights) -> Statistic:
    """Mean squared difference of the probability from the truth (1 for anomalous); NaN without probabilities."""
    return ratio(weights @ (outcomes.probability - outcomes.truth) ** 2, weights.sum(1))


def region_recall(outcomes: Outcomes, weights: Weights, column: int) -> Statistic:
    """Share of all true regions that are found, by a column of `regions_found`; NaN where none is drawn."""
    return ratio(weights @ outcomes.regions_found[:, column], weights @ np.nan_to_num(outcomes.regions))


STATISTICS: dict[str, Callable[[Outcomes, Weights], Statistic]] = {
    "balanced_accuracy": lambda o, w: 1 - (share(o.called, ~o.truth, w) + share(~o.called, o.truth, w)) / 2,
    "f1": f1,
    "f1_max": f1_max,
    "auroc": auroc,
    "average_precision": average_precision,
    "overkill": lambda o, w: share(o.called, ~o.truth, w),
    "miss": lambda o, w: share(~o.called, o.truth, w),
    **{name: partial(work_saved, missing=missing) for name, missing in WORK_SAVED.items()},
    "calibration_error": calibration_error,
    "brier": brier,
    "box_iou": lambda o, w: mean(o.box_iou, w),
    "mask_iou": lambda o, w: mean(o.mask_iou, w),
    "box_acc_0.1": lambda o, w: mean(_above(o.box_iou, 0.1), w),
    "box_acc_0.3": lambda o, w: mean(_above(o.box_iou, 0.3), w),
    "box_acc_0.5": lambda o, w: mean(_above(o.box_iou, 0.5), w),
    **{name: partial(region_recall, column=column) for column, name in enumerate(REGIONS)},
    "segmentation_iou": lambda o, w: mean(o.segmentation_iou, w),
    "segmentation_dice": lambda o, w: mean(o.segmentation_dice, w),
    "pixel_auroc": lambda o, w: pixel_auroc(o.pixels, w),
    "aupro": lambda o, w: aupro(o.pixels, w),
    "type_accuracy": lambda o, w: mean(o.type_right, w),
    "rouge_l": lambda o, w: mean(o.rouge_l, w),
    "boxes_agree": lambda o, w: mean(o.boxes_agree, w),
    "letters_agree": lambda o, w: mean(o.letters_agree, w),
    "places_agree": lambda o, w: mean(o.places_agree, w),
    "unreadable": lambda o, w: share(o.unreadable, np.ones_like(o.truth), w),
    "parse_failure": lambda o, w: share(o.failed, np.ones_like(o.truth), w),
    "reward": lambda o, w: mean(o.reward, w),
}
"""Metric to its weighted statistic."""


def _above(iou: Float[np.ndarray, " sample"], threshold: float) -> Float[np.ndarray, " sample"]:
    return np.where(np.isnan(iou), np.nan, iou >= threshold)


def _by_score(
    outcomes: Outcomes, weights: Weights
) -> tuple[Float[np.ndarray, "resample rank"], Float[np.ndarray, "resample rank"]]:
    """Weight of anomalous and of normal samples at each distinct score, lowest first."""
    order = np.argsort(outcomes.score, kind="stable")
    score, truth = outcomes.score[order], outcomes.truth[order]
    starts = np.flatnonzero(np.r_[True, score[1:] != score[:-1]])
    ordered = weights[:, order]
    return np.add.reduceat(ordered * truth, starts, axis=1), np.add.reduceat(ordered * ~truth, starts, axis=1)
