"""Cards with what a page filters and sorts them by."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from adfm.tracking.html import cards
from adfm.tracking.html.cards import KINDS, LAYERS, Card

MOST_CARDS = 500
"""Images in one gallery; `page.MOST_BYTES` holds whatever their number."""
MOST_VALUES = 60
"""A facet with more values than that does not help anybody to find anything."""
FIRST = "failures first"
VERDICTS = {True: "anomalous", False: "normal", None: "unread"}
ORDERS = (
    ("reward", "reward", "lowest reward"),
    ("reward", "-reward", "highest reward"),
    ("spread", "-spread", "widest spread of rewards"),
    ("score", "-score", "highest score"),
    ("score", "score", "lowest score"),
    ("iou", "iou", "lowest box IoU"),
    ("iou", "-iou", "highest box IoU"),
)
"""The number that is needed, the key of the order, and its words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facet:
    """Something that cards differ in, and how many there are of each value."""

    name: str
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class GalleryView:
    """Cards with their words, and what there is to filter, sort and switch."""

    anchor: str
    short: str
    title: str
    note: str
    cards: Sequence[Card]
    total: int
    """How many there were before some were chosen."""
    kinds: Facet
    facets: Sequence[Facet]
    orders: Sequence[tuple[str, str]]
    reward: tuple[float, float] | None
    """Least and largest reward, where they differ."""
    layers: Mapping[str, str]
    unit: str = "image"
    first: str = FIRST
    """What the order is in which `cards` are."""

    def data(self, card: Card, place: int) -> str:
        """Say, for the script, what a card is filtered and sorted by."""
        values = {"kind": card.kinds} | {
            name: found
            for name, found in facet_values(card).items()
            if any(facet.name == name for facet in self.facets)
        }
        return json.dumps({"facets": values, "numbers": {"place": place, **numbers(card)}, "id": card.id})


def view(
    anchor: str, short: str, title: str, note: str, found: Sequence[Card], *, unit: str = "image", first: str = FIRST
) -> GalleryView:
    """Choose cards and say what they can be filtered and sorted by."""
    kept = cards.chosen(found, MOST_CARDS)
    values = [facet_values(card) for card in kept]
    names = list(dict.fromkeys(name for one in values for name in one))
    facets = [Facet(name=name, counts=_counted([one.get(name, []) for one in values])) for name in names]
    totals = [fmean(card.totals) for card in kept if card.totals]
    known = {name for card in kept for name in numbers(card)}
    return GalleryView(
        anchor=anchor,
        short=short,
        title=title,
        note=note,
        cards=kept,
        total=len(found),
        kinds=Facet(name="kind", counts=_counted([card.kinds for card in kept])),
        facets=[facet for facet in facets if 1 < len(facet.counts) <= MOST_VALUES],
        orders=[(key, words) for need, key, words in ORDERS if need in known],
        reward=(min(totals), max(totals)) if totals and min(totals) < max(totals) else None,
        layers={name: words for name, words in LAYERS.items() if any(name in card.layers for card in kept)},
        unit=unit,
        first=first,
    )


def facet_values(card: Card) -> dict[str, list[str]]:
    """Say what a card can be filtered by, beside its kind."""
    said = [card.main] if card.main else card.others
    found = {
        "category": [card.category] if card.category else [],
        "type": [] if card.truth is None else [card.defect_type or ("anomalous" if card.truth else "normal")],
        "verdict": list(dict.fromkeys(VERDICTS[one.verdict] for one in said if one.kind != "error")),
        "named type": list(dict.fromkeys(one.named_type for one in said if one.named_type)),
        "question": [card.question["kind"]] if card.question else [],
        "reason": list(dict.fromkeys(reason for one in said for reason in one.reasons)),
    }
    return {name: values for name, values in found.items() if values} | {
        name: [value] for name, value in card.facets.items()
    }


def numbers(card: Card) -> dict[str, float]:
    """Say what a card can be sorted by."""
    found = {
        "reward": fmean(card.totals) if card.totals else None,
        "spread": max(card.totals) - min(card.totals) if not card.main and card.totals else None,
        "score": card.main.score if card.main else None,
        "iou": card.main.box_iou if card.main else None,
    }
    return {name: round(value, 6) for name, value in found.items() if value is not None}


def _counted(values: Sequence[Sequence[str]]) -> dict[str, int]:
    flat = [value for one in values for value in one]
    order = [kind for kind in KINDS if kind in flat] or sorted(set(flat))
    rest = sorted(set(flat) - set(order))
    return {value: flat.count(value) for value in (*order, *rest)}
