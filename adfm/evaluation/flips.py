"""Two runs on the same samples: whose verdict flipped, and whether that is more than chance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from scipy.stats import binomtest

from adfm.errors import DataError
from adfm.evaluation.prediction import Prediction

NAMED = 5
"""Samples that an error names."""
TRUTH = ("anomalous", "width", "height", "true_boxes")
"""What two predictions of one sample must agree on, or they are not about the same image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """What two runs say about one sample."""

    first: Prediction
    second: Prediction

    @property
    def flipped(self) -> bool:
        """Whether the verdicts differ; an unreadable one differs from both others."""
        return self.first.predicted != self.second.predicted

    @property
    def change(self) -> Literal["broken", "fixed", "wrong in both", "right in both"]:
        """Say who is right: `fixed` for the second run alone, `broken` for the first alone."""
        if is_right(self.first):
            return "right in both" if is_right(self.second) else "broken"
        return "fixed" if is_right(self.second) else "wrong in both"


@dataclass(frozen=True, slots=True, kw_only=True)
class McNemar:
    """The exact test of McNemar (Psychometrika 12, 1947) on which of two runs is right."""

    right_in_both: int
    only_first: int
    only_second: int
    wrong_in_both: int
    p_value: float
    """Two-sided: how often runs that are equally good would differ so unevenly, or more; 1 where none differs."""


def is_right(prediction: Prediction) -> bool:
    """Say whether a verdict is the truth; an unreadable one never is."""
    return prediction.predicted is not None and prediction.predicted == prediction.anomalous


def pairs(first: Sequence[Prediction], second: Sequence[Prediction]) -> list[Pair]:
    """Pair predictions by sample, in the order of `first`; questions that do not ask for a verdict are left out.

    Raises:
        DataError: The two are not about the same samples, or the truth differs; the message names the samples.
    """
    one, other = (_by_id(side) for side in (first, second))
    if missing := [name for name in one if name not in other]:
        raise DataError(f"{_named(missing)} in the first run alone; evaluate both runs on the same samples")
    if missing := [name for name in other if name not in one]:
        raise DataError(f"{_named(missing)} in the second run alone; evaluate both runs on the same samples")
    if differing := [name for name in one if _truth(one[name]) != _truth(other[name])]:
        raise DataError(
            f"{_named(differing)} not the same in both runs: another label, size or true box. The data sets "
            "share their name only; evaluate both runs on the same data"
        )
    return [Pair(first=one[name], second=other[name]) for name in one]


def mcnemar(paired: Iterable[Pair]) -> McNemar:
    """Test whether both runs are equally often right.

    The test takes samples as independent; several of one image are not quite.
    """
    changes = [pair.change for pair in paired]
    broken, fixed = changes.count("broken"), changes.count("fixed")
    return McNemar(
        right_in_both=changes.count("right in both"),
        only_first=broken,
        only_second=fixed,
        wrong_in_both=changes.count("wrong in both"),
        p_value=float(binomtest(broken, broken + fixed, 0.5).pvalue) if broken + fixed else 1.0,
    )


def _by_id(predictions: Iterable[Prediction]) -> dict[str, Prediction]:
    return {one.id: one for one in predictions if one.decides}


def _truth(prediction: Prediction) -> tuple[Any, ...]:
    return tuple(getattr(prediction, name) for name in TRUTH)


def _named(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - NAMED} more" if len(ids) > NAMED else ""
    return f"{', '.join(ids[:NAMED])}{more} {'is' if len(ids) == 1 else 'are'}"
