"""Which curves a run's metrics make, in the order in which one asks about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from adfm.tracking.html.charts import Mark, Series, legend, lines, smoothed

DETECTION_TERMS = ("classification", "choice")
"""Terms that reward the right answer to "is there a defect"; the first that a run has is its detection term."""

PANELS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("Groups without spread", "share of groups with equal rewards", ("groups/without_spread",)),
    ("Redrawn groups", "asked again because all rewards were equal", ("groups/redrawn",)),
    ("Completion length", "tokens", ("completion/length_mean",)),
    ("Truncated completions", "share ended by the token limit", ("completion/truncated",)),
    ("Parse failures", "share of completions, by reason", ("parse/",)),
    ("KL to the reference", "k3 estimate per token", ("kl",)),
    ("Entropy", "nats per token", ("entropy",)),
    ("Clip fraction", "share of tokens whose ratio left the band", ("clip_fraction",)),
    ("Advantage", "mean absolute value", ("advantage/abs_mean",)),
    ("Loss", "", ("loss",)),
    ("Gradient norm", "before clipping", ("grad_norm",)),
    ("Learning rate", "", ("learning_rate",)),
    ("Sampler against trainer", "largest log-probability gap of a token", ("logprob_gap",)),
    ("Seconds per step", "by phase", ("seconds/",)),
    ("Tokens per second", "", ("tokens_per_second",)),
    ("Peak memory", "MB", ("peak_memory_mb",)),
)
"""Title, what is drawn, and the metric names (a name that ends in `/` takes all that begin with it)."""

WAY_POINTS = 12
EXACT = frozenset({"learning_rate", "peak_memory_mb"})
"""Metrics without noise, which smoothing would only falsify."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A chart with its words."""

    title: str
    note: str
    svg: Markup
    legend: Markup
    latest: float | None
    """The last value, where there is one line."""


def reward_panels(records: Sequence[Mapping[str, Any]]) -> list[Panel]:
    """Draw the total and each term with its spread within the step."""
    names = [name for name in ("total", *terms(records)) if series(records, f"reward/{name}_mean", name).points]
    return [panel(name, "mean ± standard deviation", [_spread(records, name)]) for name in names]


def training_panels(records: Sequence[Mapping[str, Any]]) -> list[Panel]:
    """Draw everything else that a step reports; metrics that no panel names get their own."""
    panels, drawn = [], {"step", "time"}
    for title, note, wanted in PANELS:
        names = [name for name in metric_names(records) if any(_takes(want, name) for want in wanted)]
        drawn.update(names)
        if names:
            lines_of_panel = [series(records, name, name.rpartition("/")[2]) for name in names]
            panels.append(panel(title, note, lines_of_panel))
    rest = [name for name in metric_names(records) if name not in drawn and not name.startswith(("reward/", "val/"))]
    return panels + [panel(name, "", [series(records, name, name)]) for name in rest]


def validation_panels(records: Sequence[Mapping[str, Any]]) -> list[Panel]:
    """Draw the metrics on the validation part, where a step has them."""
    names = [name for name in metric_names(records) if name.startswith("val/")]
    return [panel(name.removeprefix("val/"), "validation", [series(records, name, name, dots=True)]) for name in names]


def trade_off_panels(records: Sequence[Mapping[str, Any]]) -> list[Panel]:
    """Set detection against the other terms: does a run buy the one with the other?"""
    known = terms(records)
    detection = next((term for term in DETECTION_TERMS if term in known), None)
    others = [term for term in known if term != detection]
    panels = []
    if detection and others:
        panels.append(_changes(records, [detection, *others]))
        panels.append(_ways(records, f"reward/{detection}_mean", [f"reward/{term}_mean" for term in others]))
    names = metric_names(records)
    if {"val/balanced_accuracy", "val/box_iou"} <= set(names):
        panels.append(_ways(records, "val/balanced_accuracy", ["val/box_iou"]))
    return panels


def terms(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Name the reward terms that the records know, without the total."""
    found = [name[len("reward/") : -len("_mean")] for name in metric_names(records) if _is_term(name)]
    return [term for term in found if term != "total"]


def metric_names(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Name every metric in the order of first appearance."""
    return list(dict.fromkeys(name for record in records for name in record))


def series(records: Sequence[Mapping[str, Any]], name: str, label: str, *, dots: bool = False) -> Series:
    """Take one metric over the steps that have it; a reason for which nothing failed in a step was seen 0 times."""
    absent = 0.0 if name.startswith("parse/") else None
    values = [(record["step"], record.get(name, absent)) for record in records]
    points = [(step, value) for step, value in values if value is not None]
    return Series(name=label, points=points, dots=dots, smooth=name not in EXACT)


def _changes(records: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Panel:
    moved = []
    for name in names:
        points = series(records, f"reward/{name}_mean", name).points
        changes = since_start([value for _, value in points])
        steps = [step for step, _ in points]
        moved.append(Series(name=name, points=list(zip(steps, changes, strict=True)), smooth=False))
    return panel("Change since the start", "mean reward of each term, smoothed", moved)


def _ways(records: Sequence[Mapping[str, Any]], across: str, names: Sequence[str]) -> Panel:
    """Draw the way of each of `names` (up) against that of `across` (right), both as changes since the start."""
    ways = []
    for name in names:
        rows = [record for record in records if record.get(across) is not None and record.get(name) is not None]
        changes = [since_start([row[metric] for row in rows]) for metric in (across, name)]
        stride = max(1, len(rows) // WAY_POINTS)
        points = [point for at, point in enumerate(zip(*changes, strict=True)) if (len(rows) - 1 - at) % stride == 0]
        ways.append(Series(name=_short(name), points=points, smooth=False))
    upward = _short(names[0]) if len(names) == 1 else "others"
    return panel(f"{_short(across)} → {upward} ↑", "changes, from start ○ to end ●", ways, paths=True)


def since_start(values: Sequence[float]) -> list[float]:
    """Smooth values and take from them the first one."""
    means = smoothed(values)
    return [mean - means[0] for mean in means]


def _spread(records: Sequence[Mapping[str, Any]], name: str) -> Series:
    rows = [record for record in records if record.get(f"reward/{name}_mean") is not None]
    points = [(row["step"], row[f"reward/{name}_mean"]) for row in rows]
    return Series(name=name, points=points, spread=[row.get(f"reward/{name}_std") or 0.0 for row in rows])


def panel(title: str, note: str, drawn: Sequence[Series], *, paths: bool = False, marks: Sequence[Mark] = ()) -> Panel:
    """Set lines that share an x, or ways through the plane, under their words."""
    drawn = [line for line in drawn if line.points]
    latest = drawn[0].points[-1][1] if len(drawn) == 1 and not paths and not marks else None
    svg = lines(drawn, title=f"{title}, {note}", paths=paths, marks=marks) if drawn else Markup("")
    key = legend(drawn, marks) if len(drawn) + len(marks) > 1 else Markup("")
    return Panel(title=title, note=note, svg=svg, legend=key, latest=latest)


def _takes(want: str, name: str) -> bool:
    return name.startswith(want) if want.endswith("/") else name == want


def _is_term(name: str) -> bool:
    return name.startswith("reward/") and name.endswith("_mean")


def _short(name: str) -> str:
    return name.removeprefix("reward/").removeprefix("val/").removesuffix("_mean")
