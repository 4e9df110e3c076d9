"""What the readers of annotation files share: text, JSON, numbers and boxes, with errors that name file and row."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from adfm.errors import DataError
from adfm.types import Box


@contextmanager
def at(place: str) -> Iterator[None]:
    """Put the place, a file and a row, in front of what a DataError raised inside says."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{place}: {error}") from error


def read_text(file: Path) -> str:
    """Return a file's text.

    Raises:
        DataError: It is missing or not UTF-8.
    """
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read ({error})") from error


def read_json(file: Path) -> Any:
    """Return what a JSON file holds.

    Raises:
        DataError: It is missing, or not JSON.
    """
    try:
        return json.loads(read_text(file))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file}: not JSON ({error})") from error


def value_of(value: object, key: str, kind: type) -> Any:
    """Return what a JSON object holds under a key.

    Raises:
        DataError: It is no object, lacks the key, or holds another kind there.
    """
    if not isinstance(value, dict):
        raise DataError(f"must be an object with {key!r}, not {_short(value)}")
    if not isinstance(value.get(key), kind):
        raise DataError(f"{key!r} must be a {_KINDS[kind]}, not {_short(value.get(key))}")
    return value[key]


_KINDS = {list: "list", dict: "object", str: "text"}


def number(value: object) -> float:
    """Return a finite number, given as a number or as text.

    Raises:
        DataError: It is none.
    """
    try:
        found = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise DataError(f"{_short(value)} is not a number")
    return found


def box_in(corners: Sequence[float], size: tuple[int, int] | None) -> Box:
    """Return the part of a box `(x0, y0, x1, y1)` that lies in an image of `size` (width, height; None if not stated).

    Raises:
        DataError: Nothing of it does.
    """
    width, height = size or (math.inf, math.inf)
    x0, y0, x1, y1 = corners
    box = (max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height)))
    if not (box[0] < box[2] and box[1] < box[3]):
        where = "the image" if size is None else f"the {width} x {height} image"
        raise DataError(f"box from ({x0:g}, {y0:g}) to ({x1:g}, {y1:g}) has no area in {where}")
    return box


def main_type(types: Sequence[str]) -> str:
    """Return the most frequent type of an image's defects; of equally frequent ones, the one that comes first.

    >>> main_type(["short", "open", "open", "short"])
    'short'
    """
    return Counter(types).most_common(1)[0][0]


def tally(types: Sequence[str]) -> str:
    """Say how many defects of each type an image has.

    >>> tally(["open", "short", "open"])
    '2 open, 1 short'
    """
    return ", ".join(f"{count} {kind}" for kind, count in Counter(types).most_common())


def _short(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python writes
        text = f"a huge {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."
