"""The page of a study: detection against localisation while it trained, each arm a mean over its seeds, and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from adfm.files import write_whole
from adfm.tracking.arms import Arm
from adfm.tracking.html import charts, curves, page
from adfm.tracking.html.charts import Series
from adfm.tracking.html.results import DETAILS
from adfm.tracking.html.table import MISSING, Table, cell
from adfm.tracking.html.table import Cell as Shown
from adfm.tracking.study import Cell

Records = Sequence[Mapping[str, Any]]
LOOKS = {"val/balanced_accuracy": "balanced accuracy", "val/box_iou": "box IoU"}
"""Detection and localisation on the validation part."""
NOTE = "change since start, ± deviation over seeds"


def write(
    path: Path,
    *,
    title: str,
    lead: str,
    arms: Sequence[Arm],
    tables: Sequence[Table],
    text: str,
    cells: Sequence[Cell] = (),
) -> None:
    """Write the page: no server, no network. `text` is the sweep's file, shown at the end with a row for each cell."""
    panels = [curves.panel(name, NOTE, drawn) for name, drawn in drawings(arms)]
    content = {
        "title": title,
        "lead": lead,
        "tables": tables,
        "panels": panels,
        "runs": runs_table(cells),
        "text": text,
    }
    page.write(path, "study.html", content)


def runs_table(cells: Sequence[Cell]) -> Table | None:
    """Set every cell of the sweep in a row: choices, data set, what it trained on, metrics; dashes where missing."""
    if not cells:
        return None
    metrics = [name for name in DETAILS if any(name in one.metrics for one in cells)]
    rows = []
    for one in cells:
        words = [*one.choices.values(), *(about or MISSING.text for about in (one.dataset, one.trained))]
        numbers = [cell(one.metrics[name]) if name in one.metrics else MISSING for name in metrics]
        rows.append((one.run, [*(Shown(text=word) for word in words), *numbers]))
    columns = [*cells[0].choices, "dataset", "trained", *metrics]
    return Table(title="Runs of the sweep", note=f"{len(cells)} cells", columns=columns, rows=rows, verbatim=True)


def write_figure(path: Path, arms: Sequence[Arm]) -> bool:
    """Write the curves as an SVG file of their own; False where no run has logged anything yet."""
    drawn = drawings(arms)
    if drawn:
        write_whole(path, str(charts.figure(drawn)))
    return bool(drawn)


def drawings(arms: Sequence[Arm]) -> list[tuple[str, list[Series]]]:
    """Name and draw, for each arm, detection and localisation on the validation part, then the reward terms."""
    found = []
    for arm in arms:
        runs = list(arm.records().values())
        terms = {f"reward/{term}_mean": term for term in _terms(runs)}
        for what, names in (("validation", LOOKS), ("training", terms)):
            drawn = [_over_seeds(runs, name, label, dots=what == "validation") for name, label in names.items()]
            if any(line.points for line in drawn):
                seeds = f"{len(runs)} seed{'s' * (len(runs) > 1)}"
                found.append((f"{arm.name}: {what}, {seeds}", drawn))
    return found


def _terms(runs: Sequence[Records]) -> list[str]:
    """Name the detection term first, then the others without the form, which is neither detection nor a place."""
    known = [term for term in (curves.terms(runs[0]) if runs else []) if term != "format"]
    return sorted(known, key=lambda term: term not in curves.DETECTION_TERMS)


def _over_seeds(runs: Sequence[Records], name: str, label: str, *, dots: bool) -> Series:
    """Draw the mean change of a metric since its first value, over the steps that every run has."""
    lines = [curves.series(records, name, name).points for records in runs]
    starts = [points[0][1] for points in lines if points]
    if len(starts) < len(lines) or not lines:
        return Series(name=label, points=[])
    changes = [
        dict(zip([x for x, _ in points], curves.since_start([y for _, y in points]), strict=True)) for points in lines
    ]
    steps = sorted(set.intersection(*(set(one) for one in changes)))
    values = [[one[step] for one in changes] for step in steps]
    return Series(
        name=f"{label} (from {charts.number(fmean(starts))})",
        points=[(step, fmean(value)) for step, value in zip(steps, values, strict=True)],
        spread=[stdev(value) for value in values] if len(lines) > 1 else None,
        dots=dots,
        smooth=False,
    )
