from __future__ import annotations

import numpy as np
import pytest

from adfm.evaluation.localization import average_precision, box_mask_iou, boxes_mask, mask_iou


def test_boxes_are_half_open() -> None:
    mask = boxes_mask([(1, 0, 3, 2)], width=4, height=3)
    assert mask.astype(int).tolist() == [[0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]


def test_a_pixel_is_covered_if_its_centre_is() -> None:
    covered = [boxes_mask([(x0, 0, x1, 1)], width=4, height=1)[0].nonzero()[0].tolist() for x0, x1 in _SPANS]
    assert covered == [[0, 1], [1], [0], [], []]


_SPANS = [(0.5, 2.5), (0.6, 2.4), (0.0, 0.6), (0.6, 1.4), (3.0, 1.0)]


def test_what_lies_outside_the_image_is_cut_off() -> None:
    assert boxes_mask([(-5, -5, 1e30, float("inf"))], width=3, height=2).all()
    assert not boxes_mask([(10, 10, 20, 20), (-9, -9, 0, 0)], width=3, height=2).any()


@pytest.mark.parametrize(
    ("predicted", "true", "expected"),
    [
        ([(0, 0, 10, 10)], [(0, 0, 10, 10)], 1.0),
        ([(0, 0, 10, 5)], [(0, 0, 10, 10)], 0.5),
        ([(0, 0, 10, 5), (0, 5, 10, 10)], [(0, 0, 10, 10)], 1.0),  # two halves are as good as the whole
        ([(0, 0, 10, 5), (0, 0, 10, 5)], [(0, 0, 10, 10)], 0.5),  # said twice, counted once
        ([(5, 0, 15, 10)], [(0, 0, 10, 10)], 50 / 150),
        ([(10, 0, 20, 10)], [(0, 0, 10, 10)], 0.0),  # they touch
        ([], [(0, 0, 10, 10)], 0.0),
        ([(0, 0, 4, 4)], [(0, 0, 2, 2), (2, 2, 4, 4)], 0.5),
    ],
)
def test_box_mask_iou(predicted: list, true: list, expected: float) -> None:
    assert box_mask_iou(predicted, true, width=20, height=10) == pytest.approx(expected)


def test_without_a_true_place_there_is_no_iou() -> None:
    with pytest.raises(ValueError, match="not defined"):
        box_mask_iou([(0, 0, 1, 1)], [], width=5, height=5)


def test_iou_with_a_mask_of_any_shape() -> None:
    true = np.eye(4, dtype=bool)
    assert mask_iou([(0, 0, 2, 2)], true) == pytest.approx(2 / 6)


def test_average_precision_by_hand() -> None:
    # Sorted by score: a hit; IoU 0.4, a hit only below that; a box on a normal image. Two true boxes.
    # At 0.5 precision is 1 up to recall 0.5, which are 51 of COCO's 101 points, and nothing after it.
    found = average_precision(
        [[(0, 0, 10, 10)], [(0, 0, 10, 4)], [(3, 3, 5, 5)]],
        [[900.0], [800.0], [-3.0]],
        [[(0, 0, 10, 10)], [(0, 0, 10, 10)], []],
    )
    assert found == {0.1: pytest.approx(1.0), 0.3: pytest.approx(1.0), 0.5: pytest.approx(51 / 101)}


def test_a_false_alarm_with_a_high_score_costs_precision() -> None:
    found = average_precision([[(0, 0, 10, 10)], [(0, 0, 5, 5)]], [[1.0], [2.0]], [[(0, 0, 10, 10)], []])
    assert found[0.5] == pytest.approx(0.5)


def test_average_precision_without_boxes() -> None:
    assert average_precision([[], []], [[], []], [[(0, 0, 5, 5)], []]) == {0.1: 0.0, 0.3: 0.0, 0.5: 0.0}
    assert average_precision([[(0, 0, 5, 5)]], [[1.0]], [[]]) == {0.1: None, 0.3: None, 0.5: None}
    assert average_precision([[(5, 5, 5, 9)]], [[1.0]], [[(0, 0, 5, 5)]])[0.1] == 0.0


def test_each_box_is_ranked_by_its_own_score() -> None:
    # One image, two boxes: the wrong one first costs half of the precision, the right one first nothing.
    boxes, true = [[(0, 0, 10, 10), (12, 0, 15, 5)]], [[(0, 0, 10, 10)]]
    assert average_precision(boxes, [[0.4, 0.9]], true)[0.5] == pytest.approx(0.5)
    assert average_precision(boxes, [[0.9, 0.4]], true)[0.5] == pytest.approx(1.0)
