"""The defect type that a text names, against the true one."""

from __future__ import annotations

from collections.abc import Sequence

from adfm.evaluation.prediction import Prediction

UNNAMED = "unnamed"
"""Column of a confusion table for texts that name no known type, or several."""
NO_TYPE = "no anomalous sample of known type, or no text that names a known type"


def right(predictions: Sequence[Prediction]) -> list[bool | None]:
    """Say of each prediction whether it names the true type; None for normal samples and those of unknown type.

    Where no text of all names a type, types were not asked for, and nothing is right or wrong.
    """
    asked = any(one.named_type is not None for one in predictions)
    return [one.named_type == one.defect_type if asked and _counts(one) else None for one in predictions]


def confusion(predictions: Sequence[Prediction]) -> dict[str, dict[str, int]]:
    """Count the anomalous samples of each true type by the type that is named; `UNNAMED` is the last column.

    Empty where no text names a type.
    """
    members = [one for one in predictions if _counts(one)]
    named = sorted({one.named_type for one in members if one.named_type is not None})
    if not named:
        return {}
    table = {str(one.defect_type): dict.fromkeys([*named, UNNAMED], 0) for one in _by_type(members)}
    for one in members:
        table[str(one.defect_type)][one.named_type or UNNAMED] += 1
    return table


def _counts(prediction: Prediction) -> bool:
    return prediction.anomalous and prediction.defect_type is not None


def _by_type(predictions: Sequence[Prediction]) -> list[Prediction]:
    return sorted(predictions, key=lambda one: str(one.defect_type))
