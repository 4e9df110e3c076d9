from __future__ import annotations

import numpy as np
import pytest
from evaluation_support import predicted

from adfm.errors import DataError
from adfm.evaluation import metrics
from adfm.evaluation.pooled import Pool
from adfm.evaluation.prediction import Prediction


def rewarded(values: list[float], **changes: float) -> list[Prediction]:
    """Predictions about one normal image each, with these total rewards."""
    return [predicted(number, False, False, rewards={"total": value, **changes}) for number, value in enumerate(values)]


def found(ious: np.ndarray) -> list[Prediction]:
    """Predictions whose mask IoU is given."""
    return [predicted(number, True, True, mask_iou=float(iou)) for number, iou in enumerate(ious)]


def test_means_over_seeds_by_hand() -> None:
    before = Pool({"0": rewarded([1.0, 2.0], form=0.5), "1": rewarded([3.0, 2.0], form=0.7)}, resamples=0)
    after = Pool({"1": rewarded([5.0, 3.0], form=0.7), "0": rewarded([2.0, 2.0], form=0.9)}, resamples=0)
    assert before.estimate("reward").value == 2.0
    assert dict(before.estimate("reward").seeds) == {"0": 1.5, "1": 2.5}
    change = after.minus(before, "reward")
    assert (change.value, dict(change.seeds), change.low, change.is_sure) == (1.0, {"0": 0.5, "1": 1.5}, None, False)
    assert change.spread == pytest.approx(np.sqrt(0.5))
    assert after.minus(before, "reward/form").value == pytest.approx(0.2)


def test_a_metric_that_is_not_defined_is_none() -> None:
    normals = Pool({"0": rewarded([1.0, 2.0])}, resamples=10)
    assert normals.estimate("auroc") is None
    assert normals.minus(normals, "box_iou") is None
    assert normals.estimate("reward").spread is None


def test_one_seed_gives_the_paired_difference_of_the_tables() -> None:
    rng = np.random.default_rng(0)
    sides = [
        [
            predicted(n, n % 2 == 0, bool(rng.random() < 0.6), float(rng.normal()), rewards={"total": rng.normal()})
            for n in range(40)
        ]
        for _ in range(2)
    ]
    expected = metrics.difference(*sides, resamples=200)
    before, after = (Pool({"0": side}, resamples=200) for side in sides)
    for metric in ("balanced_accuracy", "auroc", "reward", "parse_failure"):
        change = after.minus(before, metric)
        assert change.value == pytest.approx(expected[metric]["value"], abs=2e-6)
        assert change.high - change.low == pytest.approx(expected[metric]["high"] - expected[metric]["low"], rel=0.25)


def test_all_seeds_see_the_same_draw() -> None:
    # Two seeds with opposite changes: on every draw of images they cancel, so the interval has no width.
    values = list(np.random.default_rng(0).normal(size=50))
    before = Pool({seed: rewarded([0.0] * 50) for seed in "01"}, resamples=100)
    after = Pool({"0": rewarded(values), "1": rewarded([-value for value in values])}, resamples=100)
    change = after.minus(before, "reward")
    assert change.low == pytest.approx(0, abs=1e-12)
    assert change.high == pytest.approx(0, abs=1e-12)
    assert change.spread == pytest.approx(np.sqrt(2) * abs(np.mean(values)))


def test_samples_of_one_image_stay_together() -> None:
    def views(values: list[float], per_image: int) -> list[Prediction]:
        return [
            predicted(n, False, False, image=f"{n // per_image}.png", rewards={"total": value})
            for n, value in enumerate(values)
        ]

    values = list(np.repeat(np.random.default_rng(0).normal(size=40), 4))
    widths = []
    for per_image in (1, 4):
        reward = Pool({"0": views(values, per_image)}, resamples=2000).estimate("reward")
        widths.append(reward.high - reward.low)
    assert widths[1] / widths[0] == pytest.approx(2, rel=0.1)


def test_a_planted_effect_is_found_and_a_seed_effect_stays_outside_the_interval() -> None:
    rng = np.random.default_rng(0)
    hard = rng.normal(0.5, 0.2, size=400)  # the same images are hard for all
    runs = {
        name: {s: found(hard + shift + rng.normal(0, 0.1, 400)) for s in "012"}
        for name, shift in (("a", 0.0), ("b", 0.03))
    }
    change = Pool(runs["b"]).minus(Pool(runs["a"]), "mask_iou")
    assert change.is_sure
    assert change.low < 0.03 < change.high
    assert change.high - change.low < 0.03  # unpaired it would be 0.04 wide for the images alone


def test_the_interval_of_no_effect_holds_0_in_95_of_100_studies() -> None:
    covered = 0
    for trial in range(200):
        rng = np.random.default_rng(trial)
        hard = rng.normal(0.5, 0.2, size=100)
        before, after = (
            Pool({s: found(hard + rng.normal(0, 0.1, 100)) for s in "012"}, resamples=200, seed=trial) for _ in range(2)
        )
        covered += not after.minus(before, "mask_iou").is_sure
    assert 0.9 <= covered / 200 <= 0.985


def test_sides_with_other_seeds_are_compared_without_a_spread() -> None:
    three = Pool({"0": rewarded([1.0, 1.0]), "1": rewarded([2.0, 2.0]), "2": rewarded([3.0, 3.0])}, resamples=20)
    one = Pool({"0": rewarded([1.0, 1.0])}, resamples=20)
    change = three.minus(one, "reward")
    assert (change.value, change.low, change.high, change.spread) == (1.0, 1.0, 1.0, None)
    assert three.take(["0"]).minus(one, "reward").value == 0.0


def test_what_cannot_be_paired_is_refused() -> None:
    with pytest.raises(DataError, match=r"evaluate\.test_samples"):
        Pool({"0": rewarded([1.0, 2.0]), "1": rewarded([1.0])})
    with pytest.raises(DataError, match="same samples"):
        Pool({"0": rewarded([1.0, 2.0])}).minus(Pool({"0": rewarded([1.0])}), "reward")
    with pytest.raises(DataError, match="no predictions"):
        Pool({})
