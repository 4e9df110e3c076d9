from __future__ import annotations

import pytest
from evaluation_support import predicted

from adfm.evaluation import metrics
from adfm.evaluation.named_types import confusion
from adfm.evaluation.prediction import Prediction


def named(number: int, true: str | None, said: str | None) -> Prediction:
    return predicted(number, true != "normal", True, defect_type=None if true == "normal" else true, named_type=said)


SAID = [
    named(0, "crack", "crack"),
    named(1, "crack", "crack"),
    named(2, "crack", "hole"),
    named(3, "hole", None),
    named(4, None, "crack"),  # anomalous, of unknown type
    named(5, "normal", "hole"),
]


def test_accuracy_is_over_anomalies_of_known_type() -> None:
    found = metrics.table(SAID, resamples=50)["overall"]["type_accuracy"]
    assert found["value"] == pytest.approx(2 / 4)
    assert found["low"] < 0.5 < found["high"]


def test_the_confusion_counts_the_unnamed() -> None:
    expected = {"crack": {"crack": 2, "hole": 1, "unnamed": 0}, "hole": {"crack": 0, "hole": 0, "unnamed": 1}}
    assert confusion(SAID) == expected
    assert metrics.table(SAID, resamples=0)["confusion"] == expected


def test_where_no_text_names_a_type_nothing_was_asked() -> None:
    found = metrics.table([named(0, "crack", None), named(1, "normal", None)], resamples=0)
    assert found["overall"]["type_accuracy"]["value"] is None
    assert "names a known type" in found["overall"]["type_accuracy"]["reason"]
    assert "confusion" not in found
