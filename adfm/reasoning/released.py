"""Readings that equal the released code of the two methods, quirks included. The golden files decide.

Both are rewritten to take time linear in the text's length, and keep every coordinate finite.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from adfm.reasoning.layout import Findings, Layout
from adfm.reasoning.parse import Section, WrittenBox, written_box
from adfm.reasoning.strict import concluded
from adfm.types import Prompt, Verdict

_NUMBER = r"\s*(\d+(?:\.\d+)?)\s*"
_BOX = re.compile(r"\[" + ",".join([_NUMBER] * 4) + r"\]")
LARGEST = 1e100
"""Coordinates are cut here, so that areas stay finite."""

_STANDALONE = re.compile(r"(?<![a-z])[A-D](?![a-z])")
_KEYWORDS = (
    *("答案", "选择", "正确", "是", "对", "认为", "应该", "觉得"),
    *("ANSWER", "CORRECT", "CHOOSE", "SELECT", "RIGHT", "THINK", "BELIEVE", "SHOULD"),
)
_PUNCTUATION = "。.!！,，"


@dataclass(frozen=True, slots=True)
class ReleasedAnomalyR1:
    """As `chaoyuhao/AnomalyR1:open-r1-multimodal/src/open_r1/grpo_rec.py` reads.

    Somewhere the closed reasoning must be directly followed by a closed answer; then the last of each counts, and
    `extract_choice` takes the letter of both. Where the layout has boxes they are read as AD-FM reads them, because the
    released AnomalyR1 has none.
    """

    layout: Layout

    def __call__(self, text: str, prompt: Prompt) -> Verdict:
        """Read a completion. Never raises."""
        reasoning, answer = self.layout.tags[self.layout.reasoning[-1]], self.layout.tags["answer"]
        findings = Findings(stages=dict.fromkeys(self.layout.tags))
        if _follows(text, reasoning, answer):
            findings.stages |= {stage: _last(text, tag) for stage, tag in self.layout.tags.items()}
            findings.reasoning_letter = extract_choice(findings.stages[self.layout.reasoning[-1]] or "")
            findings.answer_letter = extract_choice(findings.stages["answer"] or "")
            missing = [("no_letter", findings.answer_letter), ("no_conclusion", findings.reasoning_letter)]
            findings.reasons = tuple(code for code, letter in missing if letter is None)
        else:
            findings.reasons = ("no_sequence",)
        if self.layout.boxes is not None:
            found = _first(text, self.layout.tags[self.layout.boxes])
            findings.stages[self.layout.boxes] = found.text
            _read_boxes(findings, found)
        return findings.verdict(text, prompt)


@dataclass(frozen=True, slots=True)
class ReleasedADFM:
    """As `hanawall/AD-FM:scripts/grpo/plugin_adfm.py` reads.

    The first closed pair of each tag counts, without regard to case. Where the answer is missing the whole completion
    stands for it (and has the code `no_answer`). The letter is what the answer says in lower case, if it says a letter
    and nothing else. The released code reads no letter from the reasoning: it is read strictly.
    """

    layout: Layout

    def __call__(self, text: str, prompt: Prompt) -> Verdict:
        """Read a completion. Never raises."""
        found = {stage: _first(text, tag) for stage, tag in self.layout.tags.items()}
        findings = Findings(stages={stage: section.text for stage, section in found.items()})
        findings.reasoning_letter = concluded(self.layout, findings.stages, tuple(prompt.choices))
        findings.reasons = tuple(f"no_{stage}" for stage, content in findings.stages.items() if content is None)
        if self.layout.boxes is not None:
            _read_boxes(findings, found[self.layout.boxes])
        answer = findings.stages["answer"]
        findings.stages["answer"] = text.strip() if answer is None else answer
        letters = {letter.lower(): letter for letter in prompt.choices}
        findings.answer_letter = letters.get(findings.stages["answer"].lower())
        missing = [("no_letter", findings.answer_letter), ("no_conclusion", findings.reasoning_letter)]
        findings.reasons += tuple(code for code, letter in missing if letter is None)
        return findings.verdict(text, prompt)


def extract_choice(text: str) -> str | None:
    """Take a letter from a text as the released AnomalyR1 does.

    A text shorter than three characters gives its first letter or digit, whatever it is. Otherwise the letters A to D
    that touch no lower-case letter are hits. If there are several, each distinct one is judged at the last place where
    it occurs as a character: a point per keyword within 20 characters, two in the last 30 % of the text, one before
    punctuation, all of it counted once per hit.

    >>> extract_choice("A scratch, so B"), extract_choice("b."), extract_choice("nothing here")
    ('B', 'b', None)
    """
    text = " ".join(text.split())
    if len(text) < 3:
        return re.sub(r"[^\w\s]", "", text).strip()[:1] or None
    hits: list[str] = _STANDALONE.findall(text)
    if not hits:
        return None
    return max(dict.fromkeys(hits), key=lambda letter: hits.count(letter) * _points(text, text.rfind(letter)))


def _points(text: str, place: int) -> int:
    around = text[max(0, place - 20) : place + 20]
    points = sum(keyword in around for keyword in _KEYWORDS)
    points += 2 * (place > len(text) * 0.7)
    return points + (text[place + 1 : place + 2] in _PUNCTUATION and place + 1 < len(text))


def _follows(text: str, reasoning: str, answer: str) -> bool:
    """Whether a closed `reasoning` is followed, after blanks only, by a closed `answer`."""
    first_opening, last_closing = text.find(f"<{reasoning}>"), text.rfind(f"</{answer}>")
    if first_opening < 0:
        return False
    joints = re.finditer(rf"</{re.escape(reasoning)}>\s*<{re.escape(answer)}>", text)
    return any(first_opening < joint.start() and joint.end() <= last_closing for joint in joints)


def _last(text: str, tag: str) -> str | None:
    """Return the stripped text of the last closed pair, pairing from the left."""
    found, start = None, text.find(f"<{tag}>")
    while start >= 0:
        start += len(tag) + 2
        end = text.find(f"</{tag}>", start)
        if end < 0:
            break
        found = text[start:end].strip()
        start = text.find(f"<{tag}>", end)
    return found


def _first(text: str, tag: str) -> Section:
    """Return what the first closed pair holds, stripped, without regard to case."""
    opening = re.search(f"<{re.escape(tag)}>", text, re.IGNORECASE)
    closing = opening and re.compile(f"</{re.escape(tag)}>", re.IGNORECASE).search(text, opening.end())
    if not opening or not closing:
        return Section(None, "no")
    inside = text[opening.end() : closing.start()]
    return Section(inside.strip(), None, opening.end() + len(inside) - len(inside.lstrip()))


def _read_boxes(findings: Findings, section: Section) -> None:
    """Read boxes of unsigned numbers, reversed and outlying ones included."""
    text = section.text or ""
    findings.boxes = tuple(_cut(written_box(match, section.start)) for match in _BOX.finditer(text))
    if not findings.boxes and "[" in text and "]" in text:
        findings.reasons += ("bad_box",)


def _cut(found: WrittenBox) -> WrittenBox:
    x0, y0, x1, y1 = (min(edge, LARGEST) for edge in found.box)
    return WrittenBox((x0, y0, x1, y1), found.spans)
