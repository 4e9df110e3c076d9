"""What was said about one image, as the gallery shows it: by one completion, by several draws, or by a whole group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from statistics import fmean
from typing import Any

from adfm.tracking.html.layers import is_empty
from adfm.types import Box

KINDS = ("error", "unread", "miss", "false alarm", "wrong letter", "bad box", "anomalous", "right", "normal")
"""Failures first. `anomalous` and `normal` are verdicts on images whose truth is not known."""
LAYERS = {"true-box": "true boxes", "box": "predicted boxes", "true-mask": "true mask", "mask": "predicted mask"}
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
