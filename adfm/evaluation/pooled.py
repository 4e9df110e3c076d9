"""Runs that differ by their seed only, taken together and compared with others on the same images.

Two things make such numbers uncertain, and they are kept apart. Which images the test part happens to hold: images are
drawn with replacement, and a drawn image brings the predictions of every seed, before and after; that is the 95%
interval. What training happened to find: the standard deviation over the seeds, shown beside it. An interval over
images says nothing of a seed that was never run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np
from jaxtyping import Float

from adfm.errors import DataError
from adfm.evaluation.bootstrap import STATISTICS, Weights, draws, interval, mean
from adfm.evaluation.metrics import columns
from adfm.evaluation.prediction import Prediction

TERM = "reward/"
"""Before the name of a reward term; `reward` alone is the total."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pooled:
    """A metric, or a difference of one, over several seeds."""

    value: float
    """Mean over the seeds."""
    low: float | None = None
    """Ends of the 95% interval over images; None without resamples."""
    high: float | None = None
    seeds: Mapping[str, float]
    """Each seed's own value; empty where two sides have different seeds."""

    @property
    def spread(self) -> float | None:
        """Standard deviation over the seeds (of a sample: n - 1); None for fewer than two."""
        return stdev(self.seeds.values()) if len(self.seeds) > 1 else None

    @property
    def is_sure(self) -> bool:
        """Whether the interval over images lies on one side of 0."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


class Pool:
    """The predictions of several seeds on the same samples.

    Args:
        runs: Seed to its predictions, in any order.
        boxes: Whether boxes were asked for; if not, what is measured of them is not defined.
        resamples: Of the bootstrap; 0 gives no intervals.
        seed: Of the draws. Pools about the same samples draw the same images.

    Raises:
        DataError: There are no predictions, or the runs are not about the same samples.
    """

    def __init__(
        self,
        runs: Mapping[str, Sequence[Prediction]],
        *,
        boxes: bool = True,
        resamples: int = 1000,
        seed: int = 0,
    ) -> None:
        self.runs = {name: sorted(runs[name], key=lambda one: one.id) for name in sorted(runs)}
        self.ids = [one.id for one in next(iter(self.runs.values()), [])]
        if not self.ids:
            raise DataError("there are no predictions to pool")
        for name, predictions in self.runs.items():
            if [one.id for one in predictions] != self.ids:
                raise DataError(
                    f"seed {name} was not evaluated on the samples of the other seeds; evaluate all with one "
                    "evaluate.test_samples"
                )
        self.settings = {"boxes": boxes, "resamples": resamples, "seed": seed}
        self._outcomes = {name: columns(predictions, boxes=boxes) for name, predictions in self.runs.items()}
        image = next(iter(self._outcomes.values())).image
        self._weights: list[Weights] = [np.ones((1, len(self.ids))), *draws(image, resamples=resamples, seed=seed)]
        self._known: dict[str, Float[np.ndarray, "seed draw"]] = {}

    @property
    def metrics(self) -> list[str]:
        """Every metric that can be asked for; some may not be defined on these samples."""
        terms = {term: None for predictions in self.runs.values() for one in predictions for term in one.rewards}
        return [*STATISTICS, *(f"{TERM}{term}" for term in terms if term != "total")]

    def take(self, seeds: Sequence[str]) -> Pool:
        """Return the pool of some of the seeds."""
        if set(seeds) == set(self.runs):
            return self
        return Pool({seed: self.runs[seed] for seed in seeds}, **self.settings)

    def estimate(self, metric: str) -> Pooled | None:
        """Return a metric's mean over the seeds; None where it is not defined."""
        return _pooled(self._statistic(metric), list(self.runs))

    def minus(self, other: Pool, metric: str) -> Pooled | None:
        """Return how much larger a metric is here than in `other`, paired by image; None where it is not defined.

        With the same seeds on both sides the difference of each seed is given too.

        Raises:
            DataError: The two are not about the same samples, or were not drawn alike.
        """
        if other.ids != self.ids or len(other._weights) != len(self._weights):
            raise DataError("the two sides were not evaluated on the same samples, so they cannot be paired")
        mine, theirs = self._statistic(metric), other._statistic(metric)
        if list(self.runs) == list(other.runs):
            return _pooled(mine - theirs, list(self.runs))
        return _pooled((mine.mean(0) - theirs.mean(0))[None], [])

    def _statistic(self, metric: str) -> Float[np.ndarray, "seed draw"]:
        """Return a metric of every seed: on the samples as they are, then on each draw of images."""
        if metric not in self._known:
            rows = [[self._of_seed(name, metric, weights) for weights in self._weights] for name in self.runs]
            self._known[metric] = np.stack([np.concatenate(row) for row in rows])
        return self._known[metric]

    def _of_seed(self, name: str, metric: str, weights: Weights) -> Float[np.ndarray, " draw"]:
        if metric in STATISTICS:
            return STATISTICS[metric](self._outcomes[name], weights)
        term = metric.removeprefix(TERM)
        return mean(np.array([one.rewards.get(term, np.nan) for one in self.runs[name]]), weights)


def of_values(seeds: Mapping[str, float]) -> Pooled:
    """Pool numbers that come without images, such as those that a run logged.

    >>> of_values({"0": 1.0, "1": 2.0}).value
    1.5
    """
    return Pooled(value=fmean(seeds.values()), seeds=dict(seeds))


def _pooled(statistic: Float[np.ndarray, "seed draw"], seeds: Sequence[str]) -> Pooled | None:
    over_seeds = statistic.mean(0)
    if np.isnan(over_seeds[0]):
        return None
    low, high = interval(over_seeds[1:]) or (None, None)
    own = {name: float(statistic[row, 0]) for row, name in enumerate(seeds)}
    return Pooled(value=float(over_seeds[0]), low=low, high=high, seeds=own)
