"""How well what was predicted lies on the defect: boxes, true regions, masks and the ranking of pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from adfm.evaluation.bootstrap import STATISTICS
from adfm.evaluation.estimates import (
    NO_SCORE,
    NO_TRUE_BOX,
    NO_TRUE_MASK,
    Estimate,
    mean_of,
    undefined,
)
from adfm.evaluation.localization import THRESHOLDS, average_precision
from adfm.evaluation.outcomes import Outcomes
from adfm.evaluation.prediction import Prediction
from adfm.evaluation.regions import NO_REGION, REGIONS

BOXES = (
    *("box_iou", "mask_iou"),
    *(f"box_acc_{threshold}" for threshold in THRESHOLDS),
    *(f"box_ap_{threshold}" for threshold in THRESHOLDS),
    *REGIONS,
)
MASKS = ("segmentation_iou", "segmentation_dice", "pixel_auroc", "aupro")
NO_MASK = "no mask was predicted, or no true mask was read"
BY_CONFIDENCE = "confidence of the box"
BY_IMAGE = "anomaly score of the image"


def boxes_placed(predictions: Sequence[Prediction], outcomes: Outcomes) -> dict[str, Estimate]:
    """Measure the boxes. Averages of IoU are over anomalous samples, the recall is over their regions."""
    found = {
        "box_iou": mean_of(outcomes.box_iou, NO_TRUE_BOX),
        "mask_iou": mean_of(outcomes.mask_iou, NO_TRUE_MASK),
    }
    placed = outcomes.box_iou[~np.isnan(outcomes.box_iou)]
    for threshold in THRESHOLDS:
        found[f"box_acc_{threshold}"] = mean_of((placed >= threshold).astype(float), NO_TRUE_BOX)
    found |= {f"box_ap_{threshold}": one for threshold, one in _average_precision(predictions).items()}
    return found | {name: _statistic(name, outcomes, NO_REGION) for name in REGIONS}


def masks_placed(outcomes: Outcomes) -> dict[str, Estimate]:
    """Measure predicted masks on anomalous samples, and the ranking of the pixels of all."""
    pixels = outcomes.pixels if isinstance(outcomes.pixels, str) else NO_TRUE_MASK
    return {
        "segmentation_iou": mean_of(outcomes.segmentation_iou, NO_MASK),
        "segmentation_dice": mean_of(outcomes.segmentation_dice, NO_MASK),
        "pixel_auroc": _statistic("pixel_auroc", outcomes, pixels),
        "aupro": _statistic("aupro", outcomes, pixels),
    }


def _statistic(metric: str, outcomes: Outcomes, reason: str) -> Estimate:
    """Take a metric whose value is the statistic itself, every sample drawn once."""
    value = float(STATISTICS[metric](outcomes, np.ones((1, len(outcomes.truth))))[0])
    return undefined(reason) if np.isnan(value) else {"value": value}


def _average_precision(predictions: Sequence[Prediction]) -> dict[float, Estimate]:
    """Rank boxes by their confidences; where some have none, each by its image's score. `ranked_by` says which."""
    scores: list[Sequence[float]] = []
    by_image = not any(p.boxes for p in predictions) or any(len(p.confidences) != len(p.boxes) for p in predictions)
    if by_image and any(p.score is None for p in predictions):
        return dict.fromkeys(THRESHOLDS, undefined(NO_SCORE))
    for one in predictions:
        scores.append([one.ranked_by] * len(one.boxes) if by_image else one.confidences)
    found = average_precision([p.boxes for p in predictions], scores, [p.true_boxes for p in predictions])
    ranked_by = BY_IMAGE if by_image else BY_CONFIDENCE
    return {
        threshold: undefined(NO_TRUE_BOX) if value is None else {"value": value, "ranked_by": ranked_by}
        for threshold, value in found.items()
    }
