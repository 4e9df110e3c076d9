"""What was predicted about one image, as the gallery shows it."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import zip_longest
from pathlib import Path
from typing import Any

from adfm.data.images import read_image
from adfm.errors import DataError
from adfm.evaluation import localization
from adfm.evaluation.prediction import Prediction
from adfm.types import Box

KINDS = ("unread", "miss", "false alarm", "bad box", "right")
"""Failures first."""
LEAST_IOU = 0.1
"""A box whose IoU with the truth is below this does not show where the defect is."""
LONGEST_SIDE = 320


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One completion about one image; boxes in pixels of the original image."""

    id: str
    image: str
    width: int
    height: int
    category: str
    anomalous: bool
    defect_type: str | None
    verdict: bool | None
    true_boxes: Sequence[Box]
    boxes: Sequence[Box]
    stages: Mapping[str, str | None]
    completion: str
    reasons: Sequence[str]
    truncated: bool
    rewards: Mapping[str, float]
    total: float | None
    score: float | None
    """Anomaly score; None where none was computed."""
    box_iou: float | None
    """Box-mask IoU; None where no box was asked for or there is nothing to find."""

    @property
    def kind(self) -> str:
        """Say how the prediction failed, or that it is right."""
        if self.verdict is None:
            return "unread"
        if self.verdict != self.anomalous:
            return "miss" if self.anomalous else "false alarm"
        if self.anomalous and self.box_iou is not None and self.box_iou < LEAST_IOU:
            return "bad box"
        return "right"

    @property
    def unstaged(self) -> str | None:
        """The whole completion where no stage of it could be read, else None."""
        return None if any(self.stages.values()) else self.completion


def of_predictions(predictions: Sequence[Prediction]) -> list[Card]:
    """Make cards of the lines of `predictions.jsonl`."""
    found = [
        Card(
            **{name: getattr(prediction, name) for name in _LABELS},
            verdict=prediction.predicted,
            completion=prediction.text,
            truncated=False,
            rewards={name: value for name, value in prediction.rewards.items() if name != "total"},
            total=prediction.rewards.get("total"),
            score=prediction.score,
            box_iou=_box_iou(prediction.boxes, prediction.true_boxes, prediction.width, prediction.height),
        )
        for prediction in predictions
    ]
    return _without_unasked_boxes(found)


def of_sample_rows(rows: Sequence[Mapping[str, Any]]) -> list[Card]:
    """Make cards of the lines of `samples/*.jsonl`, which `Gallery` writes."""
    return _without_unasked_boxes([_of_sample_row(row) for row in rows])


def _of_sample_row(row: Mapping[str, Any]) -> Card:
    same = (*_LABELS, "verdict", "completion", "truncated", "rewards", "total")
    boxes = {name: [tuple(box) for box in row[name]] for name in ("true_boxes", "boxes")}
    found: dict[str, Any] = {name: row[name] for name in same if name != "id"} | boxes
    iou = _box_iou(boxes["boxes"], boxes["true_boxes"], row["width"], row["height"])
    return Card(**found, id=row["prompt"], score=None, box_iou=iou)


_LABELS = (
    *("id", "image", "width", "height", "category", "anomalous", "defect_type"),
    *("true_boxes", "boxes", "stages", "reasons"),
)
"""Fields that a card shares with a prediction and with a sample row."""


def _box_iou(boxes: Sequence[Box], true_boxes: Sequence[Box], width: int, height: int) -> float | None:
    true = localization.boxes_mask(true_boxes, width=width, height=height)
    return localization.mask_iou(boxes, true) if true.any() else None


def _without_unasked_boxes(found: list[Card]) -> list[Card]:
    """Where no completion has a box at all, the template asks for none, and their absence is no failure."""
    asked = any(card.boxes for card in found)
    return found if asked else [replace(card, box_iou=None) for card in found]


def chosen(cards: Sequence[Card], most: int) -> list[Card]:
    """Choose at most `most` cards, as evenly over the kinds as there are, and put failures first, worst first."""
    worst_first = sorted(cards, key=_badness)
    piles = [[card for card in worst_first if card.kind == kind] for kind in KINDS]
    dealt = [card for layer in zip_longest(*piles) for card in layer if card is not None][:most]
    return sorted(dealt, key=lambda card: (KINDS.index(card.kind), _badness(card)))


def counts(cards: Sequence[Card]) -> dict[str, int]:
    """Count the cards of each kind that occurs."""
    kinds = [card.kind for card in cards]
    return {kind: kinds.count(kind) for kind in KINDS if kind in kinds}


@lru_cache(maxsize=64)
def thumbnail(path: str) -> str | None:
    """Return the image as a small JPEG in a `data:` address; None if the file is gone or cannot be read."""
    try:
        small = read_image(Path(path))
    except DataError:
        return None
    small.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _badness(card: Card) -> tuple[float, float]:
    """Order by reward, or where there is none by how sure the score was of the wrong side."""
    wrong_side = 0.0 if card.score is None else (card.score if card.anomalous else -card.score)
    return (0.0 if card.total is None else card.total, wrong_side)
