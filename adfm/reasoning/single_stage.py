"""AnomalyR1's template: think, then one letter; and the same with boxes after the letter."""

from __future__ import annotations

from random import Random
from typing import ClassVar

from adfm.reasoning import phrases
from adfm.reasoning.released import ReleasedAnomalyR1
from adfm.reasoning.template import StagedTemplate
from adfm.types import DETECTION, Prompt


class SingleStage(StagedTemplate):
    """Think, then one letter.

    Source: the prompt and the tags of `chaoyuhao/AnomalyR1:open-r1-multimodal/src/open_r1/grpo_rec.py` in other words.
    Its `problem` format is not released.
    """

    name: ClassVar[str] = "single_stage"
    stages = ("think", "answer")
    reasoning = ("think",)
    boxes = None
    released = ReleasedAnomalyR1

    def choices_without_sample(self, key: str) -> dict[str, bool | None]:
        """Return the letters A to E, MMAD's largest set, without a meaning.

        Raises:
            ValueError: `key` is not one of them.
        """
        if key not in tuple("ABCDE"):
            raise ValueError(f"{key!r} is not one of the letters A, B, C, D, E")
        return dict.fromkeys("ABCDE")

    def _reference_stages(self, prompt: Prompt, rng: Random) -> dict[str, str]:
        """Say what is seen, what the right option says, and its letter: a small model finds the letter by the text."""
        question, seen = prompt.sample.question, [self._insight(prompt, rng)]
        if question is None or question.kind == DETECTION:
            seen.append(f"{prompt.options[prompt.key].rstrip('.')}.")
        return {"think": " ".join([*seen, phrases.conclusion(prompt.key, rng)])}


class SingleStageBoxes(SingleStage):
    """`SingleStage` that also localises: boxes in a stage of their own after the answer.

    The answer stays one letter and stays directly behind the reasoning, so that the released reading, the choice
    rewards and the anomaly score work unchanged.

    Source: AnomalyR1's abstract (it localises end to end); the released code has no such prompt.
    """

    name: ClassVar[str] = "single_stage_boxes"
    stages = ("think", "answer", "location")
    boxes = "location"

    def _reference_stages(self, prompt: Prompt, rng: Random) -> dict[str, str]:
        located = phrases.written(prompt.frame.written(prompt.sample.boxes)) or "none"
        return super()._reference_stages(prompt, rng) | {"location": located}
