"""Write the page of a prediction folder: `prediction.write(folder)`; there is no truth, only what the model says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adfm.errors import DataError
from adfm.tracking import jsonl
from adfm.tracking.html import gallery, page
from adfm.tracking.html.cards import Card, Said
from adfm.tracking.html.difference import flat
from adfm.tracking.html.mentions import written_in

VERDICTS = {"anomalous": True, "normal": False}
"""The words of a row; any other verdict is none."""


def write(folder: Path) -> Path:
    """Write `index.html` into a folder of predictions from the files that are there, and return its path.

    Raises:
        DataError: there is no `predictions.jsonl`, or a file cannot be read.
    """
    folder = folder.resolve()
    file = folder / "predictions.jsonl"
    if not file.is_file():
        raise DataError(f"{folder} has no predictions.jsonl; give the folder that adfm.predict wrote as out=...")
    summary = folder / "summary.json"
    said = json.loads(summary.read_text(encoding="utf-8")) if summary.is_file() else {}
    root = Path(said.get("input", ""))
    try:
        found = [_card(row, root) for row in jsonl.read(file)]
    except (KeyError, TypeError) as error:
        raise DataError(f"{file}: a line is no prediction of adfm.predict ({error!r})") from error
    note = "what could not be read, then what is anomalous"
    view = gallery.view("images", "Images", "Images", note, found, first="errors first")
    counts = {kind: sum(card.kinds == [kind] for card in found) for kind in ("anomalous", "normal", "unread", "error")}
    content = {"title": folder.name, "lead": str(folder), "counts": counts, "facts": _facts(said), "galleries": [view]}
    return page.write(folder / "index.html", "prediction.html", content)


def _card(row: Mapping[str, Any], root: Path) -> Card:
    boxes = [tuple(box) for box in row["boxes"]]
    verdict = VERDICTS.get(row["verdict"])
    stages = row.get("stages") or {}
    error = row["error"]
    main = Said(
        kind="error" if error else "unread" if verdict is None else row["verdict"],
        verdict=verdict,
        boxes=boxes,
        written=written_in([row["completion"]], len(boxes)),
        confidences=row["confidences"],
        mask=row.get("mask"),
        named_type=row["type"],
        stages=stages if any(stages.values()) else {"explanation": row["explanation"] or None},
        text=row["completion"],
        reasons=row["reasons"],
        score=row["score"],
        probability=row["probability"],
    )
    return Card(
        id=row["path"],
        image=str(root / row["path"]),
        width=row["width"] or 4,
        height=row["height"] or 3,
        category=row.get("category", ""),
        main=main,
        others=[_draw(draw) for draw in row.get("draws", ())],
        notes=[error] if error else [],
    )


def _draw(draw: Mapping[str, Any]) -> Said:
    verdict = VERDICTS.get(draw["verdict"])
    boxes = [tuple(box) for box in draw["boxes"]]
    return Said(
        kind="unread" if verdict is None else draw["verdict"],
        verdict=verdict,
        boxes=boxes,
        written=written_in([draw["completion"]], len(boxes)),
        text=draw["completion"],
    )


def _facts(summary: Mapping[str, Any]) -> dict[str, str]:
    """Show what the summary says in single values, by its path."""
    return {path.replace("_", " "): value.strip('"') for path, value in flat(summary)}
