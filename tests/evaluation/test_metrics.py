from __future__ import annotations

import time
from dataclasses import replace

import pytest
from evaluation_support import predicted

from adfm.evaluation import metrics


def small() -> list:
    """Four normals, one called anomalous and one unreadable; four anomalies, one missed and one unreadable."""
    called = [False, False, True, None, True, True, False, None]
    return [
        predicted(number, number >= 4, call, score=float(number), reasons=() if call is not None else ("no_answer",))
        for number, call in enumerate(called)
    ]


def test_detection_by_hand() -> None:
    found = metrics.summary(small())
    assert found["overkill"] == pytest.approx(2 / 4)
    assert found["miss"] == pytest.approx(2 / 4)
    assert found["balanced_accuracy"] == pytest.approx(0.5)
    assert found["f1"] == pytest.approx(2 * 2 / (2 * 2 + 2 + 2))
    assert found["auroc"] == 1.0
    assert found["average_precision"] == 1.0
    assert found["unreadable"] == found["parse_failure"] == 2 / 8
    assert "box_iou" not in found
    assert "reward" not in found


@pytest.mark.parametrize(("anomalous", "reason"), [(True, "no normal sample"), (False, "no anomalous sample")])
def test_one_class_gives_null_with_a_reason(anomalous: bool, reason: str) -> None:
    found = metrics.table([predicted(number, anomalous, True, number) for number in range(3)], resamples=20)["overall"]
    for name in ("auroc", "average_precision", "balanced_accuracy", "overkill" if anomalous else "miss"):
        assert found[name] == {"value": None, "reason": reason}
    assert found["miss" if anomalous else "overkill"]["value"] == (0.0 if anomalous else 1.0)
    assert (found["f1"]["value"] is None) is (not anomalous)


def test_without_scores_the_ranking_is_undefined_and_the_rest_is_not() -> None:
    scored = metrics.table(small(), resamples=20)["overall"]
    found = metrics.table([replace(one, score=None) for one in small()], resamples=20)["overall"]
    for name in ("auroc", "average_precision"):
        assert found[name] == {"value": None, "reason": "no anomaly score was asked for"}
    for name in ("balanced_accuracy", "overkill", "miss", "f1"):
        assert found[name] == scored[name]


def test_large_log_odds_keep_their_order() -> None:
    scores = [800.0, 900.0, 850.0, 950.0]
    found = metrics.summary([predicted(i, i % 2 == 1, True, score) for i, score in enumerate(scores)])
    assert found["auroc"] == 1.0
    assert found["average_precision"] == 1.0
    near = [800.0, 800.0 + 1e-9]
    assert metrics.summary([predicted(i, i == 1, True, score) for i, score in enumerate(near)])["auroc"] == 1.0


def test_ties_count_one_half() -> None:
    found = metrics.summary([predicted(i, i % 2 == 1, True, 3.0) for i in range(6)])
    assert found["auroc"] == 0.5
    assert found["average_precision"] == 0.5


def test_scores_outside_0_and_1_are_not_squashed() -> None:
    # Through torchmetrics' own sigmoid 10, 20, ... 50 tie in float32 and give 0.75.
    found = metrics.summary([predicted(i, i >= 2, True, 10.0 * (i + 1)) for i in range(5)])
    assert found["auroc"] == 1.0


def test_localization_is_over_anomalies_with_a_true_box() -> None:
    box = ((0.0, 0.0, 10.0, 10.0),)
    found = metrics.summary(
        [
            predicted(0, True, True, 3.0, true_boxes=box, boxes=box, mask_iou=0.8),
            predicted(1, True, True, 2.0, true_boxes=box, boxes=((0.0, 0.0, 10.0, 4.0),), mask_iou=0.2),
            predicted(2, True, True, 1.0, true_boxes=(), boxes=box),  # an empty mask: its place is not known
            predicted(3, False, False, 0.0, boxes=()),
        ]
    )
    assert found["box_iou"] == pytest.approx(0.7)
    assert found["mask_iou"] == pytest.approx(0.5)
    assert [found[f"box_acc_{threshold}"] for threshold in (0.1, 0.3, 0.5)] == [1.0, 1.0, 0.5]
    assert found["box_ap_0.3"] == pytest.approx(1.0)


def test_where_no_boxes_were_asked_for_their_metrics_are_null() -> None:
    box = ((0.0, 0.0, 10.0, 10.0),)
    predictions = [predicted(0, True, True, true_boxes=box, mask_iou=0.0), predicted(1, False, False, 1.0)]
    assert metrics.table(predictions, resamples=0)["overall"]["box_iou"] == {"value": 0.0}
    found = metrics.table(predictions, boxes=False, resamples=20)["overall"]
    for name in metrics.LOCALIZATION:
        assert found[name] == {"value": None, "reason": "no boxes were asked for"}
    assert "box_iou" not in metrics.summary(predictions, boxes=False)
    assert "box_iou" not in metrics.difference(predictions, predictions, boxes=False)


def test_categories_and_their_mean() -> None:
    called = {"a": [True, True, False, False], "b": [True, False, True, False], "c": [False, False]}
    predictions = [
        predicted(10 * ord(category) + number, number < 2 and category != "c", call, category=category)
        for category, calls in called.items()
        for number, call in enumerate(calls)
    ]
    found = metrics.table(predictions, resamples=50)
    assert {name: values["overkill"]["value"] for name, values in found["category"].items()} == {
        "a": 0,
        "b": 0.5,
        "c": 0,
    }
    assert found["macro"]["balanced_accuracy"]["value"] == pytest.approx((1.0 + 0.5) / 2)
    assert found["macro"]["balanced_accuracy"]["categories"] == 2  # c has no anomalies
    assert found["macro"]["overkill"]["value"] == pytest.approx(0.5 / 3)
    assert found["overall"]["overkill"]["value"] == pytest.approx(1 / 6, abs=1e-6)


def test_normals_without_a_bin_belong_to_every_bin() -> None:
    predictions = [
        predicted(0, False, True),
        predicted(1, False, False),
        predicted(2, True, True, attributes={"bin": "easy"}),
        predicted(3, True, False, attributes={"bin": "hard"}),
    ]
    found = metrics.table(predictions, resamples=0)
    assert {name: values["balanced_accuracy"]["value"] for name, values in found["bin"].items()} == {
        "easy": 0.75,
        "hard": 0.25,
    }
    assert "bin" not in metrics.table(predictions[:2], resamples=0)


def test_parse_failures_are_shares_of_samples() -> None:
    reasons = [("no_answer", "bad_box"), ("bad_box",), (), ()]
    predictions = [predicted(i, False, False, reasons=found) for i, found in enumerate(reasons)]
    assert metrics.parse_failures(predictions) == {"bad_box": 0.5, "no_answer": 0.25}
    assert metrics.summary(predictions)["parse_failure"] == 0.5
    assert metrics.summary(predictions)["unreadable"] == 0.0


def test_intervals_hold_the_value_and_repeat() -> None:
    predictions = [predicted(i, i % 2 == 1, i % 3 != 0, score=(i * 7) % 11) for i in range(40)]
    found = metrics.table(predictions)["overall"]
    for name in ("balanced_accuracy", "auroc", "f1", "miss"):
        assert found[name]["low"] < found[name]["value"] < found[name]["high"]
    assert metrics.table(predictions)["overall"] == found
    assert metrics.table(predictions, seed=1)["overall"]["auroc"]["low"] != found["auroc"]["low"]
    assert "low" not in metrics.table(predictions, resamples=0)["overall"]["auroc"]


def test_a_paired_difference_is_narrower_than_two_intervals() -> None:
    before = [predicted(i, i % 2 == 1, (i % 2 == 1) == (i % 5 != 0), score=i) for i in range(100)]
    after = [predicted(i, i % 2 == 1, (i % 2 == 1) == (i % 10 != 0), score=i) for i in range(100)]
    change = metrics.difference(before, list(reversed(after)))
    assert change["balanced_accuracy"]["value"] == pytest.approx(0.1)
    assert change["balanced_accuracy"]["low"] > 0.03
    assert change["auroc"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    alone = [metrics.table(side)["overall"]["balanced_accuracy"] for side in (before, after)]
    widths = [found["high"] - found["low"] for found in (change["balanced_accuracy"], *alone)]
    assert widths[0] < (widths[1] ** 2 + widths[2] ** 2) ** 0.5  # what two unpaired sets would give


def test_a_difference_without_resamples_has_no_interval() -> None:
    one = [predicted(0, True, True), predicted(1, False, True)]
    assert metrics.difference(one, one, resamples=0)["balanced_accuracy"] == {"value": 0.0}


def test_different_samples_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="same samples"):
        metrics.difference([predicted(0, True, True)], [predicted(1, True, True)])


def test_no_predictions_is_an_error() -> None:
    with pytest.raises(ValueError, match="no predictions"):
        metrics.table([])


def test_a_thousand_images_take_seconds() -> None:
    box = ((1.0, 1.0, 8.0, 8.0),)
    predictions = [
        predicted(i, i % 2 == 1, i % 3 != 0, score=(i * 37) % 101, true_boxes=box if i % 2 else (), boxes=box)
        for i in range(1000)
    ]
    start = time.process_time()
    metrics.table(predictions, resamples=1000)
    assert time.process_time() - start < 3
