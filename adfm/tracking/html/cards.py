"""What was said about one image, as the gallery shows it: by one completion, by several draws, or by a whole group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from statistics import fmean
from typing import Any

from adfm.evaluation import localization
from adfm.evaluation.prediction import Prediction
from adfm.tracking.html.layers import is_empty
from adfm.tracking.html.mentions import written_in
from adfm.types import Box

KINDS = ("error", "unread", "miss", "false alarm", "wrong letter", "bad box", "anomalous", "right", "normal")
"""Failures first. `anomalous` and `normal` are verdicts on images whose truth is not known."""
LAYERS = {"true-box": "true boxes", "box": "predicted boxes", "true-mask": "true mask", "mask": "predicted mask"}
LEAST_IOU = 0.1
"""A box whose IoU with the truth is below this does not show where the defect is."""
MOST_TEXT = 12_000
"""Characters of all completions of a card; what is longer is cut, and said to be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One completion and how it was read; boxes in pixels of the original image."""

    kind: str
    """How it failed, or that it is right: one of `KINDS`."""
    verdict: bool | None
    boxes: Sequence[Box] = ()
    written: Sequence[Box] = ()
    """The boxes as the text names them, in the same order; empty where they cannot be told."""
    confidences: Sequence[float] = ()
    mask: Mapping[str, Any] | None = None
    """Predicted pixels as COCO RLE."""
    named_type: str | None = None
    letter: str | None = None
    stages: Mapping[str, str | None] = field(default_factory=dict)
    text: str = ""
    reasons: Sequence[str] = ()
    truncated: bool = False
    rewards: Mapping[str, float] = field(default_factory=dict)
    total: float | None = None
    """Weighted reward; None where none was given."""
    score: float | None = None
    """Anomaly score; None where none was computed."""
    probability: float | None = None
    box_iou: float | None = None
    """Box-mask IoU; None where no box was asked for or there is nothing to find."""

    @property
    def shown(self) -> list[tuple[str, str | None]]:
        """Give the stages with their texts, or the whole completion where no stage of it could be read."""
        return list(self.stages.items()) if any(self.stages.values()) else [("completion", self.text)]

    def cut(self, most: int) -> list[tuple[str, str | None]]:
        """Give what is shown, cut where it is longer than `most` characters together."""
        found: list[tuple[str, str | None]] = []
        for stage, whole in self.shown:
            text = None if whole is None else whole.strip()
            if text is not None and len(text) > most:
                text = f"{text[:most]} … ({len(text) - most} more characters in the file)"
            most = max(0, most - len(text or ""))
            found.append((stage, text))
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One image, what is true of it, and everything that was said about it."""

    id: str
    image: str
    width: int
    height: int
    category: str = ""
    truth: bool | None = None
    """Whether it is anomalous; None where nobody knows."""
    defect_type: str | None = None
    true_boxes: Sequence[Box] = ()
    true_mask: Mapping[str, Any] | None = None
    question: Mapping[str, Any] | None = None
    """As `Prediction.question`."""
    main: Said | None = None
    """The verdict; None for a group of completions, none of which is the answer."""
    others: Sequence[Said] = ()
    """Draws behind the verdict, or the completions of a group."""
    notes: Sequence[str] = ()
    facets: Mapping[str, str] = field(default_factory=dict)
    """Further facets that it can be filtered by."""

    @property
    def kinds(self) -> list[str]:
        """Name its kind, or those of the completions of a group."""
        said = [self.main] if self.main else self.others
        return [kind for kind in KINDS if any(one.kind == kind for one in said)]

    @property
    def totals(self) -> list[float]:
        """Give the rewards of the verdict, or of the completions of a group."""
        said = [self.main] if self.main else self.others
        return [one.total for one in said if one.total is not None]

    @property
    def layers(self) -> dict[str, str]:
        """Name the layers that it has."""
        said = [*([self.main] if self.main else []), *self.others]
        there = {
            "true-box": bool(self.true_boxes),
            "box": any(one.boxes for one in said),
            "true-mask": self.true_mask is not None,
            "mask": any(one.mask is not None and not is_empty(one.mask) for one in said),
        }
        return {name: words for name, words in LAYERS.items() if there[name]}

    @property
    def share(self) -> int:
        """How many characters each completion has."""
        return MOST_TEXT // max(1, len(self.others) + (self.main is not None))


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


def chosen(cards: Sequence[Card], most: int) -> list[Card]:
    """Choose at most `most` cards, as evenly over the kinds as there are, and put failures first, worst first."""
    worst_first = sorted(cards, key=_badness)
    piles = [[card for card in worst_first if _worst(card) == place] for place in range(len(KINDS) + 1)]
    dealt = [card for layer in zip_longest(*piles) for card in layer if card is not None][:most]
    return sorted(dealt, key=lambda card: (_worst(card), _badness(card)))


def _worst(card: Card) -> int:
    return KINDS.index(card.kinds[0]) if card.kinds else len(KINDS)


def _badness(card: Card) -> tuple[float, float]:
    """Order by reward, or where there is none by how sure the score was of the wrong side; unknown ones by score."""
    score = card.main.score if card.main and card.main.score is not None else 0.0
    wrong_side = score if card.truth else -score
    return (fmean(card.totals) if card.totals else 0.0, wrong_side)
