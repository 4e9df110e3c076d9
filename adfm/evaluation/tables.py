"""Metrics as text: Markdown tables that also read well in a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from adfm.evaluation.named_types import UNNAMED

SECTIONS: Mapping[str, Mapping[str, str]] = {
    "metric": {
        "balanced_accuracy": "balanced accuracy",
        "f1": "F1",
        "f1_max": "F1-max (best threshold)",
        "auroc": "AUROC",
        "average_precision": "average precision",
        "overkill": "overkill (normal called anomalous)",
        "miss": "miss (anomalous called normal)",
        "work_saved_0": "work saved, none missed",
        "work_saved_0.01": "work saved, 1 % missed",
        "work_saved_0.05": "work saved, 5 % missed",
        "calibration_error": "calibration error",
        "brier": "Brier score",
        "box_iou": "box-mask IoU",
        "mask_iou": "IoU of boxes with true mask",
        "box_acc_0.1": "IoU at least 0.1",
        "box_acc_0.3": "IoU at least 0.3",
        "box_acc_0.5": "IoU at least 0.5",
        "box_ap_0.1": "box AP at 0.1",
        "box_ap_0.3": "box AP at 0.3",
        "box_ap_0.5": "box AP at 0.5",
        "region_recall_0.1": "regions found at IoU 0.1",
        "region_recall_0.3": "regions found at IoU 0.3",
        "region_recall_0.5": "regions found at IoU 0.5",
        "region_coverage_0.5": "regions covered by half",
    },
    "masks and pixels": {
        "segmentation_iou": "IoU of masks",
        "segmentation_dice": "Dice of masks",
        "pixel_auroc": "AUROC of pixels",
        "aupro": "AUPRO up to 30 % false positives",
    },
    "types and text": {
        "type_accuracy": "defect type named rightly",
        "rouge_l": "ROUGE-L of explanations",
        "letters_agree": "reasoning concludes with answer",
        "boxes_agree": "boxes if, and only if, anomalous",
        "places_agree": "boxes where the text says",
    },
    "reading": {
        "unreadable": "verdict unreadable",
        "parse_failure": "any parse failure",
        "reward": "reward",
    },
}
"""Metrics in the order of the tables, with their names there; the first table is detection and boxes."""
SHOWN: Mapping[str, str] = {metric: title for section in SECTIONS.values() for metric, title in section.items()}
MAIN = ("balanced_accuracy", "auroc", "overkill", "miss", "box_iou", "box_acc_0.5", "unreadable")
"""What a table of groups shows."""
FLOOR = ("balanced_accuracy", "f1_max", "auroc", "overkill", "miss", "work_saved_0.05")
"""What a table of baselines shows: they give no boxes."""
WIDTH = 120
"""Characters in which a table with intervals must fit to have them."""

Estimates = Mapping[str, Mapping[str, Any]]


def comparison(columns: Mapping[str, Estimates]) -> str:
    """Set checkpoints side by side: column title to metric to estimate.

    A table for each section that has anything, then what is defined in no column, with the reasons, and by what boxes
    were ranked.

    >>> after = {"value": 0.625, "low": 0.5, "high": 0.75}
    >>> missing = {"aupro": {"value": None, "reason": "no true mask"}}
    >>> print(comparison({"before": {"f1": {"value": 0.5}} | missing, "after": {"f1": after}}))
    | metric | before | after                |
    | ------ | ------ | -------------------- |
    | F1     | 0.500  | 0.625 [0.500, 0.750] |
    <BLANKLINE>
    Not defined: AUPRO up to 30 % false positives (no true mask).
    """
    parts = []
    for section, titles in SECTIONS.items():
        rows = [
            [title, *(cell(values.get(metric)) for values in columns.values())]
            for metric, title in titles.items()
            if any(values.get(metric, {}).get("value") is not None for values in columns.values())
        ]
        if rows:
            parts.append(markdown([section, *columns], rows))
    return "\n\n".join([*parts, *_notes(list(columns.values()))])


def baselines(rows: Mapping[str, Estimates]) -> str:
    """Show what detectors without the model reach on the same images, one row each."""
    body = [[name, *(_short(values.get(metric)) for metric in FLOOR)] for name, values in rows.items()]
    return markdown(["baseline", *(_title(metric) for metric in FLOOR)], body)


def confusion(counts: Mapping[str, Mapping[str, int]]) -> str:
    """Show for each true defect type how often it is named, not named, and what it is most often taken for.

    >>> print(confusion({"crack": {"crack": 3, "hole": 1, "unnamed": 2}}))
    | true type | samples | named rightly | unnamed | most often taken for |
    | --------- | ------- | ------------- | ------- | -------------------- |
    | crack     | 6       | 3             | 2       | hole (1)             |
    """
    rows = []
    for true, named in counts.items():
        others = {name: count for name, count in named.items() if count and name not in (true, UNNAMED)}
        worst = max(others, key=lambda name: others[name], default=None)
        taken = "-" if worst is None else f"{worst} ({others[worst]})"
        rows.append([true, str(sum(named.values())), str(named.get(true, 0)), str(named[UNNAMED]), taken])
    return markdown(["true type", "samples", "named rightly", "unnamed", "most often taken for"], rows)


def groups(title: str, members: Mapping[str, Estimates]) -> str:
    """Show the main metrics of each member of a group, such as the categories; with intervals where they fit."""
    shown = [metric for metric in MAIN if any(values[metric]["value"] is not None for values in members.values())]
    header = [title, *(_title(metric) for metric in shown)]
    tables = [
        markdown(header, [[name, *(write(values[metric]) for metric in shown)] for name, values in members.items()])
        for write in (cell, _short)
    ]
    return next((table for table in tables if len(table.partition("\n")[0]) <= WIDTH), tables[-1])


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


def _short(estimate: Mapping[str, Any] | None) -> str:
    return cell(estimate).partition(" ")[0]


def _title(metric: str) -> str:
    """Name a metric without what stands in brackets."""
    return SHOWN[metric].partition(" (")[0]


def _notes(columns: Sequence[Estimates]) -> list[str]:
    """Say once what is defined in no column and why, and by what boxes were ranked."""
    reasons: dict[str, list[str]] = {}
    for metric, title in SHOWN.items():
        found = [values[metric] for values in columns if metric in values]
        if found and all(one["value"] is None for one in found):
            reasons.setdefault(found[-1]["reason"], []).append(title.partition(" (")[0])
    notes = []
    if reasons:
        said = "; ".join(f"{', '.join(titles)} ({reason})" for reason, titles in reasons.items())
        notes.append(textwrap.fill(f"Not defined: {said}.", WIDTH))
    ranked = {one["ranked_by"]: None for values in columns for one in values.values() if "ranked_by" in one}
    return [*notes, f"Box AP ranks boxes by: {', '.join(ranked)}."] if ranked else notes


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay out a table with aligned columns."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) + " |" for line in lines
    )
