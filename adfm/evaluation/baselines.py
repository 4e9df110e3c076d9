"""What a model must beat: detectors without a model, as predictions, so that they stand in the same table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float
from scipy.ndimage import laplace
from scipy.spatial import KDTree
from skimage.filters import sobel
from skimage.util import view_as_windows

from adfm.data.images import read_image
from adfm.errors import ConfigError, DataError
from adfm.evaluation.prediction import Prediction, labels
from adfm.types import Sample


class AlwaysNormal:
    """Call every image normal."""

    name = "always_normal"
    called = False

    def __call__(self, samples: Sequence[Sample]) -> list[Prediction]:
        """Predict every sample, with the same score for all."""
        return [Prediction(**labels(sample), predicted=self.called, score=0.0) for sample in samples]


class AlwaysAnomalous(AlwaysNormal):
    """Call every image anomalous."""

    name = "always_anomalous"
    called = True


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


def by_score(
    score: Callable[[Sample], float], choosing: Sequence[Sample], samples: Sequence[Sample]
) -> list[Prediction]:
    """Predict samples by a score alone, at the threshold that is best on other samples.

    Raises:
        DataError: those other samples are all of one class.
    """
    threshold = best_threshold([score(sample) for sample in choosing], [sample.anomalous for sample in choosing])
    scored = [Prediction(**labels(sample), predicted=None, score=score(sample)) for sample in samples]
    return thresholded(scored, threshold)


class PatchNeighbours:
    """How far the strangest patch of an image lies from its nearest neighbour among patches of normal images.

    PatchCore (arXiv 2106.08265) with features made by hand in place of a network's: of each 16 x 16 patch the mean, the
    standard deviation, the smallest and the largest grey value, and mean and deviation of gradient and Laplacian; each
    divided by its deviation over the normal patches. It is a floor: what needs no learning at all.

    Args:
        normals: Normal samples of the training part.
        most: Patches that are kept, drawn at random.
        seed: Of that draw.
    """

    size = 16
    stride = 8

    def __init__(self, normals: Sequence[Sample], *, most: int = 20_000, seed: int = 0) -> None:
        if not normals:
            raise DataError("the train part has no normal sample whose patches could be remembered")
        each = -(-most // len(normals))
        rng = np.random.default_rng(seed)
        drawn = [rng.permutation(self._features(sample))[:each] for sample in normals]
        patches = np.concatenate(drawn)
        self._scale = np.maximum(patches.std(axis=0), 1e-9)
        self._tree = KDTree(patches / self._scale)

    def __call__(self, sample: Sample) -> float:
        """Return the anomaly score of a sample: a distance in standard deviations."""
        distances, _ = self._tree.query(self._features(sample) / self._scale)
        return float(np.max(distances))

    def _features(self, sample: Sample) -> Float[np.ndarray, "patch feature"]:
        grey = _grey(sample)
        if short := max(0, self.size - min(grey.shape)):
            grey = np.pad(grey, ((0, short), (0, short)), mode="reflect")
        window = (self.size, self.size)
        images = (grey, sobel(grey), laplace(grey))
        cut = [view_as_windows(image, window, self.stride).reshape(-1, self.size**2) for image in images]
        found = [part for patches in cut for part in (patches.mean(1), patches.std(1))]
        return np.stack([*found, cut[0].min(1), cut[0].max(1)], axis=1)


def image_deviation(sample: Sample) -> float:
    """Standard deviation of the grey image, in grey values (0 to 255)."""
    return float(_grey(sample).std())


def largest_laplacian(sample: Sample) -> float:
    """Largest absolute Laplacian of the grey image, in grey values (0 to 255)."""
    return float(np.abs(laplace(_grey(sample))).max())


def _grey(sample: Sample) -> Float[np.ndarray, "height width"]:
    return np.asarray(read_image(sample.image).convert("L"), dtype=np.float64)


def thresholded(predictions: Sequence[Prediction], threshold: float) -> list[Prediction]:
    """Let the score decide in place of the verdict: anomalous at `threshold` or above."""
    return [replace(one, predicted=one.ranked_by >= threshold) for one in predictions]


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


Baseline = Callable[[Sequence[Sample], Sequence[Sample], Sequence[Sample]], list[Prediction]]
"""What predicts samples, given others to choose a threshold on and normal ones of the training part."""

BASELINES: Mapping[str, Baseline] = {
    AlwaysNormal.name: lambda samples, choosing, normals: AlwaysNormal()(samples),
    AlwaysAnomalous.name: lambda samples, choosing, normals: AlwaysAnomalous()(samples),
    TrivialDetector.name: lambda samples, choosing, normals: TrivialDetector.fit(choosing)(samples),
    "image_deviation": lambda samples, choosing, normals: by_score(image_deviation, choosing, samples),
    "patch_neighbours": lambda samples, choosing, normals: by_score(PatchNeighbours(normals), choosing, samples),
}
"""Name in the config to baseline. The untrained model is no baseline but the column `before`."""


def baseline_predictions(
    names: Sequence[str], samples: Sequence[Sample], choosing: Sequence[Sample], normals: Sequence[Sample]
) -> tuple[dict[str, list[Prediction]], list[str]]:
    """Predict with the baselines of these names; the second part says why one of them is missing.

    Args:
        names: Keys of `BASELINES`.
        samples: What is evaluated.
        choosing: Other samples, for thresholds; of both classes.
        normals: Normal samples of the training part.

    Raises:
        ConfigError: there is no baseline of a name.
    """
    if unknown := [name for name in names if name not in BASELINES]:
        raise ConfigError(f"baselines: {', '.join(unknown)} is not known; choose among {', '.join(BASELINES)}")
    rows, notes = {}, []
    for name in names:
        try:
            rows[name] = BASELINES[name](samples, choosing, normals)
        except DataError as error:
            notes.append(f"No baseline {name}: {error}")
    return rows, notes
