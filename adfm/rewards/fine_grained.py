"""AD-FM's rewards of the answer and of the form; that of the boxes is in `localization`.

Source: `anomaly_cls_reward` and `anomaly_cot_format` of `hanawall/AD-FM:scripts/grpo/plugin_adfm.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from adfm.types import Prompt, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Classification:
    """Pay 1 for the right letter, and a part for a short answer that merely contains it.

    Hole of the released values: "abnormal" contains both `a` and `b` and earns 0.8 whatever is right; `partial=0`
    closes it.

    >>> from adfm.rewards.examples import judged
    >>> abnormal = judged(stages={"answer": "abnormal"}, key="b")
    >>> Classification()(*abnormal), Classification(partial=0)(*abnormal)
    (0.8, 0.0)
    """

    partial: float = 0.8
    partial_length: int = 10
    """The most characters that an answer may have to earn `partial`."""
    needs: ClassVar[frozenset[str]] = frozenset({"answer"})

    def __call__(self, verdict: Verdict, prompt: Prompt) -> float:
        """Judge one verdict."""
        if verdict.answer_letter == prompt.key:
            return 1.0
        said = (verdict.stages["answer"] or "").lower()
        return float(self.partial) if prompt.key.lower() in said and len(said) <= self.partial_length else 0.0

    def best(self, prompt: Prompt) -> float:
        """Return what a completion which is right by the labels can earn."""
        return 1.0


RELEASED_SIZE = 512
"""Side of the images that AD-FM trains on, in pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """Pay for every part of the form that is there: 1.2 in all.

    Where the template has no `rethink`, `think` earns that part too, so that the most is the same.

    Holes of the released values: a box is paid on normal samples too (`box=0 box_inside=0 brackets=0` leaves boxes to
    the localization term), and its span is the largest of the three terms (`reward.terms.format.weight`).

    >>> from adfm.rewards.examples import judged
    >>> stages = {"think": "Look at [1, 2, 3, 4].", "rethink": "A scratch.", "answer": "a"}
    >>> round(Format()(*judged(stages=stages, answer="a", boxes=[(1.0, 2.0, 3.0, 4.0)])), 3)
    1.1
    """

    think: float = 0.3
    think_long: float = 0.1
    rethink: float = 0.2
    rethink_long: float = 0.1
    longer_than: int = 10
    """Characters that a stage must exceed for its `_long` part."""
    answer: float = 0.2
    answer_partial: float = 0.1
    """For an answer that is no letter but contains one."""
    box: float = 0.2
    box_inside: float = 0.1
    """If moreover every coordinate is below the limit."""
    brackets: float = 0.1
    """For square brackets without any box."""
    coordinate_limit: float | None = 505
    """What coordinates must stay below in a frame of 512 x 512, the released input. In every other frame, and with
    None,
    they must stay within the frame."""

    @property
    def needs(self) -> frozenset[str]:
        """Boxes only if they are paid."""
        boxes = {"boxes"} if any((self.box, self.box_inside, self.brackets)) else set[str]()
        return frozenset({"think", "answer"} | boxes)

    def __call__(self, verdict: Verdict, prompt: Prompt) -> float:
        """Judge one verdict."""
        stages = verdict.stages
        reasoning = self._stage(stages["think"], self.think, self.think_long)
        second = stages["rethink"] if "rethink" in stages else stages["think"]
        reasoning += self._stage(second, self.rethink, self.rethink_long)
        return reasoning + self._answer(verdict, prompt) + self._boxes(verdict, prompt)

    def best(self, prompt: Prompt) -> float:
        """Return what a completion which is right by the labels can earn: without boxes for a normal sample."""
        boxes = self.box + self.box_inside if prompt.sample.anomalous and prompt.sample.boxes else 0.0
        return self.think + self.think_long + self.rethink + self.rethink_long + self.answer + boxes

    def _stage(self, text: str | None, there: float, long: float) -> float:
        if not text:
            return 0.0
        return there + long if len(text) > self.longer_than else there

    def _answer(self, verdict: Verdict, prompt: Prompt) -> float:
        said = None if "no_answer" in verdict.reasons else verdict.stages["answer"]
        if said is None:
            return 0.0
        if verdict.answer_letter in prompt.choices:
            return self.answer
        return self.answer_partial if any(letter.lower() in said.lower() for letter in prompt.choices) else 0.0

    def _boxes(self, verdict: Verdict, prompt: Prompt) -> float:
        if not verdict.boxes_written:
            return self.brackets if "bad_box" in verdict.reasons else 0.0
        return self.box + self.box_inside if self._inside(verdict, prompt) else self.box

    def _inside(self, verdict: Verdict, prompt: Prompt) -> bool:
        frame = prompt.frame
        if self.coordinate_limit is not None and (frame.width, frame.height) == (RELEASED_SIZE, RELEASED_SIZE):
            return all(value < self.coordinate_limit for box in verdict.boxes_written for value in box)
        return all(
            max(x0, x1) <= frame.width and max(y0, y1) <= frame.height for x0, y0, x1, y1 in verdict.boxes_written
        )
