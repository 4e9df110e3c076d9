"""The mask of a manifest's row: files, or what COCO calls a segmentation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from adfm.data.coco_masks import CocoMask, RunLengths, segments_of
from adfm.data.masks import MaskFiles
from adfm.errors import DataError
from adfm.types import Mask

DILATION, MIN_AREA = 0.01, 5
"""What a row need not state."""
_FORMS = "a path, several, COCO's size and counts, polygons, or an object with files or segments"


def mask_of(value: Any, path_of: Callable[[object], Path], dilation: float, min_area: int) -> Mask:
    """Make the mask of a row; `dilation` and `min_area` are for one that states none. DataError for what is no mask."""
    stated = _stated(value)
    kinds = [key for key in ("files", "segments") if isinstance(stated.get(key), list) and stated[key]]
    if len(kinds) != 1 or set(stated) - {*kinds, "dilation", "min_area", *(("above",) if "files" in kinds else ())}:
        raise DataError(f"mask must be {_FORMS}, not {value!r}")
    boxes = {
        "dilation": number("mask: dilation", stated.get("dilation", dilation), float),
        "min_area": number("mask: min_area", stated.get("min_area", min_area), int),
    }
    if "segments" in stated:
        return CocoMask(tuple(segment for one in stated["segments"] for segment in segments_of(one)), **boxes)
    above = stated.get("above")
    above = None if above is None else number("mask: above", above, int, 255)
    return MaskFiles(tuple(map(path_of, stated["files"])), above=above, **boxes)


def _stated(value: Any) -> Mapping[str, Any]:
    """Bring every short form to the long one."""
    if isinstance(value, Mapping):
        return {"segments": [dict(value)]} if {"size", "counts"} == set(value) else value
    if isinstance(value, list) and value and isinstance(value[0], list):
        return {"segments": [value]}
    return {"files": value if isinstance(value, list) else [value]}


def mask_row(mask: Mask, inside: Callable[[Path], str]) -> Any:
    """Return what `mask_of` makes the same mask of; DataError for a kind of mask that a manifest has no form for."""
    held: dict[str, Any] = {}
    if type(mask) is MaskFiles:
        held["files"] = [inside(file) for file in mask.files]
        if mask.above is not None:
            held["above"] = mask.above
    elif type(mask) is CocoMask:
        held["segments"] = [
            {"size": segment.size[::-1], "counts": segment.counts} if isinstance(segment, RunLengths) else [segment]
            for segment in mask.segments
        ]
    else:
        raise DataError(f"a manifest has no form for a mask of the kind {type(mask).__name__}")
    held |= {"dilation": mask.dilation} if mask.dilation != DILATION else {}
    held |= {"min_area": mask.min_area} if mask.min_area != MIN_AREA else {}
    return held["files"][0] if set(held) == {"files"} and len(held["files"]) == 1 else held


def number(key: str, value: object, kind: type, most: float = math.inf) -> Any:
    """Return a number from 0 to `most`, whole if `kind` is int; DataError for anything else.

    A CSV cell is a text, and a pandas column with gaps holds floats.
    """
    try:
        found = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        found = math.nan
    if not (0 <= found <= most and math.isfinite(found)) or (kind is int and found != int(found)):
        upto = "" if math.isinf(most) else f" up to {most}"
        raise DataError(f"{key} must be a {'whole ' if kind is int else ''}number{upto}, not {value!r}")
    return kind(found)
