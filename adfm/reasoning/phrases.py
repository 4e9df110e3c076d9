"""The words of reference completions: short, varied, right by the labels.

No sentence begins with a bare capital A to D, which the released AnomalyR1 reading would take for a choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from adfm.types import Box, Sample

ROWS = ("top", "", "bottom")
COLUMNS = ("left", "", "right")

SUSPECTS = (
    "Look at {boxes}.",
    "Suspicious: {boxes}.",
    "Something differs at {boxes}.",
    "Odd region: {boxes}.",
    "To examine: {boxes}.",
)
UNPLACED = ("Something differs.", "Part of it looks odd.")
CLEAN = (
    "Looked everywhere, nothing stands out.",
    "No suspicious region.",
    "Nothing odd in any region.",
    "Looked at all regions, nothing found.",
)
FOUND = (
    "It is real: {what}.",
    "Closer look: {what}.",
    "Defect: {what}.",
    "This is no noise: {what}.",
    "Found: {what}.",
)
FINE = (
    "Normal surface after all.",
    "It is as it should be.",
    "No defect found.",
    "Even and intact.",
    "Nothing found, all normal.",
)
CONCLUSIONS = (
    "So the answer is {letter}.",
    "The answer is {letter}.",
    "Hence {letter}.",
    "Thus the answer is {letter}.",
)
OPTION = ("It says: {text}.", "What fits: {text}.", "This shows: {text}.")


def position(box: Box, width: float, height: float) -> str:
    """Name the cell of a 3 x 3 grid in which the box has its centre.

    >>> position((0, 0, 10, 10), 100, 100), position((40, 40, 60, 60), 100, 100), position((80, 40, 90, 60), 100, 100)
    ('top left', 'centre', 'right')
    """
    column = min(2, int(3 * (box[0] + box[2]) / 2 / width))
    row = min(2, int(3 * (box[1] + box[3]) / 2 / height))
    return f"{ROWS[row]} {COLUMNS[column]}".strip() or "centre"


def written(boxes: Sequence[Box]) -> str:
    """Write boxes as a model does.

    >>> written([(1.0, 2.0, 3.0, 4.0), (5.0, 6.0, 7.5, 8.0)])
    '[1, 2, 3, 4], [5, 6, 7.5, 8]'
    """
    return ", ".join("[" + ", ".join(f"{value:g}" for value in box) + "]" for box in boxes)


def what(sample: Sample) -> str:
    """Say severity, type and position of the defect, as far as they are known: "severe scratch, top left"."""
    severity = sample.attributes.get("severity", "")
    kind = " ".join(filter(None, [severity if isinstance(severity, str) else "", sample.defect_type or "defect"]))
    places = dict.fromkeys(position(box, sample.width, sample.height) for box in sample.boxes)
    return ", ".join([kind, " and ".join(places)] if places else [kind])


def suspicion(sample: Sample, boxes_written: Sequence[Box], rng: Random) -> str:
    """Say where to look: the boxes of an anomalous sample, nowhere in a normal one."""
    if not sample.anomalous:
        return rng.choice(CLEAN)
    return rng.choice(SUSPECTS).format(boxes=written(boxes_written)) if boxes_written else rng.choice(UNPLACED)


def finding(sample: Sample, rng: Random) -> str:
    """Say what a closer look finds."""
    return rng.choice(FOUND).format(what=what(sample)) if sample.anomalous else rng.choice(FINE)


def conclusion(letter: str, rng: Random) -> str:
    """Conclude with a letter."""
    return rng.choice(CONCLUSIONS).format(letter=letter)
