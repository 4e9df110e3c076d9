"""Metrics as text: Markdown tables that also read well in a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

SHOWN: Mapping[str, str] = {
    "balanced_accuracy": "balanced accuracy",
    "f1": "F1",
    "auroc": "AUROC",
    "average_precision": "average precision",
    "overkill": "overkill (normal called anomalous)",
    "miss": "miss (anomalous called normal)",
    "box_iou": "box-mask IoU",
    "mask_iou": "IoU of boxes with true mask",
    "box_acc_0.1": "IoU at least 0.1",
    "box_acc_0.3": "IoU at least 0.3",
    "box_acc_0.5": "IoU at least 0.5",
    "box_ap_0.1": "box AP at 0.1",
    "box_ap_0.3": "box AP at 0.3",
    "box_ap_0.5": "box AP at 0.5",
    "unreadable": "verdict unreadable",
    "parse_failure": "any parse failure",
    "reward": "reward",
}
"""Metrics in the order of a table, with their names there."""
MAIN = ("balanced_accuracy", "auroc", "overkill", "miss", "box_iou", "box_acc_0.5", "unreadable")
"""What a table of groups shows."""


def comparison(columns: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Set detectors side by side: column title to metric to estimate. Metrics that no column has are left out.

    >>> after = {"value": 0.625, "low": 0.5, "high": 0.75}
    >>> print(comparison({"before": {"f1": {"value": 0.5}}, "after": {"f1": after}}))
    | metric | before | after                |
    | ------ | ------ | -------------------- |
    | F1     | 0.500  | 0.625 [0.500, 0.750] |
    """
    rows = [
        [title, *(cell(values.get(metric)) for values in columns.values())]
        for metric, title in SHOWN.items()
        if any(values.get(metric, {}).get("value") is not None for values in columns.values())
    ]
    return markdown(["metric", *columns], rows)


def groups(title: str, members: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Show the main metrics of each member of a group, such as the categories or the contrast bins."""
    shown = [metric for metric in MAIN if any(values[metric]["value"] is not None for values in members.values())]
    rows = [[name, *(cell(values[metric]) for metric in shown)] for name, values in members.items()]
    return markdown([title, *(SHOWN[metric].partition(" (")[0] for metric in shown)], rows)


def caption(metrics: Mapping[str, Any]) -> str:
    """Say what a table is about: data (and that it is synthetic, if it is), part, numbers, score."""
    data = metrics["dataset"]
    if metrics["synthetic"] and "synthetic" not in data:
        data += " (synthetic)"
    return (
        f"{data}, {metrics['split']} part: {metrics['images']} images, {metrics['anomalous']} of {metrics['samples']} "
        f"samples anomalous; score={metrics['score']}; in brackets 95% intervals over images"
    )


def cell(estimate: Mapping[str, Any] | None) -> str:
    """Show an estimate with its interval; a dash where there is none."""
    if estimate is None or estimate["value"] is None:
        return "-"
    value = f"{estimate['value']:.3f}"
    return f"{value} [{estimate['low']:.3f}, {estimate['high']:.3f}]" if "low" in estimate else value


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a table with aligned columns."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) + " |" for line in lines
    )
