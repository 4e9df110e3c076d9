from __future__ import annotations

import numpy as np
import pytest
from evaluation_support import predicted
from pycocotools import mask as coco

from adfm.evaluation import metrics
from adfm.evaluation.bootstrap import STATISTICS, auroc, average_precision, draws, interval, mean
from adfm.evaluation.prediction import Prediction


def truth(prediction: Prediction) -> np.ndarray:
    """Two regions: a square and a bar."""
    mask = np.zeros((10, 20), bool)
    mask[2:9, 2:9] = True
    mask[1:3, 12 : 13 + int(prediction.id.split()[1]) % 5] = True
    return mask


def random_predictions(seed: int, count: int = 60) -> list[Prediction]:
    """Predictions with ties in the score and everything that is measured, some of it missing."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        anomalous = bool(rng.random() < 0.4)
        said = (rng.random((10, 20)) < 0.5).astype(np.uint8)
        found.append(
            predicted(
                number,
                anomalous,
                [True, False, None][rng.integers(3)],
                score=float(rng.integers(-3, 4)) * 300,
                true_boxes=((2.0, 2.0, 9.0, 9.0),) if anomalous else (),
                boxes=((2.0, 2.0, float(rng.integers(3, 20)), 9.0),),
                confidences=(float(rng.integers(1, 5)) / 5,),
                probability=float(rng.random()),
                named_type=[None, "crack", "hole"][rng.integers(3)],
                mask={"size": [10, 20], "counts": coco.encode(np.asfortranarray(said))["counts"].decode()},
                stages={"think": ["a crack, top left", "on the right", "it is odd"][rng.integers(3)]},
                reasoning_letter=["a", "b", None][rng.integers(3)],
                answer_letter="a",
                mask_iou=float(rng.random()) if anomalous else None,
                reasons=("bad_box",) if rng.random() < 0.3 else (),
                rewards={"total": float(rng.normal())},
                attributes={"explanation": "a crack"} if rng.random() < 0.5 else {},
                category=f"category {rng.integers(3)}",
            )
        )
    return found


@pytest.mark.parametrize("seed", range(5))
def test_with_weights_of_one_a_statistic_is_the_value_of_the_table(seed: int) -> None:
    predictions = random_predictions(seed)
    values = metrics.summary(predictions, truth=truth)
    outcomes = metrics.columns(predictions, truth=truth)
    for name, statistic in STATISTICS.items():
        assert statistic(outcomes, np.ones((1, len(predictions))))[0] == pytest.approx(values[name], abs=2e-6), name


def test_a_weight_is_a_repetition() -> None:
    predictions = random_predictions(7, 12)
    weights = np.random.default_rng(0).integers(0, 3, size=12)
    repeated = [one for one, weight in zip(predictions, weights, strict=True) for _ in range(weight)]
    outcomes, longer = (metrics.columns(side, truth=truth) for side in (predictions, repeated))
    for name, statistic in STATISTICS.items():
        expected = statistic(longer, np.ones((1, len(repeated))))[0]
        assert statistic(outcomes, weights[None].astype(float))[0] == pytest.approx(expected), name


def test_auroc_and_average_precision_by_hand() -> None:
    # Highest first: anomalous, normal and anomalous tied, normal. Of 4 pairs 3 are right and 1 tied.
    ranked = [(True, 4.0), (False, 3.0), (True, 3.0), (False, 1.0)]
    outcomes = metrics.columns([predicted(i, truth, truth, score) for i, (truth, score) in enumerate(ranked)])
    ones = np.ones((1, 4))
    assert auroc(outcomes, ones)[0] == pytest.approx(3.5 / 4)
    assert average_precision(outcomes, ones)[0] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_a_resample_without_one_class_is_not_defined() -> None:
    outcomes = metrics.columns([predicted(0, True, True, 1.0), predicted(1, False, False, 0.0)])
    only_first = np.array([[2.0, 0.0], [1.0, 1.0]])
    for name in ("auroc", "average_precision", "balanced_accuracy"):
        assert np.isnan(STATISTICS[name](outcomes, only_first)).tolist() == [True, False]
    assert interval(np.array([np.nan, 1.0, 1.0])) == (1.0, 1.0)
    assert interval(np.array([np.nan])) is None


def test_samples_of_one_image_are_drawn_together() -> None:
    image = np.array([0, 0, 1, 2, 2, 2])
    weights = np.concatenate(list(draws(image, resamples=50, seed=0)))
    assert weights.shape == (50, 6)
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 3] == weights[:, 5]).all()
    assert (weights[:, [0, 2, 3]].sum(1) == 3).all()


def test_chunks_do_not_change_the_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.arange(10)
    whole = np.concatenate(list(draws(image, resamples=7, seed=3)))
    monkeypatch.setattr("adfm.evaluation.bootstrap.CHUNK_NUMBERS", 20)
    assert (np.concatenate(list(draws(image, resamples=7, seed=3))) == whole).all()


def test_intervals_cover_the_true_mean() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(400):
        values = (rng.random(100) < 0.3).astype(float)
        spread = np.concatenate([mean(values, rows) for rows in draws(np.arange(100), resamples=300, seed=trial)])
        low, high = interval(spread) or (1.0, 0.0)
        covered += low <= 0.3 <= high
    assert 0.92 <= covered / 400 <= 0.98


def test_intervals_know_that_samples_of_one_image_say_the_same() -> None:
    values = np.repeat([0.0, 1.0], 20)
    widths = []
    for image in (np.arange(40), np.repeat(np.arange(10), 4)):
        spread = np.concatenate([mean(values, rows) for rows in draws(image, resamples=2000, seed=0)])
        low, high = interval(spread) or (0.0, 0.0)
        widths.append(high - low)
    assert widths[1] / widths[0] == pytest.approx(2, rel=0.15)  # a quarter of the images, twice the width
