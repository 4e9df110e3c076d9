"""Rows of `predictions.jsonl` as a table for a spreadsheet, as COCO annotations, and in numbers."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from adfm.evaluation.localization import corner_and_size, has_area
from adfm.files import write_whole
from adfm.inspection.inspected import ANOMALOUS, ERROR, NORMAL, UNREADABLE, VERDICTS
from adfm.masks.rle import rle_mask, union_rle
from adfm.masks.segmenter import pixels_of
from adfm.types import Box

Row = Mapping[str, Any]
COLUMNS = ("path", "verdict", "score", "probability", "type", "boxes", "largest_box", "explanation", "error")
DEFECT = "defect"
"""The COCO category of a box whose image names no known type."""
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a text begins with that a spreadsheet would calculate."""


def exit_status(rows: Iterable[Row]) -> int:
    """Return 0 if all images are normal, 1 if some are anomalous, 2 if some image or verdict could not be read."""
    verdicts = {row["verdict"] for row in rows}
    if verdicts & {UNREADABLE, ERROR}:
        return 2
    return 1 if ANOMALOUS in verdicts else 0


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write the table as UTF-8 with a byte order mark, by which spreadsheets know it.

    `boxes` is their number, `largest_box` is `x0 y0 x1 y1`. A text that begins as a formula gets an apostrophe before
    it, as OWASP advises against CSV injection; numbers stay numbers.
    """
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(COLUMNS)
    for row in rows:
        largest = max(row["boxes"], key=_area, default=())
        values = {**row, "boxes": len(row["boxes"]), "largest_box": " ".join(f"{edge:g}" for edge in largest)}
        table.writerow([_cell(values[column]) for column in COLUMNS])
    write_whole(path, b"\xef\xbb\xbf" + text.getvalue().encode())


def write_coco(path: Path, rows: Sequence[Row], types: Sequence[str] = ()) -> None:
    """Write boxes and masks as a COCO data set whose annotations have a `score`, so that they are results as well.

    Every box of every image is there, with its confidence. Its segmentation is the part of the image's mask that lies
    in it, or without masks the box itself. Boxes without an area are left out, as are images that could not be read.
    `pycocotools` reads the file as ground truth, and its `annotations` with `loadRes`.
    """
    names = [DEFECT, *(name for name in types if name != DEFECT)]
    ids = {name: number for number, name in enumerate(names, start=1)}
    read = [row for row in rows if row["error"] is None]
    images = [
        {"id": number, "file_name": row["path"], "width": row["width"], "height": row["height"]}
        for number, row in enumerate(read, start=1)
    ]
    annotations: list[dict[str, Any]] = []
    for image, row in zip(images, read, strict=True):
        for found in _annotations(row):
            category = ids.get(row["type"], ids[DEFECT])
            number = len(annotations) + 1
            annotations.append({"id": number, "image_id": image["id"], "category_id": category, "iscrowd": 0, **found})
    content = {
        "info": {"description": "Defects that adfm found; scores are the confidences of the boxes"},
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for name, number in ids.items()],
    }
    write_whole(path, json.dumps(content))


def counts(rows: Sequence[Row]) -> dict[str, Any]:
    """Count verdicts; rates are of the images that have a readable verdict, and None where none has."""
    number = {verdict: sum(row["verdict"] == verdict for row in rows) for verdict in VERDICTS}
    judged = number[ANOMALOUS] + number[NORMAL]
    return {
        "images": len(rows),
        "counts": number,
        "rates": {verdict: number[verdict] / judged if judged else None for verdict in (ANOMALOUS, NORMAL)},
        "exit_status": exit_status(rows),
    }


def _annotations(row: Row) -> list[dict[str, Any]]:
    size = {"width": row["width"], "height": row["height"]}
    union = None if row["mask"] is None else rle_mask(row["mask"])
    found = []
    for edges, confidence in zip(row["boxes"], row["confidences"], strict=True):
        box = cast(Box, tuple(edges))
        if not has_area(box):
            continue
        left, top, right, bottom = pixels_of(box, **size)
        inside = np.zeros((size["height"], size["width"]), bool)
        inside[top:bottom, left:right] = True if union is None else union[top:bottom, left:right]
        found.append(
            {
                "bbox": corner_and_size(box),
                "segmentation": union_rle(inside[None]),
                "area": int(inside.sum()),
                "score": confidence,
            }
        )
    return found


def _area(box: Sequence[float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = " ".join(value.split("\n"))
    return f"'{text}" if text.startswith(FORMULA) else text
