"""The picture of a sweep: step time along each axis, its slope, and what rows that repeat the prompt would do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from fits import slope
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

matplotlib.use("Agg")

LABELS = {
    "image": "image tokens",
    "group": "completions per prompt, G",
    "completion": "tokens per completion, C",
    "ranks": "ranks, one thread each",
}
COLOURS = {"rollout": "#1b6ca8", "update": "#c8553d"}
GREY = "#8a8a8a"

Record = Mapping[str, Any]


def draw(cells: Mapping[str, Record], path: Path) -> None:
    """Draw the four axes of a sweep into a PNG; an axis that was not measured stays empty."""
    figure = Figure(figsize=(10, 7.5), layout="constrained")
    for axes, (axis, label) in zip(figure.subplots(2, 2).flat, LABELS.items(), strict=True):
        records = [record for record in cells.values() if record["sizes"]["axis"] == axis]
        _panel(axes, sorted(records, key=lambda record: record["sizes"][axis]), axis, label)
    figure.savefig(path, dpi=150)


def _panel(axes: Axes, records: Sequence[Record], axis: str, label: str) -> None:
    axes.set_title(_fixed(records, axis), fontsize=9, color=GREY)
    axes.set_xlabel(label)
    axes.set_ylabel("seconds of one step")
    axes.spines[["top", "right"]].set_visible(False)
    if not records:
        axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color=GREY)
        return
    values = [record["sizes"][axis] for record in records]
    for part, colour in COLOURS.items():
        seconds = [record["seconds"][part] for record in records]
        _measured(axes, values, seconds, part, colour)
    _ideal(axes, values, records) if axis == "ranks" else _padded(axes, values, records)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(values, [str(value) for value in values])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.legend(frameon=False, fontsize=8)


def _measured(axes: Axes, values: Sequence[float], seconds: Sequence[float], part: str, colour: str) -> None:
    """Draw points and, through their middle, the line of the fitted slope."""
    axes.plot(values, seconds, "o", color=colour, markersize=5)
    if len(values) < 2:
        return
    exponent = slope(values, seconds)
    logs = np.log(values)
    line = np.exp(np.mean(np.log(seconds)) + exponent * (logs - logs.mean()))
    axes.plot(values, line, "-", color=colour, linewidth=1.5, label=f"{part}: slope {exponent:.2f}")


def _padded(axes: Axes, values: Sequence[float], records: Sequence[Record]) -> None:
    """Draw the update of rows that repeat the prompt, at the fewest seconds per packed token of the axis."""
    sizes = [record["sizes"] for record in records]
    packed = [one["prompt"] + one["group"] * one["completion"] for one in sizes]
    padded = [one["group"] * (one["prompt"] + one["completion"]) for one in sizes]
    per_token = min(record["seconds"]["update"] / tokens for record, tokens in zip(records, packed, strict=True))
    label = "update of G (P + C) tokens at the best rate seen"
    axes.plot(values, [per_token * tokens for tokens in padded], ":", color=COLOURS["update"], label=label)


def _ideal(axes: Axes, values: Sequence[float], records: Sequence[Record]) -> None:
    whole = records[0]["seconds"]["whole"]
    axes.plot(values, [whole * values[0] / value for value in values], ":", color=GREY, label="whole step, ideal")
    axes.plot(values, [record["seconds"]["whole"] for record in records], "s", color=GREY, label="whole step")


def _fixed(records: Sequence[Record], axis: str) -> str:
    """Say what stays the same along the axis."""
    if not records:
        return ""
    sizes = records[0]["sizes"]
    fixed = {"image": f"{sizes['image']} image tokens", "group": f"G = {sizes['group']}"}
    fixed["completion"] = f"C = {sizes['completion']}"
    prompts = f"{sizes['prompts']} prompt{'s' if sizes['prompts'] > 1 else ''}"
    return ", ".join([prompts, *(text for name, text in fixed.items() if name != axis)])
