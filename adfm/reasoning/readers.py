"""How what a model wrote becomes a letter: strictly, as MMAD's released evaluation does, and as AnomalyR1's does."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches

from adfm.reasoning.parse import said_letter, sections

Reader = Callable[[str | None, Mapping[str, str]], str | None]
"""What was written (None if nothing) and the options (letter to text) to a letter, or None if none can be read."""

_STANDALONE = re.compile(r"\b([A-E])\b")
_ANYWHERE = re.compile("[A-E]")


def strict(text: str | None, options: Mapping[str, str]) -> str | None:
    """Read one unambiguous choice: one letter of the options, or exactly one option's text. Never guesses.

    Where an `<answer>` is closed, only what it holds counts; two of them are ambiguous.

    >>> options = {"A": "Yes.", "B": "No."}
    >>> [strict(text, options) for text in ("B", "(b)", "Answer: B", "no", "A bottle without defects", "AB")]
    ['B', 'B', 'B', 'B', None, None]
    """
    answer = sections(text or "", {"answer": "answer"})["answer"]
    if answer.trouble in ("repeated", "misplaced"):
        return None
    said = (text or "") if answer.text is None else answer.text
    same = [letter for letter, option in options.items() if _plain(said) == _plain(option)]
    if len(same) == 1 and _plain(said):
        return same[0]
    return said_letter(said, tuple(options))


def official(text: str | None, options: Mapping[str, str]) -> str | None:
    """Read as `jam-cc/MMAD:evaluation/examples/GPT4/gpt4v.py` does (`parse_answer`; its last find counts).

    The last capital A to E that stands alone, the article included, whether or not there is such an option. Without
    one, the option whose text is closest, however far that is.

    >>> official("A bottle. The cap is fine, so B, not C", {}), official("no defect", {"A": "Yes.", "B": "No."})
    ('C', 'B')
    """
    if text is None:
        return None
    if found := _STANDALONE.findall(text):
        return found[-1]
    closest = get_close_matches(text, list(options.values()), n=1, cutoff=0.0)
    return next((letter for letter, option in options.items() if option in closest), None)


def anomalyr1(text: str | None, options: Mapping[str, str]) -> str | None:
    """Read as `chaoyuhao/AnomalyR1:eval/thinkad_query.py` does; None is its letter X.

    From the last `<answer>` to the last `</answer>`: the first capital A to E, inside words too; without one, the
    first option whose text it contains.

    >>> anomalyr1("<answer>No Defect, B</answer>", {}), anomalyr1("B", {"B": "No."})
    ('D', None)
    """
    start, end = (text or "").rfind("<answer>"), (text or "").rfind("</answer>")
    answer = (text or "")[start + len("<answer>") : end].strip() if 0 <= start < end else ""
    if not answer:
        return None
    if found := _ANYWHERE.search(answer):
        return found[0]
    return next((letter for letter, option in options.items() if option.lower() in answer.lower()), None)


READERS: dict[str, Reader] = {"strict": strict, "official": official, "anomalyr1": anomalyr1}
"""Name to reader."""


def _plain(text: str) -> str:
    return text.strip().rstrip(".!").casefold()
