"""What a threshold on the anomaly score would do: overkill against miss, with the verdicts' own place between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from adfm.evaluation.prediction import Prediction
from adfm.tracking.html.charts import Mark, Series, number
from adfm.tracking.html.curves import Panel, panel

VERDICTS = "the verdicts"

Point = tuple[float, float, float]
"""Threshold, overkill and miss."""


def panels(predictions: Sequence[Prediction], measured: Mapping[str, Any]) -> list[Panel]:
    """Draw overkill against miss, and both over the threshold; nothing for one class or where a score is missing.

    `measured` is `metrics.json`.
    """
    asked = [one for one in predictions if one.decides]
    truth = [one.anomalous for one in asked]
    scores = [one.score for one in asked if one.score is not None]
    if len(scores) < len(asked) or len(set(truth)) < 2:
        return []
    points = trade_off(scores, truth)
    normals, anomalies = truth.count(False), truth.count(True)
    marks = [
        Mark(
            name=VERDICTS,
            x=sum(one.predicted is not False for one in asked if not one.anomalous) / normals,
            y=sum(one.predicted is not True for one in asked if one.anomalous) / anomalies,
        ),
        *_baselines(measured),
    ]
    best = [min(found, key=lambda point: point[2]) for _, found in groupby(points, key=lambda point: point[1])]
    curve = Series(
        name="score",
        points=[(overkill, miss) for _, overkill, miss in best],
        notes=[f"(threshold {number(threshold)})" for threshold, _, _ in best],
        smooth=False,
    )
    over = [
        Series(name=name, points=[(point[0], point[at]) for point in reversed(points)], smooth=False)
        for at, name in ((1, "overkill"), (2, "miss"))
    ]
    rules = [Mark(name=name, x=value) for name, value in _thresholds(measured).items()]
    return [
        panel("Overkill → miss ↑", "as the threshold on the score moves", [curve], marks=marks),
        panel("Overkill and miss", "over the threshold on the score", over, marks=rules),
    ]


def trade_off(scores: Sequence[float], truth: Sequence[bool]) -> list[Point]:
    """Give overkill and miss at each threshold, from the highest score down; a score at the threshold is anomalous.

    >>> trade_off([2.0, 1.0, 0.0], [True, False, False])
    [(2.0, 0.0, 0.0), (1.0, 0.5, 0.0), (0.0, 1.0, 0.0)]
    """
    order = np.argsort(-np.asarray(scores), kind="stable")
    ranked, is_true = np.asarray(scores)[order], np.asarray(truth)[order]
    last = np.append(ranked[1:] != ranked[:-1], True)
    overkill = np.cumsum(~is_true)[last] / (~is_true).sum()
    miss = 1 - np.cumsum(is_true)[last] / is_true.sum()
    return list(zip(ranked[last].tolist(), overkill.tolist(), miss.tolist(), strict=True))


def _thresholds(measured: Mapping[str, Any]) -> dict[str, float]:
    """Name the thresholds that `metrics.json` has, and the log-odds of one half."""
    found = {name: value for name, value in measured.items() if "threshold" in name and isinstance(value, float)}
    return {"even odds": 0.0} | {name.replace("_", " "): value for name, value in found.items()}


def _baselines(measured: Mapping[str, Any]) -> list[Mark]:
    places = {
        name: (row.get("overkill", {}).get("value"), row.get("miss", {}).get("value"))
        for name, row in measured.get("baselines", {}).items()
    }
    return [
        Mark(name=name.replace("_", " "), x=x, y=y)
        for name, (x, y) in places.items()
        if x is not None and y is not None
    ]
