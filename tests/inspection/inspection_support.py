"""Rows and images that the tests of results share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from adfm.inspection.inspected import Inspected
from adfm.masks.rle import union_rle


def inspected(name: str, **changes: Any) -> Inspected:
    """A normal image of 20 x 10 pixels."""
    values: dict[str, Any] = {
        "name": name,
        "path": Path(name),
        "sha256": "0" * 64,
        "size": (20, 10),
        "predicted": False,
        "score": -1.5,
        "stages": {"think": "Nothing odd.", "answer": "b"},
        "text": "<think>Nothing odd.</think><answer>b</answer>",
    }
    return Inspected(**(values | changes))


def cracked(name: str, **changes: Any) -> Inspected:
    """An anomalous one: two boxes of 4 x 2 and 2 x 2 pixels, and a mask that fills half of the first."""
    mask = np.zeros((1, 10, 20), bool)
    mask[0, 1:3, 2:4] = True
    found = {
        "predicted": True,
        "score": 2.5,
        "boxes": ((2.0, 1.0, 6.0, 3.0), (10.0, 5.0, 12.0, 7.0)),
        "confidences": (0.75, 0.5),
        "named_type": "crack",
        "mask": union_rle(mask),
        "stages": {"think": "A crack at [2, 1, 6, 3].", "rethink": "=It is real.", "answer": "a"},
    }
    return inspected(name, **(found | changes))


def row(one: Inspected) -> dict[str, Any]:
    """As `predictions.jsonl` has it, without pictures."""
    return one.row() | {"overlay": None, "mask_file": None}


def image(path: Path, size: tuple[int, int] = (20, 10), grey: int = 100) -> Path:
    """Write a grey image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (grey, grey, grey)).save(path)
    return path


def rows(out: Path) -> list[dict[str, Any]]:
    """What `predictions.jsonl` says."""
    return [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]


def content(out: Path) -> dict[str, Any]:
    """Every file of a folder of results but its page, without what the clock said."""
    found: dict[str, Any] = {}
    for file in out.rglob("*"):
        if file.is_file() and file.name not in (".lock", "index.html"):
            found[file.relative_to(out).as_posix()] = file.read_bytes()
    found["predictions.jsonl"] = [{**row, "milliseconds": 0} for row in rows(out)]
    summary = json.loads(found["summary.json"])
    found["summary.json"] = {name: summary[name] for name in summary if name not in ("timing", "versions")}
    return found
