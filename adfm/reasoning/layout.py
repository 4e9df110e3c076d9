"""The stages of a completion, and the reason codes for what could not be read of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from adfm.reasoning.parse import WrittenBox
from adfm.types import Prompt, Verdict

STAGES = ("think", "rethink", "answer", "location")
"""Every stage that a template may have; their tags are config, these names are not."""

REASONS: Mapping[str, str] = {
    **{f"no_{stage}": f"the {stage} stage is missing or never closed" for stage in STAGES},
    **{f"repeated_{stage}": f"the {stage} stage is opened or closed more than once" for stage in STAGES},
    **{
        f"misplaced_{stage}": f"the {stage} stage opens before the stage that should precede it closes"
        for stage in STAGES
    },
    "no_sequence": "no closed reasoning is directly followed by a closed answer (released AnomalyR1 reading)",
    "no_letter": "the answer stage is there, but it does not say exactly one of the letters",
    "no_conclusion": "the reasoning does not conclude with a letter",
    "no_majority": "as many draws say anomalous as say normal, and there is no anomaly score to decide",
    "bad_box": "square brackets where boxes are read that do not hold four plain numbers",
    "impossible_box": "a box that is empty, reversed or partly outside the image",
}
"""Every code that `Verdict.reasons` may hold, and what it means."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Which stages a completion has, and what is read from which."""

    tags: Mapping[str, str]
    """Stage name to the tag that encloses it, in the order of the completion."""
    reasoning: tuple[str, ...]
    """The stages whose conclusion is the reasoning's letter."""
    boxes: str | None
    """The stage that boxes are read from."""

    @property
    def provides(self) -> dict[str, tuple[str, ...]]:
        """What of a verdict can vary, and which stages it is read from."""
        read_from = {stage: (stage,) for stage in self.tags}
        read_from |= {"reasoning_letter": self.reasoning, "explanation": self.reasoning}
        return read_from if self.boxes is None else read_from | {"boxes": (self.boxes,)}

    def wrap(self, stage: str, text: str) -> str:
        """Put a stage's text between its tags."""
        return f"<{self.tags[stage]}>{text}</{self.tags[stage]}>"

    def compose(self, texts: Mapping[str, str]) -> str:
        """Write the given stages as a completion, in the layout's order."""
        return "".join(self.wrap(stage, texts[stage]) for stage in self.tags if stage in texts)


@dataclass(slots=True, kw_only=True)
class Findings:
    """What a reading gathers on its way to a verdict."""

    stages: dict[str, str | None]
    reasoning_letter: str | None = None
    answer_letter: str | None = None
    boxes: tuple[WrittenBox, ...] = ()
    reasons: tuple[str, ...] = ()
    settled: Mapping[str, int] = field(default_factory=dict)

    def verdict(self, text: str, prompt: Prompt) -> Verdict:
        """Close the reading: say what the letter means for this prompt and take the boxes to original pixels."""
        written = tuple(found.box for found in self.boxes)
        return Verdict(
            text=text,
            stages=self.stages,
            reasoning_letter=self.reasoning_letter,
            answer_letter=self.answer_letter,
            anomalous=None if self.answer_letter is None else prompt.choices.get(self.answer_letter),
            boxes_written=written,
            boxes=prompt.frame.original(written),
            box_spans=tuple(found.spans for found in self.boxes),
            settled=self.settled,
            reasons=tuple(dict.fromkeys(self.reasons)),
        )
