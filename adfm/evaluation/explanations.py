"""What is written, against a reference explanation and against itself: do boxes, reasoning and answer agree?"""

from __future__ import annotations

import re
from typing import Any

from torchmetrics.functional.text import rouge_score

from adfm.evaluation.prediction import Prediction
from adfm.reasoning.explanation import explanation, lies_in, places

REFERENCE = "explanation"
"""Attribute of a sample that holds its reference explanation."""
NO_REFERENCE = "no sample has a reference explanation (the attribute `explanation`)"
NO_READABLE = "no verdict could be read"
NO_LETTERS = "no reasoning concludes with a letter"
NO_PLACE = "no text that comes with boxes names a part of the image"
_WORD = re.compile(r"[\u3040-\u9fff]|[^\W\u3040-\u9fff]+")
"""A word; in Chinese and Japanese, which write none apart, a character."""


def rouge_l(prediction: Prediction) -> float | None:
    """ROUGE-L (F-measure of the longest common subsequence of words) of the explanation with the sample's reference.

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

    The parts are those of `reasoning.explanation.places`.
    """
    named = places(_explanation(prediction))
    if not named or not prediction.boxes:
        return None
    size = prediction.width, prediction.height
    return sum(any(lies_in(box, size, place) for place in named) for box in prediction.boxes) / len(prediction.boxes)


def _explanation(prediction: Prediction) -> str:
    return explanation(prediction.stages, prediction.text)
