"""What a model must beat: detectors without a model, as predictions, so that they stand in the same table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.ndimage import laplace

from adfm.data.images import read_image
from adfm.errors import DataError
from adfm.evaluation.prediction import Prediction, labels
from adfm.types import Sample


class AlwaysNormal:
    """Call every image normal."""

    name = "always_normal"

    def __call__(self, samples: Sequence[Sample]) -> list[Prediction]:
        """Predict every sample, with the same score for all."""
        return [Prediction(**labels(sample), predicted=False, score=0.0) for sample in samples]


class TrivialDetector:
    """Call an image anomalous where its grey values bend most sharply: the score is the largest absolute Laplacian.

    Where this does well, a defect is visible without understanding the surface and the data set is too easy (users.md,
    6.3).
    """

    name = "trivial_detector"

    def __init__(self, threshold: float) -> None:
        """Call images with at least `threshold` anomalous; see `fit`."""
        self.threshold = threshold

    @classmethod
    def fit(cls, samples: Sequence[Sample]) -> TrivialDetector:
        """Choose the threshold on samples that are not the test part."""
        return cls(
            best_threshold([largest_laplacian(sample) for sample in samples], [sample.anomalous for sample in samples])
        )

    def __call__(self, samples: Sequence[Sample]) -> list[Prediction]:
        """Predict every sample."""
        return thresholded(
            [Prediction(**labels(sample), predicted=None, score=largest_laplacian(sample)) for sample in samples],
            self.threshold,
        )


def largest_laplacian(sample: Sample) -> float:
    """Largest absolute Laplacian of the grey image, in grey values (0 to 255)."""
    grey = np.asarray(read_image(sample.image).convert("L"), dtype=np.float64)
    return float(np.abs(laplace(grey)).max())


def thresholded(predictions: Sequence[Prediction], threshold: float) -> list[Prediction]:
    """Let the score decide in place of the verdict: anomalous at `threshold` or above."""
    return [replace(one, predicted=one.score >= threshold) for one in predictions]


def best_threshold(scores: Sequence[float], anomalous: Sequence[bool]) -> float:
    """Choose the score from which on to call samples anomalous, for the best balanced accuracy; the lowest of equals.

    Raises:
        DataError: one of the two classes is missing, so there is nothing to balance.

    >>> best_threshold([1.0, 2.0, 3.0, 4.0], [False, False, True, True])
    3.0
    """
    values, truth = np.asarray(scores, dtype=np.float64), np.asarray(anomalous, dtype=bool)
    if truth.all() or not truth.any():
        raise DataError("a threshold can only be chosen on samples of both classes: the val part lacks one of them")
    candidates = np.append(np.unique(values), np.nextafter(values.max(), np.inf))
    found = 1 - np.searchsorted(np.sort(values[truth]), candidates) / truth.sum()
    spared = np.searchsorted(np.sort(values[~truth]), candidates) / (~truth).sum()
    return float(candidates[np.argmax(found + spared)])
