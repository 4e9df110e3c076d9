"""The page of two runs side by side: `compare.write(path, comparison)`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from adfm.evaluation.flips import McNemar
from adfm.tracking.compare import Comparison, OnDataset, labels, verdict
from adfm.tracking.html import card_files, gallery, page
from adfm.tracking.html.cards import Card
from adfm.tracking.html.gallery import VERDICTS, GalleryView
from adfm.tracking.html.table import MISSING, Cell, Table, cell, changed


def write(path: Path, found: Comparison) -> Path:
    """Write the page and return its path: tables, the images whose verdict flipped, and the configs' difference."""
    names = (found.first, found.second)
    content = {
        "title": f"{found.first} against {found.second}",
        "lead": f"first: {found.first}; second: {found.second}; changes are second minus first",
        "results": [
            {"tables": [differences(one, names), fourfold(one.test, names)], "verdict": verdict(one.test)}
            for one in found.datasets
        ],
        "galleries": [view for one in found.datasets for view in flipped(one, names)],
        "unflipped": [one.dataset for one in found.datasets if not any(pair.flipped for pair in one.pairs)],
        "config": None if found.config is None else _configs(found.config, names),
    }
    return page.write(path, "compare.html", content)


CHANGES = {
    "broken": "the first run alone is right",
    "fixed": "the second run alone is right",
    "wrong in both": "one verdict could not be read",
}
"""How a verdict flips, worst first."""


def flipped(one: OnDataset, names: tuple[str, str]) -> list[GalleryView]:
    """Show the flipped images of one data set, what both runs said side by side; one gallery for each change."""
    pairs = [pair for pair in one.pairs if pair.flipped]
    sides = [
        card_files.of_predictions([getattr(pair, side) for pair in pairs], one.masks) for side in ("first", "second")
    ]
    shown = [(pair.change, _card(first, second, names)) for pair, first, second in zip(pairs, *sides, strict=True)]
    views = []
    for change, meaning in CHANGES.items():
        if found := [card for of_change, card in shown if of_change == change]:
            title, note = f"{change.capitalize()} on {one.dataset}", f"{len(found)}: {meaning}; {names[0]} on the left"
            views.append(gallery.view(f"{one.dataset}-{change.replace(' ', '-')}", title, title, note, found))
    return views


def _card(first: Card, second: Card, names: tuple[str, str]) -> Card:
    both = [said for side in (first, second) if (said := side.main) is not None]
    words = [f"{name} said {VERDICTS[said.verdict]}" for name, said in zip(names, both, strict=True)]
    return replace(second, main=None, others=both, notes=[", ".join(words)])


def differences(one: OnDataset, names: tuple[str, str]) -> Table:
    """Set both runs beside their paired difference; metrics that neither defines are left out."""
    sides = [one.first, one.second]
    metrics = [metric for metric in one.second if any(_defined(side, metric) for side in sides)]
    rows = [
        (
            metric,
            [
                *(cell(side[metric]) if metric in side else MISSING for side in sides),
                changed(metric, one.difference[metric]) if metric in one.difference else MISSING,
            ],
        )
        for metric in metrics
    ]
    note = f"{len(one.pairs)} samples, paired by image; 95% intervals{labels(one, names)}"
    return Table(title=f"On {one.dataset}", note=note, columns=[*names, "difference"], rows=rows)


def _defined(side: Mapping[str, Any], metric: str) -> bool:
    return side.get(metric, {}).get("value") is not None


def fourfold(test: McNemar, names: tuple[str, str]) -> Table:
    """Count who is right."""
    rows = [
        (f"{names[0]} right", [test.right_in_both, test.only_first]),
        (f"{names[0]} wrong", [test.only_second, test.wrong_in_both]),
    ]
    return Table(
        title="Verdicts",
        note="samples",
        columns=[f"{names[1]} right", f"{names[1]} wrong"],
        rows=[(name, [Cell(text=str(count)) for count in counts]) for name, counts in rows],
        verbatim=True,
    )


def _configs(found: Mapping[str, Sequence[str | None]], names: tuple[str, str]) -> Table:
    rows = [(path, [MISSING if text is None else Cell(text=text) for text in both]) for path, both in found.items()]
    return Table(
        title="Difference of the configs", note="" if rows else "none", columns=names, rows=rows, verbatim=True
    )
