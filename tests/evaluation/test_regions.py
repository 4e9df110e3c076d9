from __future__ import annotations

import numpy as np
import pytest
from evaluation_support import predicted

from adfm.evaluation import metrics, regions
from adfm.evaluation.prediction import Prediction


def two_regions() -> np.ndarray:
    """A square of 16 pixels and a diagonal of 4: 8 neighbours make the diagonal one region."""
    mask = np.zeros((10, 20), bool)
    mask[0:4, 0:4] = True
    mask[[5, 6, 7, 8], [10, 11, 12, 13]] = True
    return mask


def test_components_join_over_corners() -> None:
    numbered = regions.components(two_regions())
    assert numbered.max() == 2
    assert np.bincount(numbered.ravel()).tolist() == [180, 16, 4]


@pytest.mark.parametrize(
    ("boxes", "found"),
    [
        ([], [0, 0, 0, 0]),
        ([(0, 0, 4, 4)], [1, 1, 1, 1]),
        ([(0, 0, 4, 2)], [1, 1, 1, 1]),  # IoU 1/2, half of its pixels
        ([(0, 0, 4, 1)], [1, 0, 0, 0]),  # IoU 1/4, a quarter of its pixels
        ([(10, 5, 14, 9)], [1, 1, 1, 1]),  # the box around the diagonal
        ([(0, 0, 20, 10)], [0, 0, 0, 2]),  # everything is covered, nothing is located: IoU 16/200
        ([(0, 0, 4, 4), (10, 5, 14, 9), (15, 0, 18, 3)], [2, 2, 2, 2]),
        ([(3, 3, 3, 9), (4, 4, 0, 0)], [0, 0, 0, 0]),  # without an area
    ],
)
def test_found_by_hand(boxes: list, found: list[int]) -> None:
    assert regions.found(boxes, regions.components(two_regions())) == (2, found)


def test_a_true_box_is_a_region_where_there_is_no_mask() -> None:
    true = ((0.0, 0.0, 4.0, 4.0), (10.0, 5.0, 14.0, 9.0))
    assert regions.found_boxes([(0, 0, 4, 2)], true, width=20, height=10) == (2, [1, 1, 1, 1])


def test_recall_is_over_regions_and_not_over_images() -> None:
    boxes = ((0.0, 0.0, 4.0, 4.0),)
    predictions = [
        predicted(0, True, True, 1.0, boxes=boxes),  # one of two regions of its mask
        predicted(1, True, True, 1.0, boxes=boxes, true_boxes=boxes),  # no mask: its box, found
        predicted(2, True, True, 1.0, boxes=boxes),  # neither: its place is not known
        predicted(3, False, True, 0.0, boxes=boxes),
    ]

    def truth(prediction: Prediction) -> np.ndarray | None:
        return two_regions() if prediction.id == "sample 0" else None

    found = metrics.table(predictions, truth=truth, resamples=50)["overall"]
    for name in regions.REGIONS:
        assert found[name]["value"] == pytest.approx(2 / 3)
        assert found[name]["low"] <= 2 / 3 <= found[name]["high"]
    for changes in ({"boxes": False, "truth": truth}, {"truth": None}):
        undefined = metrics.table(predictions, resamples=0, **changes)["overall"]["region_recall_0.5"]
        assert undefined["value"] is None
