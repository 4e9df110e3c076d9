"""The multiple-choice question of a manifest's row."""

from __future__ import annotations

from collections.abc import Mapping
from string import ascii_uppercase
from typing import Any

from adfm.errors import DataError
from adfm.types import Question

QUESTION = ("options", "answer", "kind")
"""What stands beside `question` where that is the text alone."""


def check_text(key: str, text: object) -> None:
    """Raise DataError for what is no text, or one that cannot be written as UTF-8."""
    if not isinstance(text, str):
        raise DataError(f"{key} must be a text, not {text!r}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{key} {text!r} is not valid Unicode ({error.reason})") from error


def question_of(row: Mapping[str, Any]) -> Question | None:
    """Read a question from its own object, or from the columns question, options, answer and kind."""
    text = row.get("question")
    flat = [key for key in QUESTION if key in row]
    if isinstance(text, Mapping):
        if flat:
            raise DataError(f"question: is an object that holds its {flat[0]}, which also stands beside it")
        values = dict(text)
    elif text is None and not flat:
        return None
    else:
        values = {"text": text, **{key: row[key] for key in flat}}
    return _checked_question(values)


def _checked_question(values: dict[str, Any]) -> Question:
    unknown = sorted(map(str, values.keys() - {"text", *QUESTION}))
    missing = [key for key in ("text", "options", "answer") if values.get(key) is None]
    if unknown or missing:
        raise DataError(f"question: {'unknown key' if unknown else 'lacks'} {', '.join(unknown or missing)}")
    options = values["options"]
    if isinstance(options, list):
        if len(options) > len(ascii_uppercase):
            raise DataError(f"question: {len(options)} options are more than letters")
        options = dict(zip(ascii_uppercase, options, strict=False))
    if not isinstance(options, Mapping):
        raise DataError(f"question: options must map letters to texts, or list the texts, not {options!r}")
    texts = {key: value for key, value in values.items() if key != "options"}
    for key, text in {**texts, **{f"option {letter}": text for letter, text in options.items()}}.items():
        check_text(f"question: {key}", text)
    for letter in options:
        check_text("question: letter", letter)
    if values["answer"] not in options:
        raise DataError(f"question: answer {values['answer']!r} is not one of {', '.join(options)}")
    return Question(**{**texts, "options": dict(options)})
