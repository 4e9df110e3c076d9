"""Predictions as columns: what became of each sample. Every metric but the average precision of boxes is made of them.

Images are looked at here alone, and once: each column is a number for each sample, whatever the size of its image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from adfm.evaluation import explanations, localization, named_types, pixels
from adfm.evaluation.pixels import PixelCounts
from adfm.evaluation.prediction import Prediction
from adfm.evaluation.truth import Truth


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """What became of each sample, as columns; NaN where a sample has no part in a metric."""

    truth: Bool[np.ndarray, " sample"]
    called: Bool[np.ndarray, " sample"]
    """Called anomalous. An unreadable verdict counts as the wrong class: as a miss or as overkill."""
    unreadable: Bool[np.ndarray, " sample"]
    failed: Bool[np.ndarray, " sample"]
    """Something of the completion could not be read: a box, a stage or the verdict."""
    score: Float[np.ndarray, " sample"]
    probability: Float[np.ndarray, " sample"]
    """The calibrated one."""
    box_iou: Float[np.ndarray, " sample"]
    """NaN where there is no true box."""
    mask_iou: Float[np.ndarray, " sample"]
    """Of boxes with the true mask; NaN where there is none."""
    segmentation_iou: Float[np.ndarray, " sample"]
    """Of the predicted mask with the true one."""
    segmentation_dice: Float[np.ndarray, " sample"]
    regions: Float[np.ndarray, " sample"]
    """Number of true regions; NaN where they are not known."""
    regions_found: Float[np.ndarray, "sample threshold"]
    """How many of them a box finds at each of `regions.THRESHOLDS`, then how many are covered."""
    pixels: PixelCounts | str
    """How the pixels of each sample are ranked, or why they are not."""
    type_right: Float[np.ndarray, " sample"]
    """Whether the true defect type is named; NaN for a normal sample or one of unknown type."""
    rouge_l: Float[np.ndarray, " sample"]
    boxes_agree: Float[np.ndarray, " sample"]
    """Whether boxes are given if, and only if, the sample is called anomalous; NaN for an unreadable verdict."""
    letters_agree: Float[np.ndarray, " sample"]
    """Whether the reasoning concludes with the letter of the answer; NaN without one of the two."""
    places_agree: Float[np.ndarray, " sample"]
    """Share of the boxes in the part of the image that the text names; NaN without a box or a named place."""
    reward: Float[np.ndarray, " sample"]
    """Total; NaN where no reward was given."""
    image: Int[np.ndarray, " sample"]
    """Number of its image, from 0; samples of one image are resampled together."""

    def take(self, index: Int[np.ndarray, " taken"]) -> Outcomes:
        """Keep the samples at `index`."""
        values: dict[str, Any] = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        taken: dict[str, Any] = {name: one if isinstance(one, str) else one[index] for name, one in values.items()}
        return Outcomes(**taken)


def columns(predictions: Sequence[Prediction], *, boxes: bool = True, truth: Truth | None = None) -> Outcomes:
    """Lay predictions out as columns.

    Without `boxes` nothing is known of where a defect was seen; without `truth`, which gives the true mask of a
    prediction, nothing of pixels and regions.
    """
    numbers: dict[str, int] = {}
    known: dict[str, Any] = {
        "truth": np.array([p.anomalous for p in predictions]),
        "called": np.array([not p.anomalous if p.predicted is None else p.predicted for p in predictions]),
        "unreadable": np.array([p.predicted is None for p in predictions]),
        "failed": np.array([bool(p.reasons) or p.predicted is None for p in predictions]),
        "score": _numbers([p.score for p in predictions]),
        "probability": _numbers([p.probability for p in predictions]),
        "reward": _numbers([p.rewards.get("total") for p in predictions]),
        "image": np.array([numbers.setdefault(p.image, len(numbers)) for p in predictions]),
        "type_right": _numbers(named_types.right(predictions)),
        "rouge_l": _numbers([explanations.rouge_l(p) for p in predictions]),
        "letters_agree": _numbers([explanations.letters_agree(p) for p in predictions]),
    }
    of_boxes: dict[str, Callable[[Prediction], float | None]] = {
        "box_iou": _box_iou,
        "mask_iou": lambda p: p.mask_iou,
        "boxes_agree": explanations.boxes_agree,
        "places_agree": explanations.places_agree,
    }
    known |= {
        name: _numbers([measure(p) if boxes else None for p in predictions]) for name, measure in of_boxes.items()
    }
    return Outcomes(**known, **pixels.columns(predictions, boxes=boxes, truth=truth))


def _numbers(values: Sequence[float | bool | None]) -> Float[np.ndarray, " sample"]:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _box_iou(prediction: Prediction) -> float | None:
    size = {"width": prediction.width, "height": prediction.height}
    if not prediction.anomalous or not localization.boxes_mask(prediction.true_boxes, **size).any():
        return None
    return localization.box_mask_iou(prediction.boxes, prediction.true_boxes, **size)
