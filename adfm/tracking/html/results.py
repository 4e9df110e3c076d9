"""The tables of an evaluation: before and after training with intervals, then each category and each attribute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from adfm.evaluation import metrics
from adfm.evaluation.estimates import NO_BOXES
from adfm.evaluation.prediction import Prediction
from adfm.tracking.html import more
from adfm.tracking.html.folder import Evaluated
from adfm.tracking.html.table import MISSING, Cell, Estimate, Table, cell, changed

DETAILS = ("balanced_accuracy", "auroc", "overkill", "miss", "box_iou", "box_acc_0.5", "parse_failure")
"""Metrics shown for each category."""

SHOWN = frozenset(
    (
        *("dataset", "synthetic", "split", "score", "trained", "key", "resamples"),
        *("samples", "images", "anomalous", "overall", "macro", "baselines"),
    )
)
"""Keys of `metrics.json` that have their place; the others are groups of samples, or shown by their shape."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What was measured on one data set."""

    whole: Table | None
    """None where the data set has tables of its own."""
    parts: Sequence[Table]
    """By category and by each attribute that the evaluation groups by, then whatever else was measured."""
    undefined: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Why metrics that `whole` leaves out have no value anywhere, and which ones these are."""


def results(before: Mapping[str, Evaluated], after: Mapping[str, Evaluated]) -> list[Result]:
    """Make the tables of every data set that was evaluated, before or after."""
    return [result(name, before.get(name), after.get(name)) for name in dict.fromkeys([*after, *before])]


def result(dataset: str, before: Evaluated | None, after: Evaluated | None) -> Result:
    """Make the tables of one data set; `before` and `after` are named so only where both are there."""
    moments = {"before": before, "after" if before else "value": after}
    latest = after or before
    if latest is None or not latest.metrics:
        found = {name: evaluated.mmad for name, evaluated in moments.items() if evaluated and evaluated.mmad}
        sides = {name: f", {name}" if len(found) > 1 else "" for name in found}
        parts = [
            replace(table, title=f"{dataset}{sides[name]}: {table.title}")
            for name, mmad in found.items()
            for table in more.of_mmad(mmad)
        ]
        return Result(whole=None, parts=parts)
    measured = {name: evaluated.metrics for name, evaluated in moments.items() if evaluated and evaluated.metrics}
    columns = {name: _cells(found["overall"]) for name, found in measured.items()}
    changes = _changes(before, after)
    if changes:
        columns["change"] = {metric: changed(metric, estimate) for metric, estimate in changes.items()}
    for name, estimates in latest.metrics.get("baselines", {}).items():
        columns[name] = {metric: _short(estimate) for metric, estimate in estimates.items()}
    names = dict.fromkeys(name for found in measured.values() for name in found["overall"])
    rows = {metric: [cells.get(metric, MISSING) for cells in columns.values()] for metric in names}
    known = [(metric, cells) for metric, cells in rows.items() if any(cell.text != MISSING.text for cell in cells)]
    undefined: dict[str, list[str]] = {}
    for metric in (metric for metric in rows if metric not in dict(known)):
        reason = next((cell.hint for cell in rows[metric] if cell.hint), "no value")
        undefined.setdefault(reason, []).append(metric)
    whole = Table(title=f"Results on {dataset}", note=_note(latest.metrics), columns=[*columns], rows=known)
    return Result(whole=whole, parts=_parts(latest.metrics), undefined=undefined)


def _note(measured: Mapping[str, Any]) -> str:
    counts = f"{measured['samples']} samples of {measured['images']} images, {measured['anomalous']} anomalous"
    trained = f"; {measured['trained']}" if measured.get("trained") else ""
    return f"{counts}; anomaly score: {measured['score']}; 95% intervals{trained}"


def _cells(estimates: Mapping[str, Estimate]) -> dict[str, Cell]:
    return {metric: cell(estimate) for metric, estimate in estimates.items()}


def _changes(before: Evaluated | None, after: Evaluated | None) -> Mapping[str, Estimate]:
    """Estimate after minus before, paired by sample; nothing where they are not about the same samples."""
    if not (before and after and before.metrics) or _ids(before.predictions) != _ids(after.predictions):
        return {}
    boxes = after.metrics["overall"].get("box_iou", {}).get("reason") != NO_BOXES
    return metrics.difference(before.predictions, after.predictions, boxes=boxes)


def _ids(predictions: Sequence[Prediction]) -> list[str]:
    return sorted(prediction.id for prediction in predictions)


def _parts(measured: Mapping[str, Any]) -> list[Table]:
    found = []
    for name, members in measured.items():
        if _is_group(members) and name not in SHOWN:
            means = {"mean of categories": measured["macro"]} if name == "category" and "macro" in measured else {}
            found += [_part(name, {**members, **means})] if len(members) > 1 else []
        elif name not in SHOWN:
            found += more.of_unknown(name, members)
    return found


def _is_group(members: Any) -> bool:
    """Whether these are the metrics of groups of samples: each has at least one metric that is shown for a group."""
    if not isinstance(members, Mapping) or not members:
        return False
    return all(isinstance(row, Mapping) and set(DETAILS) & set(row) for row in members.values())


def _part(name: str, members: Mapping[str, Mapping[str, Estimate]]) -> Table:
    rows = [
        (member, [_short(found[metric]) if metric in found else MISSING for metric in DETAILS])
        for member, found in members.items()
    ]
    return Table(title=f"By {name}", note="", columns=DETAILS, rows=rows)


def _short(estimate: Estimate) -> Cell:
    """Write an estimate with its interval as a hint."""
    long = cell(estimate)
    return Cell(text=long.text, hint=long.interval or long.hint)
