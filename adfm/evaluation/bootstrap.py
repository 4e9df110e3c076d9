"""Intervals by resampling images, all resamples at once.

A resample is a row of weights: how often each image was drawn. Every metric that has an interval is here as a weighted
statistic that takes all rows together; with weights of one it equals the value of `metrics`, which is torchmetrics'.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

Weights = Float[np.ndarray, "resample sample"]
Statistic = Float[np.ndarray, " resample"]

CHUNK_NUMBERS = 2**21
"""Weights that exist at once (16 MiB)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """What became of each sample, as columns."""

    truth: Bool[np.ndarray, " sample"]
    called: Bool[np.ndarray, " sample"]
    """Called anomalous. An unreadable verdict counts as the wrong class: as a miss or as overkill."""
    unreadable: Bool[np.ndarray, " sample"]
    failed: Bool[np.ndarray, " sample"]
    """Something of the completion could not be read: a box, a stage or the verdict."""
    score: Float[np.ndarray, " sample"]
    box_iou: Float[np.ndarray, " sample"]
    """NaN where there is no true box."""
    mask_iou: Float[np.ndarray, " sample"]
    """NaN where there is no true mask."""
    reward: Float[np.ndarray, " sample"]
    """Total; NaN where no reward was given."""
    image: Int[np.ndarray, " sample"]
    """Number of its image, from 0; samples of one image are resampled together."""

    def take(self, index: Int[np.ndarray, " taken"]) -> Outcomes:
        """Keep the samples at `index`."""
        return Outcomes(**{name: getattr(self, name)[index] for name in self.__slots__})


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
    return _ratio(weights[:, defined] @ values[defined], weights[:, defined].sum(1))


def share(event: Bool[np.ndarray, " sample"], among: Bool[np.ndarray, " sample"], weights: Weights) -> Statistic:
    """Weighted share of an event among some samples; NaN where none of those is drawn."""
    return _ratio(weights @ (event & among).astype(float), weights @ among.astype(float))


def f1(outcomes: Outcomes, weights: Weights) -> Statistic:
    """F1 of calling samples anomalous; NaN where no anomalous sample is drawn."""
    hits = weights @ (outcomes.called & outcomes.truth).astype(float)
    true = weights @ outcomes.truth.astype(float)
    called = weights @ outcomes.called.astype(float)
    return np.where(true > 0, _ratio(2 * hits, true + called), np.nan)


def auroc(outcomes: Outcomes, weights: Weights) -> Statistic:
    """Area under the ROC curve, ties counting one half; NaN where one class is missing."""
    positive, negative = _by_score(outcomes, weights)
    below = negative.cumsum(1) - negative
    pairs = positive.sum(1) * negative.sum(1)
    return _ratio((positive * (below + negative / 2)).sum(1), pairs)


def average_precision(outcomes: Outcomes, weights: Weights) -> Statistic:
    """Area under the precision-recall steps; NaN where one class is missing."""
    positive, negative = _by_score(outcomes, weights)
    hits = positive[:, ::-1].cumsum(1)
    called = hits + negative[:, ::-1].cumsum(1)
    precision = np.divide(hits, called, out=np.zeros_like(hits), where=called > 0)
    both = (positive.sum(1) > 0) & (negative.sum(1) > 0)
    return np.where(both, _ratio((positive[:, ::-1] * precision).sum(1), positive.sum(1)), np.nan)


STATISTICS: dict[str, Callable[[Outcomes, Weights], Statistic]] = {
    "balanced_accuracy": lambda o, w: 1 - (share(o.called, ~o.truth, w) + share(~o.called, o.truth, w)) / 2,
    "f1": f1,
    "auroc": auroc,
    "average_precision": average_precision,
    "overkill": lambda o, w: share(o.called, ~o.truth, w),
    "miss": lambda o, w: share(~o.called, o.truth, w),
    "box_iou": lambda o, w: mean(o.box_iou, w),
    "mask_iou": lambda o, w: mean(o.mask_iou, w),
    "box_acc_0.1": lambda o, w: mean(_above(o.box_iou, 0.1), w),
    "box_acc_0.3": lambda o, w: mean(_above(o.box_iou, 0.3), w),
    "box_acc_0.5": lambda o, w: mean(_above(o.box_iou, 0.5), w),
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


def _ratio(part: Statistic, whole: Statistic) -> Statistic:
    return np.divide(part, whole, out=np.full_like(whole, np.nan), where=whole > 0)
