"""What is written, against a reference explanation and against itself: do boxes, reasoning and answer agree?"""

from __future__ import annotations

import re
from typing import Any

from torchmetrics.functional.text import rouge_score

from adfm.evaluation.prediction import Prediction
from adfm.reasoning.phrases import position
from adfm.types import Box

REFERENCE = "explanation"
"""Attribute of a sample that holds its reference explanation."""
NO_REFERENCE = "no sample has a reference explanation (the attribute `explanation`)"
NO_READABLE = "no verdict could be read"
NO_LETTERS = "no reasoning concludes with a letter"
NO_PLACE = "no text that comes with boxes names a part of the image"
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
_WORD = re.compile(r"[\u3040-\u9fff]|[^\W\u3040-\u9fff]+")
"""A word; in Chinese and Japanese, which write none apart, a character."""


def rouge_l(prediction: Prediction) -> float | None:
    """ROUGE-L (F-measure of the longest common subsequence of words) of the explanation with the sample's reference.

    The explanation is every stage that holds no letter and no boxes, or the whole text where no stage could be read.
    None for a sample without a reference. Lin, ROUGE (2004), by torchmetrics; words in lower case, in any script.
    """
    reference = prediction.attributes.get(REFERENCE)
    if not isinstance(reference, str) or not reference.strip():
        return None
    scores: dict[str, Any] = rouge_score(
        _explanation(prediction), reference, rouge_keys="rougeL", normalizer=str.lower, tokenizer=_WORD.findall
    )
    return float(scores["rougeL_fmeasure"])


def boxes_agree(prediction: Prediction) -> bool | None:
    """Whether boxes are given if, and only if, the answer says anomalous; None for an unreadable verdict."""
    return None if prediction.predicted is None else bool(prediction.boxes) == prediction.predicted


def letters_agree(prediction: Prediction) -> bool | None:
    """Whether the reasoning concludes with the letter of the answer; None without one of the two."""
    if prediction.reasoning_letter is None or prediction.answer_letter is None:
        return None
    return prediction.reasoning_letter.lower() == prediction.answer_letter.lower()


def places_agree(prediction: Prediction) -> float | None:
    """Share of the boxes whose centre lies in a part of the image that the text names; None without boxes or parts.

    The parts are those of `phrases.position`, thirds of the image: "top" is its upper third, "top left" a ninth,
    "centre" the ninth in the middle.
    """
    named = places(_explanation(prediction))
    if not named or not prediction.boxes:
        return None
    cells = [_cell(box, prediction.width, prediction.height) for box in prediction.boxes]
    return sum(any(_lies_in(cell, place) for place in named) for cell in cells) / len(cells)


def places(text: str) -> set[str]:
    """Return the parts of an image that a text names, in the words of `phrases.position`.

    >>> sorted(places("A scratch, upper-left and in the center; also on the right."))
    ['centre', 'right', 'top left']
    """
    return {_place(match) for match in _PLACE.finditer(text.lower())}


def _place(match: re.Match[str]) -> str:
    if match["column"]:
        return match["column"]
    words = [_ROWS.get(match["row"], ""), match["of_row"] if match["of_row"] in _SIDES else ""]
    return " ".join(filter(None, words)) or "centre"


def _cell(box: Box, width: int, height: int) -> str:
    """Name the ninth in which the part of a box inside the image has its centre."""
    x0, y0, x1, y1 = box
    inside = (min(max(x0, 0), width), min(max(y0, 0), height), min(max(x1, 0), width), min(max(y1, 0), height))
    return position(inside, width, height)


def _lies_in(cell: str, place: str) -> bool:
    return cell == place if place == "centre" else set(place.split()) <= set(cell.split())


def _explanation(prediction: Prediction) -> str:
    said = [text for stage, text in prediction.stages.items() if text and stage not in NOT_EXPLAINING]
    return " ".join(said) or prediction.text
