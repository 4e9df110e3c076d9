"""Thresholds from normal images, what they promise, and where they are kept."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adfm.errors import ConfigError, DataError
from adfm.inspection import calibration
from adfm.inspection.calibration import Calibration, Probability, probability
from adfm.inspection.threshold import (
    Threshold,
    groups,
    most_above,
    normals_needed,
    threshold,
)
from adfm.models.card import Card, read_card, write_card


def alone(scores: list[float]) -> list[list[float]]:
    """Scores of images that are all independent."""
    return [[score] for score in scores]


@pytest.mark.parametrize(("count", "share"), [(29, 0.10), (59, 0.05), (149, 0.02), (299, 0.01)])
def test_the_fewest_normals_are_those_of_wilks(count: int, share: float) -> None:
    """0.9^29 = 0.0471 and 0.9^28 = 0.0523; 0.95^59 = 0.0485 and 0.95^58 = 0.0510; and so on."""
    assert normals_needed(share, 0.95) == count
    assert most_above(count, share, 0.95) == 0
    assert most_above(count - 1, share, 0.95) is None
    assert (1 - share) ** count <= 0.05 < (1 - share) ** (count - 1)


@pytest.mark.parametrize(("above", "count"), [*enumerate((59, 93, 124, 153, 181, 208, 234, 260, 286, 311))])
def test_more_normals_allow_a_lower_order_statistic(above: int, count: int) -> None:
    """Wilks's published numbers for 95 % of the population with 95 % confidence."""
    assert most_above(count, 0.05, 0.95) == above
    assert most_above(count - 1, 0.05, 0.95) == (above - 1 if above else None)


def test_a_hundred_normals_leave_one_above() -> None:
    """P(Binomial(100, 0.05) <= 1) = 0.95^100 + 100 x 0.05 x 0.95^99 = 0.0059 + 0.0312 = 0.0371; <= 2 is 0.1183."""
    found = threshold(alone([float(number) for number in range(100)]), max_false_alarm=0.05, confidence=0.95)
    assert (found.above, found.value) == (1, 98.0)


def test_the_promise_in_words() -> None:
    scores = [number / 10 for number in range(59)]
    found = threshold(alone(scores), max_false_alarm=0.05, confidence=0.95)
    assert found.value == 5.8
    assert found.guarantee == "59 normal images: with 95 % confidence at most 5 % of normal images will score above 5.8"


def test_near_duplicates_count_once_with_their_highest_score() -> None:
    scores = [*alone([float(number) for number in range(58)]), [3.0, 70.0, 60.0]]
    found = threshold(scores, max_false_alarm=0.05, confidence=0.95)
    assert (found.value, found.images, found.independent) == (70.0, 61, 59)
    assert found.guarantee.startswith("61 normal images, of which 59 count as independent: with 95 % confidence")


def test_too_few_normals_say_how_many_are_needed() -> None:
    """1 - 0.05^(1/10) = 0.2589, which a promise rounds up."""
    with pytest.raises(DataError, match=r"need 59 independent ones; 10 promise 25\.9 % at best \(max_false_alarm=null"):
        threshold(alone([0.0] * 10), max_false_alarm=0.05, confidence=0.95)
    with pytest.raises(DataError, match="60 normal images count as 58, as some are near-duplicates; they are too few"):
        threshold([*alone([0.0] * 57), [1.0, 2.0, 3.0]], max_false_alarm=0.05, confidence=0.95)


def test_few_normals_promise_what_they_can_if_asked() -> None:
    found = threshold(alone([2.0, 9.0, *[1.0] * 8]), max_false_alarm=None, confidence=0.95)
    assert (found.value, found.above) == (9.0, 0)
    assert found.max_false_alarm == pytest.approx(1 - 0.05**0.1)
    assert found.guarantee.endswith("at most 25.9 % of normal images will score above 9")
    assert most_above(10, found.max_false_alarm + 1e-9, 0.95) == 0
    assert most_above(10, found.max_false_alarm - 1e-6, 0.95) is None


def test_scores_that_are_no_numbers_or_not_there_are_refused() -> None:
    with pytest.raises(DataError, match="no normal image"):
        threshold([], max_false_alarm=None, confidence=0.95)
    with pytest.raises(DataError, match="not all finite"):
        threshold(alone([1.0, float("inf")]), max_false_alarm=None, confidence=0.95)


@pytest.mark.parametrize("law", ["normal", "heavy", "ties"])
@pytest.mark.parametrize(("count", "share"), [(29, 0.1), (59, 0.05), (124, 0.05)])
def test_the_promise_holds_in_simulation(law: str, count: int, share: float) -> None:
    """In 4,000 calibrations the true false-alarm rate exceeds the share in at most 5 %, within three standard errors.

    Without ties it does so in nearly 5 %: the exact numbers are 0.0471, 0.0485 and 0.0479.
    """
    rng = np.random.default_rng(0)
    uniform = rng.random((4000, count))
    if law == "ties":  # ten values, each as likely: the rate above value k is (9 - k) / 10
        uniform = np.floor(uniform * 10) / 10
    scores = np.tan(np.pi * (uniform - 0.5)) if law == "heavy" else uniform
    place = {29: 28, 59: 58, 124: 121}[count]
    first = threshold(alone(scores[0].tolist()), max_false_alarm=share, confidence=0.95)
    assert first.value == np.sort(scores[0])[place]
    chosen = np.sort(uniform, axis=1)[:, place]
    rate = np.round(0.9 - chosen, 9) if law == "ties" else 1 - chosen
    broken = float(np.mean(rate > share))
    assert broken <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 4000)
    if law != "ties":
        assert broken == pytest.approx({29: 0.0471, 59: 0.0485, 124: 0.0479}[count], abs=0.011)


def picture(path: Path, seed: int) -> Path:
    rough = np.random.default_rng(seed).integers(0, 255, (8, 8), np.uint8)
    Image.fromarray(rough).resize((96, 96), Image.Resampling.BICUBIC).save(path)
    return path


def test_copies_of_an_image_are_one_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADFM_CACHE", str(tmp_path / "cache"))
    images = [picture(tmp_path / f"{number}.png", number) for number in range(3)]
    lighter = tmp_path / "lighter.jpg"
    Image.open(images[1]).point(lambda value: value * 0.9).save(lighter, quality=90)
    assert groups([*images, lighter], 0.98) == [[0], [1, 3], [2]]
    assert groups(images[:1], 0.98) == [[0]]
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"broken\.png: is not an image"):
        groups([*images, tmp_path / "broken.png"], 0.98)


def test_a_probability_is_platts() -> None:
    """One score each: the curve passes the targets 1/(2+2) = 0.25 and (2+1)/(2+2) = 0.75 exactly."""
    curve = probability([0.0, 0.0], [4.0, 4.0])
    assert curve(0.0) == pytest.approx(0.25, abs=1e-4)
    assert curve(4.0) == pytest.approx(0.75, abs=1e-4)
    assert curve(2.0) == pytest.approx(0.5, abs=1e-4)
    assert curve.slope == pytest.approx(2 * np.log(3) / 4, rel=1e-3)
    assert curve(1e6) == 1.0
    assert curve(-1e6) == 0.0


def test_the_fit_is_where_the_gradient_is_zero() -> None:
    rng = np.random.default_rng(1)
    normal, anomalous = rng.normal(800, 3, 40), rng.normal(804, 3, 15)
    curve = probability(normal.tolist(), anomalous.tolist())
    targets = np.concatenate([np.full(40, 1 / 42), np.full(15, 16 / 17)])
    scores = np.concatenate([normal, anomalous])
    error = np.array([curve(float(score)) for score in scores]) - targets
    assert error.sum() == pytest.approx(0, abs=1e-3)
    assert error @ (scores - 800) == pytest.approx(0, abs=1e-2)


def test_a_score_that_ranks_the_wrong_way_gives_no_probability() -> None:
    with pytest.raises(DataError, match="do not score higher"):
        probability([5.0, 6.0, 7.0], [1.0, 2.0])
    with pytest.raises(DataError, match="do not score higher"):
        probability([1.0, 1.0], [1.0, 1.0])


SETTINGS = {"weights": "abc", "reasoning": {"references": 0, "letters": ["a", "b"]}, "category": "tile"}


def calibrated(**settings: object) -> Calibration:
    return Calibration(
        threshold=Threshold(value=1.5, images=60, independent=59, above=0, max_false_alarm=0.05, confidence=0.95),
        probability=Probability(slope=2.0, intercept=-1.0, normal=60, anomalous=9),
        missed=2,
        settings=SETTINGS | settings,
        date="2026-01-02T03:04:05+00:00",
    )


CARD = Card.of({"path": "x", "dtype": "float32"}, {"_target_": "y"}, ("crack",))


def test_a_calibration_is_kept_with_the_model(tmp_path: Path) -> None:
    assert calibration.find(tmp_path, SETTINGS) is None
    write_card(tmp_path, CARD)
    assert calibration.find(tmp_path, SETTINGS) is None
    first, second = calibrated(), calibrated(category="screw")
    assert calibration.store(tmp_path, first, otherwise=CARD) == tmp_path / "adfm.json"
    calibration.store(tmp_path, replace(second, probability=None, missed=None), otherwise=CARD)
    calibration.store(tmp_path, second, otherwise=CARD)
    assert calibration.find(tmp_path, SETTINGS) == first
    assert calibration.find(tmp_path, SETTINGS | {"category": "screw"}) == second
    card = read_card(tmp_path)
    assert card is not None
    assert replace(card, calibration=None) == CARD
    entry = json.loads((tmp_path / "adfm.json").read_text())["calibration"][first.key]
    assert entry["guarantee"] == first.threshold.guarantee
    assert [path.name for path in tmp_path.iterdir()] == ["adfm.json"]


def test_a_folder_without_a_card_gets_one(tmp_path: Path) -> None:
    calibration.store(tmp_path, calibrated(), otherwise=CARD)
    card = read_card(tmp_path)
    assert card is not None
    assert card.defect_types == ("crack",)
    assert card.model == {"dtype": "float32"}


def test_another_way_of_scoring_is_refused_by_name(tmp_path: Path) -> None:
    calibration.store(tmp_path, calibrated(weights="other"), otherwise=CARD)
    calibration.store(tmp_path, calibrated(), otherwise=CARD)
    now = SETTINGS | {"reasoning": {"references": 2, "letters": ["a", "b"]}}
    said = re.escape("another way of scoring: reasoning.references was 0 and is 2. Use the same settings, calibrate")
    with pytest.raises(ConfigError, match=said):
        calibration.find(tmp_path, now)
    with pytest.raises(ConfigError, match='weights was "other" and is "new"\\. Use'):
        calibration.find(tmp_path, SETTINGS | {"weights": "new"})


def test_a_folder_that_is_gone_is_said(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    shutil.rmtree(gone)
    with pytest.raises(ConfigError, match="gone: the calibration cannot be stored with the model"):
        calibration.store(gone, calibrated(), otherwise=CARD)
