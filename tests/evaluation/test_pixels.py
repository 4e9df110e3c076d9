from __future__ import annotations

import numpy as np
import pytest
import torch
from evaluation_support import predicted
from pycocotools import mask as coco
from skimage.measure import label
from torchmetrics.functional.classification import binary_auroc

from adfm.errors import DataError
from adfm.evaluation import metrics, pixels
from adfm.evaluation.inspection import Draw
from adfm.evaluation.prediction import Prediction
from adfm.evaluation.truth import truth_of
from adfm.types import Sample


def left_half(_: Prediction) -> np.ndarray:
    """Of an image of 20 x 10 pixels."""
    mask = np.zeros((10, 20), bool)
    mask[:, :10] = True
    return mask


def rle(mask: np.ndarray) -> dict:
    return {"size": list(mask.shape), "counts": coco.encode(np.asfortranarray(mask, np.uint8))["counts"].decode()}


def said(*boxes: tuple[float, float, float, float]) -> Draw:
    return Draw(text="", predicted=bool(boxes), boxes=boxes)


def test_a_pixel_has_the_share_of_the_draws_that_cover_it() -> None:
    draws = (said((0, 0, 2, 1), (1, 0, 3, 1)), said((1, 0, 2, 1)), said())
    levels, level = pixels.pixel_scores(predicted(0, True, True, width=4, height=1, draws=draws))
    assert levels[level].tolist() == [[1 / 3, 2 / 3, 1 / 3, 0.0]]


def test_a_pixel_has_the_largest_confidence_of_its_boxes() -> None:
    boxes = ((0.0, 0.0, 2.0, 1.0), (1.0, 0.0, 4.0, 1.0), (2.0, 0.0, 3.0, 1.0))
    one = predicted(0, True, True, width=5, height=1, boxes=boxes, confidences=(0.9, 0.4, 0.2))
    levels, level = pixels.pixel_scores(one)
    assert levels[level].tolist() == [[0.9, 0.9, 0.4, 0.4, 0.0]]


def test_pixel_auroc_and_aupro_by_hand() -> None:
    # 100 defective pixels: 50 in the box of 0.8. 100 + 200 intact ones: 20 in the box of 0.8, 30 in that of 0.5.
    first = predicted(0, True, True, boxes=((5.0, 0.0, 12.0, 10.0),), confidences=(0.8,))
    second = predicted(1, False, True, boxes=((0.0, 0.0, 3.0, 10.0),), confidences=(0.5,))
    found = metrics.summary([first, second], truth=left_half)
    # Pairs: 50 defective ones at 0.8 beat 280 of 300 and tie with 20; the 50 at 0 tie with 250.
    assert found["pixel_auroc"] == pytest.approx((50 * (280 + 10) + 50 * 125) / (100 * 300))
    # (rate, overlap): (0, 0), (20/300, 1/2), (50/300, 1/2), (1, 1); at the limit of 0.3: 1/2 + (0.3 - 1/6) * 3/5.
    at_limit = 0.5 + (0.3 - 1 / 6) * 0.6
    area = 1 / 15 * 0.25 + 0.1 * 0.5 + (0.3 - 1 / 6) * (0.5 + at_limit) / 2
    assert found["aupro"] == pytest.approx(area / 0.3)


def test_without_a_box_all_pixels_tie() -> None:
    found = metrics.summary([predicted(0, True, False), predicted(1, False, False)], truth=left_half)
    assert found["pixel_auroc"] == 0.5
    assert found["aupro"] == pytest.approx(0.15)


def test_a_perfect_ranking() -> None:
    box = ((0.0, 0.0, 10.0, 10.0),)
    found = metrics.summary([predicted(0, True, True, boxes=box, confidences=(0.1,))], truth=left_half)
    assert (found["pixel_auroc"], found["aupro"]) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("changes", "settings", "reason"),
    [
        ({}, {"truth": left_half}, "one greedy completion without confidences of its boxes does not rank pixels"),
        ({"confidences": (0.5,)}, {}, "the true masks were not read"),
        ({"confidences": (0.5,)}, {"truth": left_half, "boxes": False}, "no boxes were asked for"),
        ({"confidences": (0.5,)}, {"truth": lambda _: None}, "no anomalous sample with a true mask"),
        ({"confidences": (0.5,), "anomalous": False}, {"truth": left_half}, "no anomalous sample with a true mask"),
    ],
)
def test_undefined_with_the_reason(changes: dict, settings: dict, reason: str) -> None:
    one = predicted(0, changes.pop("anomalous", True), True, boxes=((0.0, 0.0, 9.0, 9.0),), **changes)
    found = metrics.table([one], resamples=20, **settings)["overall"]
    assert found["pixel_auroc"] == found["aupro"] == {"value": None, "reason": reason}


def test_an_anomalous_image_of_unknown_place_plays_no_part() -> None:
    box = {"boxes": ((0.0, 0.0, 10.0, 10.0),), "confidences": (0.5,)}
    known, unknown = predicted(0, True, True, **box), predicted(1, True, True, **box)
    found = metrics.summary([known, unknown], truth=lambda one: left_half(one) if one.id == "sample 0" else None)
    assert (found["pixel_auroc"], found["aupro"]) == (1.0, 1.0)


def test_iou_and_dice_of_masks_by_hand() -> None:
    shifted = np.roll(left_half(predicted(0, True, True)), 5, axis=1)  # 50 of 100 pixels, 150 together
    found = metrics.table(
        [predicted(0, True, True, mask=rle(shifted)), predicted(1, True, False), predicted(2, False, False)],
        truth=left_half,
        boxes=False,
        resamples=20,
    )["overall"]
    assert found["segmentation_iou"]["value"] == pytest.approx((1 / 3 + 0) / 2)  # no mask is an empty one
    assert found["segmentation_dice"]["value"] == pytest.approx((1 / 2 + 0) / 2)
    assert found["segmentation_iou"]["low"] <= 1 / 6 <= found["segmentation_iou"]["high"]


def test_without_any_predicted_mask_there_is_no_iou() -> None:
    found = metrics.table([predicted(0, True, True)], truth=left_half, resamples=0)["overall"]
    for name in ("segmentation_iou", "segmentation_dice"):
        assert found[name] == {"value": None, "reason": "no mask was predicted, or no true mask was read"}


def test_a_mask_of_another_size_is_an_error() -> None:
    one = predicted(0, True, True, mask=rle(np.ones((5, 5), bool)))
    with pytest.raises(DataError, match=r"sample 0: the predicted mask has height and width \[5, 5\]"):
        metrics.summary([one], truth=left_half)


def random_predictions(count: int, *, seed: int) -> tuple[list[Prediction], dict[str, np.ndarray]]:
    """Predictions of all kinds about images of 40 x 30 pixels, and the masks of half of them."""
    rng = np.random.default_rng(seed)
    found, masks = [], {}
    for number in range(count):
        corners = rng.integers(0, 25, size=(2, 2)).tolist()
        boxes = tuple((float(x), float(y), float(x + 12), float(y + 7)) for x, y in corners)
        drawn = number % 3 == 0
        draws = tuple(said(*boxes[: int(rng.integers(0, 3))]) for _ in range(5)) if drawn else ()
        confidences = () if drawn else tuple(rng.random(2).round(1).tolist())
        found.append(
            predicted(
                number,
                number % 2 == 0,
                True,
                **{"width": 40, "height": 30, "boxes": boxes, "confidences": confidences, "draws": draws},
            )
        )
        masks[found[-1].id] = rng.random((30, 40)) < 0.02
        masks[found[-1].id][corners[0][1] : corners[0][1] + 9, corners[0][0] : corners[0][0] + 9] = True
    return found, masks


def directly(predictions: list[Prediction], masks: dict[str, np.ndarray]) -> tuple[float, float]:
    """Pixel AUROC by torchmetrics and AUPRO threshold by threshold, over all pixels of all images at once."""
    scores, truth, overlaps = [], [], []
    for one in predictions:
        levels, level = pixels.pixel_scores(one)
        scores.append(levels[level])
        truth.append(masks[one.id] if one.anomalous else np.zeros((30, 40), bool))
        numbered = label(truth[-1], connectivity=2)
        overlaps += [scores[-1][numbered == number] for number in range(1, numbered.max() + 1)]
    score, true = np.stack(scores), np.stack(truth)
    auroc = float(binary_auroc(torch.tensor(score.ravel()), torch.tensor(true.ravel()).int()))
    curve = [(0.0, 0.0)]
    for threshold in sorted(set(score.ravel().tolist()), reverse=True):
        overlap = np.mean([np.mean(region >= threshold) for region in overlaps])
        curve.append((float(np.mean(score[~true] >= threshold)), float(overlap)))
    rate, overlap = np.array(curve).T
    fine = np.unique([*rate[rate < 0.3], 0.3])
    return auroc, float(np.trapezoid(np.interp(fine, rate, overlap), fine)) / 0.3


@pytest.mark.parametrize("seed", range(3))
def test_counts_of_levels_give_what_all_pixels_give(seed: int) -> None:
    predictions, masks = random_predictions(9, seed=seed)
    found = metrics.table(predictions, truth=lambda one: masks[one.id], resamples=100)["overall"]
    auroc, aupro = directly(predictions, masks)
    assert found["pixel_auroc"]["value"] == pytest.approx(auroc, abs=1e-6)
    assert found["aupro"]["value"] == pytest.approx(aupro)
    for name in ("pixel_auroc", "aupro"):
        assert found[name]["low"] <= found[name]["value"] <= found[name]["high"]


def test_true_masks_are_read_through_the_samples(samples: list[Sample]) -> None:
    truth = truth_of(samples)
    size = {"width": 112, "height": 84}
    mask = truth(predicted(3, True, True, **size))
    assert mask is not None
    assert np.argwhere(mask)[[0, -1]].tolist() == [[20, 30], [39, 49]]
    assert truth(predicted(0, False, True, **size)) is None
    with pytest.raises(DataError, match="sample 77 is about no sample"):
        truth(predicted(77, True, True, **size))


@pytest.mark.slow
def test_a_thousand_images_of_a_million_pixels() -> None:
    rng = np.random.default_rng(0)
    mask = np.zeros((1000, 1000), bool)
    mask[300:340, 200:500] = True
    predictions = []
    for number in range(1000):
        x, y = rng.integers(0, 800, size=2).tolist()
        box = {"boxes": ((x, y, x + 150.0, y + 100.0),), "confidences": (float(rng.random()),)}
        predictions.append(predicted(number, number % 2 == 0, True, width=1000, height=1000, **box))
    found = metrics.summary(predictions, truth=lambda _: mask)
    assert 0 < found["aupro"] < 1
    assert 0 < found["pixel_auroc"] < 1
