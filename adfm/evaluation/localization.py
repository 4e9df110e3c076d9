"""How well predicted boxes find the defect: box-mask IoU, and average precision by pycocotools."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from pycocotools import mask as coco
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from adfm.types import Box

THRESHOLDS = (0.1, 0.3, 0.5)
"""IoU at which a defect counts as found; low ones, because where a defect ends is a matter of taste (AD-Copilot)."""


def boxes_mask(boxes: Sequence[Box], *, width: int, height: int) -> Bool[np.ndarray, "height width"]:
    """Rasterise the union of boxes: a pixel is in a box if its centre is. What lies outside the image is cut off."""
    mask = np.zeros((height, width), dtype=bool)
    for place in box_slices(boxes, width=width, height=height):
        mask[place] = True
    return mask


def box_slices(boxes: Sequence[Box], *, width: int, height: int) -> list[tuple[slice, slice]]:
    """Return the rows and columns of the pixels in each box, as `boxes_mask` counts them."""
    return [
        (slice(_first(y0, height), _first(y1, height)), slice(_first(x0, width), _first(x1, width)))
        for x0, y0, x1, y1 in boxes
    ]


def box_mask_iou(predicted: Sequence[Box], true: Sequence[Box], *, width: int, height: int) -> float:
    """IoU of the union of all predicted boxes with the union of all true boxes, in pixels of the original image.

    It does not depend on how a defect is cut into boxes (AD-Copilot's box-mask IoU).

    Raises:
        ValueError: no true box covers a pixel; without a true place the IoU is not defined.
    """
    return mask_iou(predicted, boxes_mask(true, width=width, height=height))


def mask_iou(predicted: Sequence[Box], true: Bool[np.ndarray, "height width"]) -> float:
    """IoU of the union of all predicted boxes with the true mask.

    Raises:
        ValueError: the true mask is empty.
    """
    if not true.any():
        raise ValueError("the true mask is empty, so an IoU with it is not defined")
    height, width = true.shape
    mask = boxes_mask(predicted, width=width, height=height)
    return float(np.count_nonzero(mask & true) / np.count_nonzero(mask | true))


def average_precision(
    predicted: Sequence[Sequence[Box]], scores: Sequence[Sequence[float]], true: Sequence[Sequence[Box]]
) -> dict[float, float | None]:
    """Average precision of boxes at each of `THRESHOLDS`, by COCOeval (101 recall points, at most 100 boxes an image).

    `scores` has one for each predicted box of each image. There is one class, the defect. None where there is no true
    box. Boxes without an area are dropped, as they can match nothing.
    """
    if not any(true):
        return dict.fromkeys(THRESHOLDS)
    found = [
        {"image_id": image, "category_id": 1, "bbox": corner_and_size(box), "score": score}
        for image, (boxes, of_boxes) in enumerate(zip(predicted, scores, strict=True), start=1)
        for box, score in zip(boxes, of_boxes, strict=True)
        if has_area(box)
    ]
    if not found:
        return dict.fromkeys(THRESHOLDS, 0.0)
    with contextlib.redirect_stdout(io.StringIO()):
        truth: Any = COCO()
        truth.dataset = _annotations(true)
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(found), "bbox")
        evaluation.params.iouThrs = np.array(THRESHOLDS)
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, float("inf")]], ["all"]
        evaluation.params.maxDets = [100]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, 0, 0, 0]
    return {threshold: float(row.mean()) for threshold, row in zip(THRESHOLDS, precision, strict=True)}


def _annotations(true: Sequence[Sequence[Box]]) -> dict[str, Any]:
    """COCO's ground truth. Ids count from 1: COCOeval reads the id 0 as "not matched"."""
    places = [(image, box) for image, boxes in enumerate(true, start=1) for box in boxes]
    annotations = [
        {
            "id": number,
            "image_id": image,
            "category_id": 1,
            "bbox": corner_and_size(box),
            "area": (box[2] - box[0]) * (box[3] - box[1]),
            "iscrowd": 0,
        }
        for number, (image, box) in enumerate(places, start=1)
    ]
    images = [{"id": image} for image in range(1, len(true) + 1)]
    return {"info": {}, "images": images, "annotations": annotations, "categories": [{"id": 1, "name": "defect"}]}


def overlaps(some: Sequence[Box], others: Sequence[Box]) -> Float[np.ndarray, "some other"]:
    """IoU of each box with each other one; 0 for one without an area."""
    if not some or not others:
        return np.zeros((len(some), len(others)))
    sides: list[Any] = [np.array([corner_and_size(box) for box in side], np.float64) for side in (some, others)]
    return np.array(coco.iou(sides[0], sides[1], [0] * len(others)))


def has_area(box: Box) -> bool:
    """Whether a box encloses anything."""
    return box[2] > box[0] and box[3] > box[1]


def corner_and_size(box: Box) -> list[float]:
    """Return `[x, y, width, height]`, as COCO writes boxes."""
    x0, y0, x1, y1 = box
    return [x0, y0, x1 - x0, y1 - y0]


def _first(edge: float, size: int) -> int:
    """First pixel whose centre is not below `edge`."""
    return math.ceil(min(max(edge, 0.0), float(size)) - 0.5)
