"""The page of a data set: samples of every category and type with their boxes, and what the check said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

from adfm.data.checking import Finding
from adfm.tracking.html import gallery, page
from adfm.tracking.html.cards import Card
from adfm.types import Sample

MOST_CARDS = 240
"""Samples on one page."""


def write(
    path: Path,
    name: str,
    text: str,
    parts: Mapping[str, Sequence[Sample]],
    findings: Mapping[str, Sequence[Finding]],
) -> None:
    """Write the page: one file, no server, no network. `text` is the report of the check."""
    readable = [
        _card(part, sample, finding, finding.size)
        for part in parts
        for sample, finding in zip(parts[part], findings[part], strict=True)
        if finding.size is not None
    ]
    note = f"some of every category and type, of {len(readable)}"
    cards = dealt(readable, MOST_CARDS)
    view = gallery.view("samples", "Samples", "Samples", note, cards, unit="sample", first="findings first")
    page.write(path, "dataset.html", {"title": name, "text": text, "galleries": [view]})


def dealt(cards: Sequence[Card], most: int) -> list[Card]:
    """Choose at most `most`: those with notes first, then as evenly over categories and types as there are."""
    piles: dict[tuple[str, str | None], list[Card]] = {}
    for card in sorted(cards, key=lambda card: len(card.notes) < 2):
        piles.setdefault((card.category, card.defect_type), []).append(card)
    layers = zip_longest(*piles.values())
    return [card for layer in layers for card in layer if card is not None][:most]


def _card(part: str, sample: Sample, finding: Finding, size: tuple[int, int]) -> Card:
    boxes = f"{len(finding.boxes)} box{'es' if len(finding.boxes) != 1 else ''}"
    return Card(
        id=sample.id,
        image=str(sample.image),
        width=size[0],
        height=size[1],
        category=sample.category,
        truth=sample.anomalous,
        defect_type=sample.defect_type,
        true_boxes=finding.boxes,
        notes=(f"{size[0]} x {size[1]} pixels, {boxes}", *finding.problems, *finding.warnings),
        facets={"part": part},
    )
