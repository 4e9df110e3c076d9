"""Write the page of one evaluation: `evaluation.write(folder)` for an `eval/<dataset>` folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adfm.errors import DataError
from adfm.tracking.html import card_files, gallery, page, thresholds
from adfm.tracking.html.curves import Panel
from adfm.tracking.html.folder import Evaluated
from adfm.tracking.html.gallery import GalleryView
from adfm.tracking.html.results import result

SETTINGS = ("dataset", "split", "score", "protocol", "read_by", "samples", "images", "anomalous", "key")


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What a threshold on the score of one data set would do."""

    title: str
    panels: list[Panel]


def write(folder: Path) -> Path:
    """Write `report.html` into the folder of an evaluation from the files that are there, and return its path.

    Where `../before/<dataset>` is there too, the tables set the two side by side.

    Raises:
        DataError: there is no finished evaluation, or a file of it cannot be read.
    """
    folder = folder.resolve()
    if not any((folder / name).is_file() for name in ("metrics.json", "mmad.json")):
        raise DataError(
            f"{folder} has neither metrics.json nor mmad.json; give an eval/<dataset> folder of a finished evaluation"
        )
    earlier = folder.parent / "before" / folder.name
    before = Evaluated.read(earlier) if (earlier / "predictions.jsonl").is_file() else None
    evaluated = Evaluated.read(folder)
    return page.write(folder / "report.html", "evaluation.html", _content(folder, before, evaluated))


def _content(folder: Path, before: Evaluated | None, evaluated: Evaluated) -> dict[str, Any]:
    said = {**evaluated.metrics, **evaluated.mmad}
    operated = operation(folder.name, evaluated)
    return {
        "title": folder.name,
        "lead": str(folder.parent),
        "facts": {name.replace("_", " "): str(said[name]) for name in SETTINGS if said.get(name) not in (None, "")},
        "results": [result(folder.name, before, evaluated)],
        "operation": [operated] if operated else [],
        "galleries": [gallery_of("predictions", folder.name, evaluated)],
    }


def operation(name: str, evaluated: Evaluated) -> Operation | None:
    """Draw overkill against miss of one data set; None where its predictions have no score or only one class."""
    panels = thresholds.panels(evaluated.predictions, evaluated.metrics)
    return Operation(title=f"Operating point on {name}", panels=panels) if panels else None


def gallery_of(anchor: str, name: str, evaluated: Evaluated) -> GalleryView:
    """Show the predictions on one data set."""
    found = card_files.of_predictions(evaluated.predictions, evaluated.masks)
    unit = "question" if evaluated.mmad else "image"
    return gallery.view(anchor, name, f"Predictions on {name}", "held-out images, failures first", found, unit=unit)
