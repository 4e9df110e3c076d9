from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adfm.errors import ConfigError, DataError
from adfm.evaluation import metrics
from adfm.evaluation.baselines import (
    BASELINES,
    AlwaysAnomalous,
    AlwaysNormal,
    PatchNeighbours,
    TrivialDetector,
    baseline_predictions,
    best_threshold,
    by_score,
    image_deviation,
    largest_laplacian,
)
from adfm.types import Sample


def test_always_normal_misses_everything(samples: list[Sample]) -> None:
    found = metrics.summary(AlwaysNormal()(samples))
    assert (found["overkill"], found["miss"], found["balanced_accuracy"], found["auroc"]) == (0.0, 1.0, 0.5, 0.5)
    assert found["box_iou"] == 0.0


def test_the_trivial_detector_finds_bright_squares(samples: list[Sample]) -> None:
    assert min(map(largest_laplacian, samples[3:])) > 250 > max(map(largest_laplacian, samples[:3]))
    found = metrics.summary(TrivialDetector.fit(samples)(samples))
    assert (found["balanced_accuracy"], found["auroc"], found["unreadable"]) == (1.0, 1.0, 0.0)


@pytest.mark.parametrize(
    ("scores", "anomalous", "threshold"),
    [
        ([1.0, 2.0, 3.0, 4.0], [0, 0, 1, 1], 3.0),
        ([1.0, 2.0, 3.0, 4.0], [0, 1, 0, 1], 2.0),  # 2 and 4 are equally good
        ([5.0, 5.0, 7.0], [0, 1, 1], 7.0),
        ([4.0, 3.0, 2.0, 1.0], [0, 0, 1, 1], 1.0),  # useless: everything is called anomalous
    ],
)
def test_best_threshold_by_hand(scores: list[float], anomalous: list[int], threshold: float) -> None:
    assert best_threshold(scores, [bool(one) for one in anomalous]) == threshold


def test_a_threshold_needs_both_classes() -> None:
    with pytest.raises(DataError, match="both classes"):
        best_threshold([1.0, 2.0], [False, False])


def test_the_floors_find_bright_squares(samples: list[Sample]) -> None:
    for score in (image_deviation, PatchNeighbours(samples[:2])):
        found = metrics.summary(by_score(score, samples, samples))
        assert (found["balanced_accuracy"], found["auroc"], found["unreadable"]) == (1.0, 1.0, 0.0)


def test_a_remembered_patch_has_no_distance(samples: list[Sample]) -> None:
    normal, square = samples[0], samples[3]
    neighbours = PatchNeighbours([normal])
    assert neighbours(normal) == 0
    assert neighbours(square) > 5


def test_patches_of_an_image_smaller_than_one(samples: list[Sample], tmp_path: Path) -> None:
    Image.fromarray(np.full((9, 30), 100, dtype=np.uint8)).save(tmp_path / "flat.png")
    flat = replace(samples[0], image=tmp_path / "flat.png", stated_size=(30, 9))
    assert image_deviation(flat) == 0
    assert PatchNeighbours([flat])(flat) == 0


def test_always_anomalous_rejects_everything(samples: list[Sample]) -> None:
    found = metrics.summary(AlwaysAnomalous()(samples))
    assert (found["overkill"], found["miss"], found["balanced_accuracy"], found["auroc"]) == (1.0, 0.0, 0.5, 0.5)


def test_every_baseline_predicts_the_same_samples(samples: list[Sample]) -> None:
    rows, notes = baseline_predictions(list(BASELINES), samples, samples, samples[:2])
    assert set(rows) == {
        *("always_normal", "always_anomalous", "trivial_detector", "image_deviation", "patch_neighbours"),
    }
    assert notes == []
    found = {name: metrics.summary(row, boxes=False)["balanced_accuracy"] for name, row in rows.items()}
    assert found == {name: 0.5 if name.startswith("always") else 1.0 for name in rows}


def test_a_baseline_that_cannot_run_says_why(samples: list[Sample]) -> None:
    rows, notes = baseline_predictions(["always_normal", "image_deviation"], samples, samples[:2], [])
    assert set(rows) == {"always_normal"}
    assert notes[0].startswith("No baseline image_deviation: ")
    assert "both classes" in notes[0]
    _, notes = baseline_predictions(["patch_neighbours"], samples, samples, [])
    assert "no normal sample" in notes[0]


def test_an_unknown_baseline_is_a_config_error(samples: list[Sample]) -> None:
    with pytest.raises(ConfigError, match="magic is not known; choose among always_normal"):
        baseline_predictions(["always_normal", "magic"], samples, [], [])


def test_neighbours_need_normal_samples() -> None:
    with pytest.raises(DataError, match="no normal sample"):
        PatchNeighbours([])
