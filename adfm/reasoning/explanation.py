"""What a completion says in plain words: its explanation, and the parts of the image that it names."""

from __future__ import annotations

import re
from collections.abc import Mapping

from adfm.reasoning.phrases import position
from adfm.types import Box

NOT_EXPLAINING = frozenset(("answer", "location"))
"""Stages that hold a letter or boxes, no explanation."""

_ROWS = {"top": "top", "upper": "top", "bottom": "bottom", "lower": "bottom"}
_MIDDLE = ("centre", "center", "middle")
_SIDES = ("left", "right")
_PLACE = re.compile(
    rf"\b(?P<row>{'|'.join((*_ROWS, *_MIDDLE))})(?:[ -](?P<of_row>{'|'.join((*_SIDES, *_MIDDLE))}))?\b"
    rf"|\b(?P<column>{'|'.join(_SIDES)})\b",
    re.IGNORECASE,
)


def explanation(stages: Mapping[str, str | None], text: str) -> str:
    """Return every stage that holds no letter and no boxes, or the whole text where no stage could be read."""
    said = [words for stage, words in stages.items() if words and stage not in NOT_EXPLAINING]
    return " ".join(said) or text


def places(text: str) -> set[str]:
    """Return the parts of an image that a text names, in the words of `phrases.position`.

    The parts are thirds of the image: "top" is its upper third, "top left" a ninth, "centre" the ninth in the middle.

    >>> sorted(places("A scratch, upper-left and in the center; also on the right."))
    ['centre', 'right', 'top left']
    """
    return {_place(match) for match in _PLACE.finditer(text.lower())}


def lies_in(box: Box, size: tuple[int, int], place: str) -> bool:
    """Return whether a box, as far as it is inside an image of this width and height, has its centre in a part.

    >>> [lies_in((0, 0, 10, 10), (90, 90), place) for place in ("top", "top left", "centre")]
    [True, True, False]
    """
    (x0, y0, x1, y1), (width, height) = box, size
    inside = (min(max(x0, 0), width), min(max(y0, 0), height), min(max(x1, 0), width), min(max(y1, 0), height))
    cell = position(inside, width, height)
    return cell == place if place == "centre" else set(place.split()) <= set(cell.split())


def _place(match: re.Match[str]) -> str:
    if match["column"]:
        return match["column"]
    words = [_ROWS.get(match["row"], ""), match["of_row"] if match["of_row"] in _SIDES else ""]
    return " ".join(filter(None, words)) or "centre"
