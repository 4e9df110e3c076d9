"""What MMAD's two scorings do differently.

`official` gives what `jam-cc/MMAD:evaluation/examples/helper/summary.py` (`caculate_accuracy_mmad`) gives. `strict` is
our own, without its quirks:

| | official | strict |
|---|---|---|
| a chosen letter outside A to E | is dropped, and the answer after it is skipped | is wrong; their share is a column |
| an image is normal if its path | contains `good` anywhere | has a part `good` |
| `MVTec-AD/...` is | a data set of its own | part of DS-MVTec |
| a cell without a question is | 0 | null, with the reason |
| an unknown question type has | a column of its own, which the average takes in | none; it is left out and counted |
| columns are | the question types that occur | always the seven |
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from adfm.evaluation.mmad.answers import LETTERS, TYPES, Answer


@runtime_checkable
class Scoring(Protocol):
    """What the two scorings do differently."""

    empty: float
    """The share among no answers."""
    shows_unparsable: bool

    def select(self, answers: Sequence[Answer]) -> tuple[list[Answer], dict[str, int]]:
        """Return the answers that count, and `Table.counts`."""
        ...

    def columns(self, answers: Sequence[Answer]) -> Sequence[str]:
        """Return the columns of the question types."""
        ...

    def dataset(self, answer: Answer) -> str:
        """Return the row of an answer."""
        ...

    def normal(self, answer: Answer) -> bool:
        """Say whether the image of an answer is normal."""
        ...


class Official:
    """As the released scorer."""

    empty: float = 0.0
    shows_unparsable: bool = False

    def select(self, answers: Sequence[Answer]) -> tuple[list[Answer], dict[str, int]]:
        """Drop as the released code does: it removes from the list it walks through, so the next one moves past it."""
        kept, counts = [], Counter(counted=0)
        remaining = iter(answers)
        for answer in remaining:
            if answer.correct in LETTERS and answer.chosen in LETTERS:
                kept.append(answer)
                continue
            counts["dropped for a letter outside A to E"] += 1
            if next(remaining, None) is not None:
                counts["skipped after a dropped one"] += 1
        return kept, {**counts, "counted": len(kept)}

    def columns(self, answers: Sequence[Answer]) -> Sequence[str]:
        """Return the types in the order in which they occur, also of answers that are dropped."""
        return list(dict.fromkeys(answer.column for answer in answers))

    def dataset(self, answer: Answer) -> str:
        """Return the data set as the path has it."""
        return answer.dataset

    def normal(self, answer: Answer) -> bool:
        """Look for `good` anywhere in the path, also inside other words."""
        return "good" in answer.image


class Strict:
    """Every question counts, and what is not defined is null."""

    empty: float = float("nan")
    shows_unparsable: bool = True

    def select(self, answers: Sequence[Answer]) -> tuple[list[Answer], dict[str, int]]:
        """Leave out only what the model is not to blame for."""
        kept, counts = [], Counter(counted=0)
        for answer in answers:
            if answer.column not in TYPES:
                counts["left out for a question type that MMAD does not have"] += 1
            elif answer.correct not in LETTERS:
                counts["left out for a right answer outside A to E"] += 1
            else:
                kept.append(answer)
        return kept, {**counts, "counted": len(kept)}

    def columns(self, answers: Sequence[Answer]) -> Sequence[str]:
        """Return all seven."""
        return TYPES

    def dataset(self, answer: Answer) -> str:
        """Return the data set; some of DS-MVTec's images have keys in MVTec-AD."""
        return "DS-MVTec" if answer.dataset == "MVTec-AD" else answer.dataset

    def normal(self, answer: Answer) -> bool:
        """Look for a folder `good`."""
        return "good" in answer.image.split("/")


SCORINGS: dict[str, Scoring] = {"official": Official(), "strict": Strict()}
"""Name to scoring."""
