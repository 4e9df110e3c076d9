"""The tables of a run: before and after training with intervals, then each category and each attribute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from adfm.evaluation import metrics
from adfm.evaluation.prediction import Prediction
from adfm.tracking.html.folder import Evaluated, RunFiles

LOWER_IS_BETTER = frozenset({"overkill", "miss", "unreadable", "parse_failure"})
DETAILS = ("balanced_accuracy", "auroc", "overkill", "miss", "box_iou", "box_acc_0.5", "parse_failure")
"""Metrics shown for each category."""

NOT_GROUPS = frozenset({"overall", "macro", "parse_failures", "baselines"})
"""Keys of `metrics.json` that do not name a group of samples."""

Estimate = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One number as shown; `text` is a dash, and `hint` says why, where it is not defined."""

    text: str
    interval: str = ""
    hint: str = ""
    direction: str = ""
    """`up` for a change for the better, `down` for the worse, empty where the interval of the change holds 0."""


MISSING = Cell(text="—")


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of cells under named columns."""

    title: str
    note: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Cell]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a run was measured to do on one data set."""

    whole: Table
    parts: Sequence[Table]
    """By category and by each attribute that the evaluation groups by."""


def results(run: RunFiles) -> list[Result]:
    """Make the tables of every data set that the run was evaluated on, before or after."""
    return [
        _result(name, run.before.get(name), run.after.get(name)) for name in dict.fromkeys([*run.after, *run.before])
    ]


def _result(dataset: str, before: Evaluated | None, after: Evaluated | None) -> Result:
    moments = {"before": before, "after": after}
    measured = {name: evaluated.metrics for name, evaluated in moments.items() if evaluated}
    latest = measured["after" if after else "before"]
    columns = {name: _cells(found["overall"]) for name, found in measured.items()}
    changes = _changes(before, after)
    if changes:
        columns["change"] = {metric: _change(metric, estimate) for metric, estimate in changes.items()}
    for name, estimates in latest["baselines"].items():
        columns[name] = {metric: _short(estimate) for metric, estimate in estimates.items()}
    rows = [(metric, [cells.get(metric, MISSING) for cells in columns.values()]) for metric in latest["overall"]]
    whole = Table(title=f"Results on {dataset}", note=_note(latest), columns=[*columns], rows=rows)
    return Result(whole=whole, parts=_parts(latest))


def _note(measured: Mapping[str, Any]) -> str:
    counts = f"{measured['samples']} samples of {measured['images']} images, {measured['anomalous']} anomalous"
    return f"{counts}; anomaly score: {measured['score']}; 95% intervals"


def _cells(estimates: Mapping[str, Estimate]) -> dict[str, Cell]:
    return {metric: cell(estimate) for metric, estimate in estimates.items()}


def _changes(before: Evaluated | None, after: Evaluated | None) -> Mapping[str, Estimate]:
    """Estimate after minus before, paired by sample; nothing where they are not about the same samples."""
    if before is None or after is None or _ids(before.predictions) != _ids(after.predictions):
        return {}
    boxes = after.metrics["overall"]["box_iou"].get("reason") != metrics.NO_BOXES
    return metrics.difference(before.predictions, after.predictions, boxes=boxes)


def _ids(predictions: Sequence[Prediction]) -> list[str]:
    return sorted(prediction.id for prediction in predictions)


def _parts(measured: Mapping[str, Any]) -> list[Table]:
    groups = {name: found for name, found in measured.items() if isinstance(found, Mapping) and name not in NOT_GROUPS}
    return [_part(name, members) for name, members in groups.items() if len(members) > 1]


def _part(name: str, members: Mapping[str, Mapping[str, Estimate]]) -> Table:
    rows = [(member, [_short(found[metric]) for metric in DETAILS]) for member, found in members.items()]
    return Table(title=f"By {name}", note="", columns=DETAILS, rows=rows)


def _short(estimate: Estimate) -> Cell:
    """Write an estimate with its interval as a hint."""
    long = cell(estimate)
    return Cell(text=long.text, hint=long.interval or long.hint)


def cell(estimate: Estimate) -> Cell:
    """Write an estimate with its interval.

    >>> cell({"value": 0.8125, "low": 0.75, "high": 0.9})
    Cell(text='0.812', interval='0.750–0.900', hint='', direction='')
    >>> cell({"value": None, "reason": "no normal sample"}).hint
    'no normal sample'
    """
    if estimate["value"] is None:
        return replace(MISSING, hint=estimate["reason"])
    interval = f"{estimate['low']:.3f}–{estimate['high']:.3f}" if "low" in estimate else ""
    return Cell(text=f"{estimate['value']:.3f}", interval=interval)


def _change(metric: str, estimate: Estimate) -> Cell:
    value, low, high = estimate["value"], estimate.get("low", 0.0), estimate.get("high", 0.0)
    interval = f"{low:+.3f} to {high:+.3f}" if "low" in estimate else ""
    better = -value if metric in LOWER_IS_BETTER else value
    sure = low > 0 or high < 0
    return Cell(text=f"{value:+.3f}", interval=interval, direction=("up" if better > 0 else "down") if sure else "")
