"""AnomalyR1's template: think, then one letter; and the same with boxes after the letter."""

from __future__ import annotations

from random import Random
from typing import ClassVar

from adfm.reasoning import phrases
from adfm.reasoning.released import ReleasedAnomalyR1
from adfm.reasoning.template import StagedTemplate
from adfm.types import Prompt, Sample


class SingleStage(StagedTemplate):
    """Ask the sample's own multiple-choice question, or else the detection question.

    Source: the prompt and the tags of `chaoyuhao/AnomalyR1:open-r1-multimodal/src/open_r1/grpo_rec.py` in other words.
    Its `problem` format is not released. Options of the sample's own question keep their order and letters, as in MMAD.
    """

    name: ClassVar[str] = "single_stage"
    stages = ("think", "answer")
    reasoning = ("think",)
    boxes = None
    released = ReleasedAnomalyR1

    def _choices(self, sample: Sample) -> tuple[str, dict[str, str], dict[str, bool | None], str]:
        asked = sample.question
        if asked is None:
            return super()._choices(sample)
        choices: dict[str, bool | None] = dict.fromkeys(asked.options)
        if asked.kind == "detection":
            choices |= {letter: (letter == asked.answer) == sample.anomalous for letter in asked.options}
        return asked.text, dict(asked.options), choices, asked.answer

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
        sample = prompt.sample
        if sample.question is None or sample.question.kind == "detection":
            said = self._choices(sample)[1][prompt.key].rstrip(".")
            seen = [phrases.finding(sample, rng), f"{said}."]
        else:
            seen = [rng.choice(phrases.OPTION).format(text=sample.question.options[prompt.key].rstrip("."))]
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
