"""The page of a data set: samples of every category and type with their boxes, and what the check said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from adfm.config.run_folder import write_whole
from adfm.data.checking import Finding
from adfm.tracking.html import report
from adfm.types import Box, Sample

MOST_CARDS = 240
"""Samples on one page: some three megabytes of pictures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleCard:
    """One sample; boxes in pixels of the original image."""

    id: str
    image: str
    width: int
    height: int
    category: str
    part: str
    kind: str
    """`normal`, or the defect's type."""
    true_boxes: Sequence[Box]
    notes: Sequence[str]
    boxes: tuple[Box, ...] = ()
    """Of a prediction: none."""


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
    cards = dealt(readable, MOST_CARDS)
    template = report.environment().get_template("dataset.html")
    content = {
        "title": name,
        "text": text,
        "cards": cards,
        "total": len(readable),
        "kinds": {kind: sum(card.kind == kind for card in cards) for kind in sorted({card.kind for card in cards})},
        "categories": sorted({card.category for card in cards}),
    }
    write_whole(path, template.render(**content, **report.assets()))


def dealt(cards: Sequence[SampleCard], most: int) -> list[SampleCard]:
    """Choose at most `most`: those with notes first, then as evenly over categories and types as there are."""
    piles: dict[tuple[str, str], list[SampleCard]] = {}
    for card in sorted(cards, key=lambda card: not card.notes):
        piles.setdefault((card.category, card.kind), []).append(card)
    layers = zip_longest(*piles.values())
    return [card for layer in layers for card in layer if card is not None][:most]


def _card(part: str, sample: Sample, finding: Finding, size: tuple[int, int]) -> SampleCard:
    return SampleCard(
        id=sample.id,
        image=str(sample.image),
        width=size[0],
        height=size[1],
        category=sample.category,
        part=part,
        kind=sample.defect_type or ("anomalous" if sample.anomalous else "normal"),
        true_boxes=finding.boxes,
        notes=(*finding.problems, *finding.warnings),
    )
