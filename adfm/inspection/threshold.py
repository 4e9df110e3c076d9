"""A threshold from normal images alone, with its guarantee.

It is one of the scores of independent normal images. With `above` of `n` of them above it, the share of all
normal images that score above it is at most `max_false_alarm` with confidence 1 - P(Binomial(n, max_false_alarm) <=
above), whatever the distribution of the scores is (S. S. Wilks, Determination of sample sizes for setting tolerance
limits, Annals of Mathematical Statistics 12, 1941). Ties only lower that share, since an alarm is a score strictly
above the threshold. So 29 images give 10 %, 59 give 5 % and 299 give 1 % with 95 % confidence, at their highest score.

The guarantee is about independent images of the kind that will come, scored in the same way: the same weights, prompt,
decoding and tiles. Where images are cut into tiles, the score is the highest of many, so more tiles mean higher scores
of normal images; calibrated with the same tiles, that is allowed for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import binom

from adfm.data.likeness import alike
from adfm.data.splits import clusters
from adfm.errors import DataError


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """A score that few normal images exceed: one above it is an alarm."""

    value: float
    images: int
    """Normal images that it was made from."""
    independent: int
    """How many of them count: near-duplicates as one."""
    above: int
    """How many of the independent ones score above it."""
    max_false_alarm: float
    """Share of normal images."""
    confidence: float

    @property
    def guarantee(self) -> str:
        """What is promised, in words."""
        count = f"{self.images} normal images"
        if self.independent < self.images:
            count += f", of which {self.independent} count as independent"
        return (
            f"{count}: with {_percent(self.confidence, math.floor)} confidence at most "
            f"{_percent(self.max_false_alarm, math.ceil)} of normal images will score above {self.value:.4g}"
        )


def threshold(scores: Sequence[Sequence[float]], *, max_false_alarm: float | None, confidence: float) -> Threshold:
    """Choose the lowest score of normal images that keeps the promise.

    Args:
        scores: Of normal images, near-duplicates together (`groups`): a group counts as one image, with its highest
            score, which can only make the threshold higher.
        max_false_alarm: The share of normal images that may score above, in (0, 1); None takes the highest score and
            promises the best that so many images allow.
        confidence: In (0, 1): how likely the promise is kept, over the draw of the normal images.

    Raises:
        DataError: there are too few independent images for what is asked, or a score is no number.
    """
    count, images = len(scores), sum(map(len, scores))
    highest = sorted(max(group) for group in scores)
    above = exceedances(count, images, max_false_alarm, confidence)
    if not np.isfinite(np.concatenate([list(group) for group in scores])).all():
        raise DataError("the scores of normal images are not all finite; no threshold can be made of them")
    return Threshold(
        value=highest[count - 1 - above],
        images=images,
        independent=count,
        above=above,
        max_false_alarm=best_false_alarm(count, confidence) if max_false_alarm is None else max_false_alarm,
        confidence=confidence,
    )


def exceedances(count: int, images: int, max_false_alarm: float | None, confidence: float) -> int:
    """Return how many of `count` independent ones among `images` normal images may score above the threshold.

    Raises:
        DataError: there are too few for what is asked; the message says how many are needed.
    """
    if not count:
        raise DataError("there is no normal image to calibrate on")
    if max_false_alarm is None:
        return 0
    above = most_above(count, max_false_alarm, confidence)
    if above is None:
        raise DataError(_too_few(count, images, max_false_alarm, confidence))
    return above


def most_above(count: int, max_false_alarm: float, confidence: float) -> int | None:
    """Return how many of `count` independent normal images may score above a threshold; None if there are too few.

    It is the largest number for which P(Binomial(count, max_false_alarm) <= number) <= 1 - confidence.

    >>> [most_above(count, 0.05, 0.95) for count in (58, 59, 92, 93, 124)]
    [None, 0, 0, 1, 2]
    """
    kept = binom.cdf(np.arange(count), count, max_false_alarm) <= 1 - confidence
    return int(np.count_nonzero(kept)) - 1 if kept.any() else None


def normals_needed(max_false_alarm: float, confidence: float) -> int:
    """Return the fewest independent normal images whose highest score is a threshold that keeps the promise.

    >>> [normals_needed(share, 0.95) for share in (0.1, 0.05, 0.02, 0.01)]
    [29, 59, 149, 299]
    """
    return math.ceil(math.log(1 - confidence) / math.log1p(-max_false_alarm))


def best_false_alarm(count: int, confidence: float) -> float:
    """Return the smallest share that the highest score of `count` independent normal images promises.

    >>> round(best_false_alarm(10, 0.95), 4)
    0.2589
    """
    return -math.expm1(math.log(1 - confidence) / count)


def groups(images: Sequence[Path], similarity: float) -> list[list[int]]:
    """Put the places of near-duplicates together (`adfm.data.likeness.alike`), also where one joins two others.

    Raises:
        DataError: An image cannot be read.
    """
    return clusters(len(images), alike(images, similarity))


def _too_few(count: int, images: int, max_false_alarm: float, confidence: float) -> str:
    have = f"{images} normal images" + (
        f" count as {count}, as some are near-duplicates; they" if count < images else ""
    )
    return (
        f"{have} are too few: at most {_percent(max_false_alarm, math.ceil)} false alarms with "
        f"{_percent(confidence, math.floor)} confidence need {normals_needed(max_false_alarm, confidence)} independent "
        f"ones; {count} promise {_percent(best_false_alarm(count, confidence), math.ceil)} at best "
        "(max_false_alarm=null takes that)"
    )


def _percent(share: float, rounding: Callable[[float], int]) -> str:
    digits = rounding(round(share * 1000, 6)) / 10
    return f"{digits:g} %"
