from __future__ import annotations

import numpy as np
import pytest
from evaluation_support import predicted

from adfm.evaluation import metrics
from adfm.evaluation.bootstrap import work_saved


def ranked(*truth: bool) -> list:
    """Samples with the scores 1, 2, 3, ..."""
    return [predicted(i, one, True, float(i + 1)) for i, one in enumerate(truth)]


def test_f1_max_by_hand() -> None:
    # From 4 on: 1 of 1 and 1 of 2 found, F1 2/3. From 2 on: 2 of 3 right, all found, F1 4/5. From 1 on: 4/6.
    found = metrics.summary(ranked(False, True, False, True))
    assert found["f1_max"] == pytest.approx(0.8)
    assert found["f1"] == pytest.approx(4 / 6, abs=1e-6)  # everything is called anomalous


@pytest.mark.parametrize(("missing", "saved"), [(0.0, 0.25), (0.49, 0.25), (0.5, 0.75), (1.0, 1.0)])
def test_work_saved_by_hand(missing: float, saved: float) -> None:
    outcomes = metrics.columns(ranked(False, True, False, True))
    assert work_saved(outcomes, np.ones((1, 4)), missing)[0] == saved


def test_equal_scores_are_passed_together() -> None:
    # Two good and the only defective one have the same score: none of them may be passed.
    tied = [predicted(i, i == 2, True, 5.0) for i in range(3)] + [predicted(3, False, True, 1.0)]
    assert metrics.summary(tied)["work_saved_0"] == 0.25


def test_twenty_anomalies_allow_one_miss_of_5_percent() -> None:
    # The lowest score is an anomalous sample's: passing nothing misses none; passing it and the 20 normals misses 1/20.
    truth = [True, *[False] * 20, *[True] * 19]
    found = metrics.summary(ranked(*truth))
    assert (found["work_saved_0"], found["work_saved_0.01"], found["work_saved_0.05"]) == (0.0, 0.0, 21 / 40)


def test_calibration_by_hand() -> None:
    # Bins of 1/15. 0.70 and 0.72 share one: mean 0.71, half anomalous, gap 0.21, weight 2/4. 0.1: gap 0.1. 0.9: 0.1.
    truth, probability = [True, False, False, True], [0.70, 0.72, 0.1, 0.9]
    rows = zip(truth, probability, strict=True)
    found = metrics.summary([predicted(i, one, True, probability=p) for i, (one, p) in enumerate(rows)])
    assert found["calibration_error"] == pytest.approx((2 * 0.21 + 0.1 + 0.1) / 4)
    assert found["brier"] == pytest.approx((0.09 + 0.5184 + 0.01 + 0.01) / 4)


def test_without_a_probability_of_each_sample_calibration_is_undefined() -> None:
    predictions = [predicted(0, True, True, probability=0.5), predicted(1, False, True)]
    found = metrics.table(predictions, resamples=20)["overall"]
    for name in ("calibration_error", "brier"):
        assert found[name] == {"value": None, "reason": "no calibrated probability"}


@pytest.mark.parametrize(("anomalous", "reason"), [(True, "no normal sample"), (False, "no anomalous sample")])
def test_one_class_ranks_nothing(anomalous: bool, reason: str) -> None:
    predictions = [predicted(i, anomalous, True, float(i), probability=0.5) for i in range(3)]
    found = metrics.table(predictions, resamples=20)["overall"]
    for name in ("f1_max", "work_saved_0", "work_saved_0.01", "work_saved_0.05"):
        assert found[name] == {"value": None, "reason": reason}
    assert found["brier"]["value"] == 0.25


def test_every_detection_metric_has_an_interval() -> None:
    rng = np.random.default_rng(0)
    predictions = [
        predicted(i, i % 2 == 1, i % 3 == 1, float(rng.normal() + i % 2), probability=rng.random()) for i in range(30)
    ]
    found = metrics.table(predictions, resamples=50)["overall"]
    for name in metrics.DETECTION:
        assert 0 <= found[name]["low"] <= found[name]["high"] <= 1, name
        if name not in ("calibration_error", "f1_max"):  # these two rise when samples repeat
            assert found[name]["low"] <= found[name]["value"] <= found[name]["high"], name
