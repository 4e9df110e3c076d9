"""Cards of the files that runs leave: `predictions.jsonl` of an evaluation, `samples/*.jsonl` of a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from adfm.evaluation import localization
from adfm.evaluation.prediction import Prediction
from adfm.tracking.html.cards import Card, Said
from adfm.tracking.html.mentions import written_in
from adfm.types import Box

LEAST_IOU = 0.1
"""A box whose IoU with the truth is below this does not show where the defect is."""


def of_predictions(
    predictions: Sequence[Prediction], masks: Mapping[str, Mapping[str, Any]] | None = None
) -> list[Card]:
    """Make cards of the lines of `predictions.jsonl`; `masks` are the true ones as COCO RLE, by id."""
    asked = any(one.boxes for one in predictions)  # else the template asks for none, and their absence is no failure
    return [_of_prediction(one, (masks or {}).get(one.id), asked) for one in predictions]


def _of_prediction(one: Prediction, mask: Mapping[str, Any] | None, asked: bool) -> Card:
    iou = _box_iou(one.boxes, one.true_boxes, one.width, one.height) if asked else None
    right = one.answer_letter == one.question["key"] if one.question and not one.decides else None
    main = Said(
        kind=kind_of(one.anomalous, one.predicted, iou) if right is None else _letter_kind(one.answer_letter, right),
        verdict=one.predicted,
        boxes=one.boxes,
        written=one.boxes_written or written_in([one.text], len(one.boxes)),
        confidences=one.confidences,
        mask=one.mask,
        named_type=one.named_type,
        letter=one.answer_letter,
        stages=one.stages,
        text=one.text,
        reasons=one.reasons,
        rewards={name: value for name, value in one.rewards.items() if name != "total"},
        total=one.rewards.get("total"),
        score=one.score,
        probability=one.probability,
        box_iou=iou,
    )
    draws = [
        Said(
            kind=kind_of(one.anomalous, draw.predicted, None),
            verdict=draw.predicted,
            boxes=draw.boxes,
            written=written_in([draw.text], len(draw.boxes)),
            text=draw.text,
        )
        for draw in one.draws
    ]
    return Card(
        id=one.id,
        image=one.image,
        width=one.width,
        height=one.height,
        category=one.category,
        truth=one.anomalous,
        defect_type=one.defect_type,
        true_boxes=one.true_boxes,
        true_mask=mask,
        question=one.question,
        main=main,
        others=draws,
        facets={name: str(value) for name, value in one.attributes.items() if isinstance(value, str)},
    )


def of_sample_rows(rows: Sequence[Mapping[str, Any]]) -> list[Card]:
    """Make a card of each prompt in the lines of `samples/*.jsonl`, which `Gallery` writes."""
    asked = any(row["boxes"] for row in rows)
    prompts = {row["prompt"]: row for row in rows}
    return [
        Card(
            id=prompt,
            image=first["image"],
            width=first["width"],
            height=first["height"],
            category=first["category"],
            truth=first["anomalous"],
            defect_type=first["defect_type"],
            true_boxes=[tuple(box) for box in first["true_boxes"]],
            others=[_of_row(row, asked) for row in rows if row["prompt"] == prompt],
        )
        for prompt, first in prompts.items()
    ]


def _of_row(row: Mapping[str, Any], asked: bool) -> Said:
    boxes, true = ([tuple(box) for box in row[name]] for name in ("boxes", "true_boxes"))
    iou = _box_iou(boxes, true, row["width"], row["height"]) if asked else None
    return Said(
        kind=kind_of(row["anomalous"], row["verdict"], iou),
        boxes=boxes,
        written=[tuple(box) for box in row.get("boxes_written", ())] or written_in([row["completion"]], len(boxes)),
        text=row["completion"],
        letter=row["answer_letter"],
        box_iou=iou,
        **{name: row[name] for name in ("verdict", "stages", "reasons", "truncated", "rewards", "total")},
    )


def kind_of(truth: bool, verdict: bool | None, box_iou: float | None) -> str:
    """Say how a verdict failed, or that it is right."""
    if verdict is None:
        return "unread"
    if verdict != truth:
        return "miss" if truth else "false alarm"
    return "bad box" if truth and box_iou is not None and box_iou < LEAST_IOU else "right"


def _letter_kind(letter: str | None, right: bool) -> str:
    return "unread" if letter is None else "right" if right else "wrong letter"


def _box_iou(boxes: Sequence[Box], true_boxes: Sequence[Box], width: int, height: int) -> float | None:
    true = localization.boxes_mask(true_boxes, width=width, height=height)
    return localization.mask_iou(boxes, true) if true.any() else None
