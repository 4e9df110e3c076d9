"""Answers to MMAD's questions: one per question, from a model's evaluation or from a finished file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from adfm.data.mmad import DETECTION, FOLDED, LETTERS, TYPES
from adfm.errors import DataError
from adfm.reasoning.readers import READERS

__all__ = ["DETECTION", "FOLDED", "LETTERS", "TYPES", "Answer", "read_answers"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What was chosen for one question."""

    image: str
    """Key of the image in mmad.json: `<data set>/<category>/...`, with `/` on every system."""
    question_type: str
    """As in mmad.json."""
    correct: str | None
    """The right letter."""
    chosen: str | None
    """The letter that was read; None, or anything that is no letter A to E, where none could be read."""
    read_by: str
    """Template and its reading, `letter probability`, or `file` if the letter comes from a finished file."""

    @property
    def dataset(self) -> str:
        """First part of the image's path."""
        return self.image.partition("/")[0]

    @property
    def category(self) -> str:
        """Second part of the image's path; empty if there is none."""
        return self.image.split("/")[1] if "/" in self.image else ""

    @property
    def column(self) -> str:
        """The column that the question counts for."""
        return FOLDED.get(self.question_type, self.question_type)

    @property
    def right(self) -> bool:
        """Whether the right letter was chosen."""
        return self.chosen is not None and self.chosen == self.correct


def read_answers(path: Path, reading: str | None = None) -> list[Answer]:
    """Read a file in the released format: a JSON list of entries, or an object with that list under `answers`.

    An entry has `image`, `question_type` (texts that are not empty), `correct_answer` and `gpt_answer` (a letter;
    any other text or null where there is none). Other keys are ignored. The order is kept, as the released scorer
    depends on it.

    Released evaluations write the letter that they read. Where `gpt_answer` is what a model wrote instead, `reading`,
    one of `adfm.reasoning.readers.READERS`, makes the letter of it and of the entry's `question`, whose `options`
    map letters to texts.

    Raises:
        DataError: the file or one of its entries cannot be used; names the file, the entry (from 1) and the reason.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as JSON: {error}") from error
    entries = content.get("answers") if isinstance(content, dict) else content
    if not isinstance(entries, list):
        raise DataError(f"{path}: must be a JSON list with one entry per question")
    if not entries:
        raise DataError(f"{path}: holds no answers")
    answers = []
    for number, entry in enumerate(entries, start=1):
        place = f"{path}, entry {number}"
        answer = _answer(entry, place)
        answers.append(answer if reading is None else _read(answer, _options(entry, place), reading))
    return answers


def _read(answer: Answer, options: Mapping[str, str], reading: str) -> Answer:
    return replace(answer, chosen=READERS[reading](answer.chosen, options), read_by=f"{reading} reading")


def _options(entry: Mapping[str, Any], place: str) -> dict[str, str]:
    question = entry.get("question")
    options = question.get("options") if isinstance(question, dict) else None
    if not isinstance(options, dict) or not options or not all(isinstance(text, str) for text in options.values()):
        raise DataError(
            f"{place}: 'question' must have 'options', letter to text, for reading= to read what was written"
        )
    return options


def _answer(entry: Any, place: str) -> Answer:
    if not isinstance(entry, dict):
        raise DataError(f"{place}: must be a JSON object, not {entry!r:.40}")
    keys = ("image", "question_type", "correct_answer", "gpt_answer")
    if missing := [key for key in keys if key not in entry]:
        raise DataError(f"{place}: has no {' and no '.join(map(repr, missing))}")
    for key in keys:
        value = entry[key]
        if value is None and key.endswith("_answer"):
            continue
        if not isinstance(value, str):
            raise DataError(f"{place}: {key!r} must be a text, not {value!r:.40}")
        if not value and not key.endswith("_answer"):
            raise DataError(f"{place}: {key!r} is empty")
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise DataError(f"{place}: {key!r} is no valid Unicode: {value!r:.40}")
    return Answer(
        image=entry["image"],
        question_type=entry["question_type"],
        correct=entry["correct_answer"],
        chosen=entry["gpt_answer"],
        read_by="file",
    )
