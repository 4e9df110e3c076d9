"""Small readers of text that the strict reading is made of. Each takes any text and time linear in its length."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import NamedTuple

from adfm.types import Box, Span

_NUMBER = r"\s{0,4}(-?[0-9]{1,6}(?:\.[0-9]{1,6})?)\s{0,4}"
_BOX = re.compile(r"\[" + ",".join([_NUMBER] * 4) + r"\]")
_BRACKETS = re.compile(r"\[[^\[\]]*\]")

_OPENERS = r"[\"'(\[*`<]{0,4}"
_CLOSERS = r"[\"')\]*`>]{0,4}"
_LETTER = rf"{_OPENERS}([A-Za-z]){_CLOSERS}"
_CONCLUSION = re.compile(
    r"\b(?:answer|option|choice|choose|chose|pick|select|conclude|conclusion|verdict|so|thus|hence|therefore)\b"
    r"(?:\s{1,3}(?:is|be|it\s{1,3}is|must\s{1,3}be|should\s{1,3}be|would\s{1,3}be))?\s{0,3}[:=,]?\s{0,3}"
    rf"(?:(?:option|choice|letter|answer)\s{{1,3}})?{_LETTER}"
    r"(?=\s{0,3}(?:[.,;:!?\n\r。！，；]|\Z)|\s{1,3}(?:because|since|as|not|rather)\b)",
    re.IGNORECASE | re.ASCII,
)
_SAID = re.compile(
    r"(?:(?:the\s{1,3})?(?:correct\s{1,3}|right\s{1,3})?(?:answer|option|choice)(?:\s{1,3}is)?\s{0,3}:?\s{0,3})?"
    rf"{_LETTER}(?:\s{{0,3}}[.!?。]?\Z|[.:)](?P<rest>\s.*))",
    re.IGNORECASE | re.ASCII | re.DOTALL,
)


class Section(NamedTuple):
    """What lies between one stage's tags, or why that cannot be said."""

    text: str | None
    trouble: str | None
    """`no`, `repeated` or `misplaced`; None if the stage was read."""
    start: int = 0
    """Where `text` begins in the whole text."""
    end: int = 0
    """Behind the tag that closes it."""


class WrittenBox(NamedTuple):
    """A box as it stands in a text."""

    box: Box
    spans: tuple[Span, Span, Span, Span]
    """Of its four numbers."""


def sections(text: str, tags: Mapping[str, str]) -> dict[str, Section]:
    """Read every stage that is opened once, closed once after that, and stands after the stages before it.

    Args:
        text: any text.
        tags: stage name to tag, in the order in which the stages should stand. Tags are compared without case.

    >>> sections("<think>hm</think><answer>a</answer>", {"think": "think", "answer": "answer"})["answer"]
    Section(text='a', trouble=None, start=25, end=35)
    """
    stage_of = {tag.lower(): stage for stage, tag in tags.items()}
    names = "|".join(re.escape(tag) for tag in tags.values())
    seen: dict[str, tuple[list[re.Match[str]], list[re.Match[str]]]] = {stage: ([], []) for stage in tags}
    for tag in re.finditer(rf"<(/?)({names})>", text, re.IGNORECASE | re.ASCII):
        seen[stage_of[tag[2].lower()]][bool(tag[1])].append(tag)
    result, free_from = {}, 0
    for stage, (opening, closing) in seen.items():
        if not opening or not closing or closing[-1].start() < opening[0].end():
            result[stage] = Section(None, "no")
        elif len(opening) > 1 or len(closing) > 1:
            result[stage] = Section(None, "repeated")
        elif opening[0].start() < free_from:
            result[stage] = Section(None, "misplaced")
        else:
            start, end = opening[0].end(), closing[0].start()
            start += len(text[start:end]) - len(text[start:end].lstrip())
            result[stage] = Section(text[start:end].rstrip(), None, start, closing[0].end())
        free_from = max([free_from, *(tag.end() for tag in closing)])
    return result


def said_letter(text: str, letters: Collection[str]) -> str | None:
    """Return the one letter that a short answer says; None if it says none, several, or something else.

    The letter may stand in brackets or quotes, after "answer" or "option", or before its own text ("B. No"). A word
    that merely begins with a letter, and the article "a", say none. Upper and lower case are told apart only where the
    letters need it.

    >>> [said_letter(text, "AB") for text in ("B", "(b).", "Option A", "B: no")]
    ['B', 'B', 'A', 'B']
    >>> [said_letter(text, "AB") for text in ("A defect", "A. Yes, B. No", "abnormal")]
    [None, None, None]
    """
    found = _SAID.fullmatch(text.strip())
    letter = None if found is None else _among(found[1], letters)
    if found is None or letter is None:
        return None
    others = "|".join(re.escape(other) for other in letters if other != letter)
    if found["rest"] and others and re.search(rf"(?<!\w)(?:{others})(?!\w)", found["rest"]):
        return None
    return letter


def concluded_letter(text: str, letters: Collection[str]) -> str | None:
    r"""Return the letter that reasoning ends up with: the last that follows a word of concluding and ends its clause.

    >>> concluded_letter("A defect, so the answer is B. Option A is wrong.", "AB")
    'B'
    >>> concluded_letter("I see A and B. Hence a scratch is there.", "AB") is None
    True
    >>> concluded_letter("Checked.\n(B)", "AB")
    'B'
    """
    found = [_among(match[1], letters) for match in _CONCLUSION.finditer(text)]
    known = [letter for letter in found if letter is not None]
    if known:
        return known[-1]
    last_line = text.strip().rpartition("\n")[2]
    return said_letter(last_line, letters)


def _among(letter: str, letters: Collection[str]) -> str | None:
    if letter in letters:
        return letter
    return next((known for known in letters if known.lower() == letter.lower()), None)


def boxes(text: str, start: int = 0) -> tuple[tuple[WrittenBox, ...], bool]:
    """Return every `[x0, y0, x1, y1]` of plain decimal numbers, and whether any other square brackets stand there.

    The text begins at `start` of the one that the spans refer to.

    >>> boxes("[1, 2, 3.5, 4] and [5, 6]")
    ((WrittenBox(box=(1.0, 2.0, 3.5, 4.0), spans=((1, 2), (4, 5), (7, 10), (12, 13))),), True)
    """
    groups = [_BOX.fullmatch(text, *group.span()) for group in _BRACKETS.finditer(text)]
    found = tuple(written_box(group, start) for group in groups if group is not None)
    return found, len(found) < len(groups)


def written_box(found: re.Match[str], start: int) -> WrittenBox:
    """Take the four numbers of a match, in a text that begins at `start` of the one that the spans refer to."""
    x0, y0, x1, y1 = (float(number) for number in found.groups())
    (a, b), (c, d), (e, f), (g, h) = (found.span(number) for number in (1, 2, 3, 4))
    spans = ((start + a, start + b), (start + c, start + d), (start + e, start + f), (start + g, start + h))
    return WrittenBox((x0, y0, x1, y1), spans)
