"""The strict reading: what is well-formed is read, what is not has a reason code, nothing is guessed."""

from __future__ import annotations

from dataclasses import dataclass

from adfm.reasoning import parse
from adfm.reasoning.layout import Findings, Layout
from adfm.types import Box, Frame, Prompt, Verdict


@dataclass(frozen=True, slots=True)
class Strict:
    """Read each stage once and in order, letters only where they are meant as letters, boxes only inside the image.

    Source: closes the traps of the released parsers, methods.md section 6 (the article "A" taken for a choice, the
    whole completion taken for the answer, reversed boxes).
    """

    layout: Layout

    def __call__(self, text: str, prompt: Prompt) -> Verdict:
        """Read a completion. Never raises."""
        sections = parse.sections(text, self.layout.tags)
        findings = Findings(stages={stage: section.text for stage, section in sections.items()})
        reasons = [f"{section.trouble}_{stage}" for stage, section in sections.items() if section.trouble]
        letters = tuple(prompt.choices)
        answer = findings.stages["answer"]
        if answer is not None:
            findings.answer_letter = parse.said_letter(answer, letters)
            reasons += ["no_letter"] * (findings.answer_letter is None)
        findings.reasoning_letter = concluded(self.layout, findings.stages, letters)
        reasons += ["no_conclusion"] * (findings.reasoning_letter is None)
        if self.layout.boxes is not None:
            section = sections[self.layout.boxes]
            written, bad = parse.boxes(section.text or "", section.start)
            findings.boxes = tuple(found for found in written if possible(found.box, prompt.frame))
            reasons += ["bad_box"] * bad + ["impossible_box"] * (len(findings.boxes) < len(written))
        findings.reasons = tuple(reasons)
        if not any(section.trouble for section in sections.values()):  # else what follows could mend or break the form
            findings.settled = {
                name: max(sections[stage].end for stage in stages) for name, stages in self.layout.provides.items()
            }
        return findings.verdict(text, prompt)


def concluded(layout: Layout, stages: dict[str, str | None], letters: tuple[str, ...]) -> str | None:
    """Return the letter that the last reasoning stage with a conclusion concludes with."""
    found = (parse.concluded_letter(stages[stage] or "", letters) for stage in reversed(layout.reasoning))
    return next((letter for letter in found if letter is not None), None)


def possible(box: Box, frame: Frame) -> bool:
    """Whether a written box has an area and lies inside the image."""
    x0, y0, x1, y1 = box
    return 0 <= x0 < x1 <= frame.width and 0 <= y0 < y1 <= frame.height
