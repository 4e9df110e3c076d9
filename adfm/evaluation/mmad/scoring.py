"""MMAD's table of a list of answers, by the scorings of `rules`, with 95 % intervals over images.

The detection cell is the mean of the accuracies on normal and on anomalous images, a row's average is the mean of
its question types, and the last row is the mean over the data sets that occur, each with the same weight.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from adfm.evaluation.bootstrap import Statistic, Weights, draws, interval
from adfm.evaluation.mmad.answers import DETECTION, LETTERS, TYPES, Answer
from adfm.evaluation.mmad.rules import SCORINGS, Scoring

AVERAGE, OVERKILL, MISS, UNPARSABLE = "Average", "Overkill", "Miss", "Unparsable"

Part = tuple[str, str]
"""Kind and name of a part of a data set's answers: those of a column, those about one class of images, or all."""
NORMAL, ANOMALOUS, ALL = ("class", "normal"), ("class", "anomalous"), ("all", UNPARSABLE)

Estimate = dict[str, Any]
"""`value` in percent, and `low` and `high` where there is an interval; or `value` None and the `reason`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The scores of one list of answers."""

    rows: dict[str, dict[str, Estimate]]
    """Data set, or `Average`, to column to estimate."""
    counts: dict[str, int]
    """How many answers `counted`, and how many did not, by reason; adds up to their number."""
    read_by: dict[str, int]
    """How many answers each reader read; see `Answer.read_by`."""

    def percent(self) -> dict[str, dict[str, float | None]]:
        """Give the values alone."""
        return {row: {column: cell["value"] for column, cell in cells.items()} for row, cells in self.rows.items()}


def score(answers: Sequence[Answer], scoring: Scoring, *, resamples: int = 1000, seed: int = 0) -> Table:
    """Score answers.

    Args:
        answers: one per question, in the order of the file: the official scoring depends on it.
        scoring: one of `SCORINGS`.
        resamples: of the bootstrap over the images of the answers that count; 0 gives no intervals.
        seed: of the bootstrap.

    Raises:
        ValueError: there are no answers.
    """
    if not answers:
        raise ValueError("there are no answers to score")
    kept, counts = scoring.select(answers)
    tally = _Tally(kept, scoring)
    datasets, columns = list(dict.fromkeys(map(scoring.dataset, answers))), scoring.columns(answers)
    values = _rows(tally.shares(np.ones((1, tally.images))), datasets, columns, scoring)
    found: dict[tuple[str, str], list[Statistic]] = defaultdict(list)
    for weights in draws(np.arange(tally.images), resamples=resamples, seed=seed) if kept else ():
        for row, cells in _rows(tally.shares(weights), datasets, columns, scoring).items():
            for column, statistic in cells.items():
                found[row, column].append(statistic)
    rows = {
        row: {column: _estimate(float(value[0]), found[row, column]) for column, value in cells.items()}
        for row, cells in values.items()
    }
    for row, cells in rows.items():
        for column, cell in cells.items():
            if cell["value"] is None:
                cell["reason"] = _reason(row, column, rows)
    return Table(rows=rows, counts=counts, read_by=dict(Counter(answer.read_by for answer in answers)))


def tables(answers: Sequence[Answer], *, resamples: int = 1000, seed: int = 0) -> dict[str, Table]:
    """Score answers by every scoring; see `score`."""
    return {name: score(answers, scoring, resamples=resamples, seed=seed) for name, scoring in SCORINGS.items()}


class _Tally:
    """How many answers each image has in each part, and how many of them are right (unparsable, where that counts)."""

    def __init__(self, answers: Sequence[Answer], scoring: Scoring) -> None:
        images: dict[str, int] = {}
        self.empty = scoring.empty
        self.numbers: dict[tuple[str, Part], int] = {}
        places, events = [], []
        for answer in answers:
            image = images.setdefault(answer.image, len(images))
            parts = [(("type", answer.column), answer.right), (ALL, answer.chosen not in LETTERS)]
            if answer.column == DETECTION:
                parts.append((NORMAL if scoring.normal(answer) else ANOMALOUS, answer.right))
            for part, event in parts:
                number = self.numbers.setdefault((scoring.dataset(answer), part), len(self.numbers))
                places.append((image, number))
                events.append(event)
        self.images = len(images)
        self.counts = np.zeros((2, len(images), len(self.numbers)))
        if places:
            image, number = np.array(places).T
            np.add.at(self.counts[0], (image, number), np.array(events, dtype=float))
            np.add.at(self.counts[1], (image, number), 1.0)

    def shares(self, weights: Weights) -> Callable[[str, Part], Statistic]:
        """Return what gives the share of a data set's part, for images drawn as `weights` (resample, image) says."""
        events, totals = weights @ self.counts
        shares = np.divide(events, totals, out=np.full_like(totals, self.empty), where=totals > 0)
        nothing = np.full(len(weights), self.empty)

        def share(dataset: str, part: Part) -> Statistic:
            number = self.numbers.get((dataset, part))
            return nothing if number is None else shares[:, number]

        return share


def _rows(
    share: Callable[[str, Part], Statistic], datasets: Sequence[str], columns: Sequence[str], scoring: Scoring
) -> dict[str, dict[str, Statistic]]:
    """Lay the table out, in the released order. An odd name, as a type `Average`, is overwritten as it is there."""
    rows = {}
    for dataset in datasets:
        normal, anomalous = share(dataset, NORMAL), share(dataset, ANOMALOUS)
        row = {column: share(dataset, ("type", column)) for column in columns}
        if DETECTION in row:
            row[DETECTION] = (normal + anomalous) / 2
        row[AVERAGE] = np.mean(list(row.values()), axis=0)
        row |= {OVERKILL: 1 - normal, MISS: 1 - anomalous}
        if scoring.shows_unparsable:
            row[UNPARSABLE] = share(dataset, ALL)
        rows[dataset] = row
    rows[AVERAGE] = {column: np.mean([row[column] for row in rows.values()], axis=0) for column in rows[datasets[0]]}
    return rows


def _estimate(share: float, resampled: Sequence[Statistic]) -> Estimate:
    if np.isnan(share):
        return {"value": None}
    bounds = interval(np.concatenate(resampled)) if resampled else None
    return {"value": 100 * share} | ({} if bounds is None else {"low": 100 * bounds[0], "high": 100 * bounds[1]})


def _reason(row: str, column: str, rows: dict[str, dict[str, Estimate]]) -> str:
    undefined = {
        name: [column for column, cell in cells.items() if cell["value"] is None] for name, cells in rows.items()
    }
    if row == AVERAGE:
        return f"not defined for {', '.join(name for name in rows if name != AVERAGE and column in undefined[name])}"
    classes = {OVERKILL: "a normal image", MISS: "an anomalous image"}
    if column == DETECTION:
        lacking = [image for rate, image in classes.items() if rate in undefined[row]]
        return f"no detection question about {' or '.join(lacking)}"
    if column in classes:
        return f"no detection question about {classes[column]}"
    if column == AVERAGE:
        return f"no value for {', '.join(name for name in undefined[row] if name in TYPES)}"
    return "no such question"
