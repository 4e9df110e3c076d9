"""AD-FM's template: think of regions, rethink each, answer."""

from __future__ import annotations

from random import Random
from typing import ClassVar

from adfm.reasoning import phrases
from adfm.reasoning.released import ReleasedADFM
from adfm.reasoning.template import StagedTemplate
from adfm.types import Prompt


class ThreeStage(StagedTemplate):
    """One completion of three stages: suspicious regions as boxes, a closer look at them, the letter.

    AD-FM's own answer is anomalous or normal, the letter of detection. Source: the stages and letters that the rewards
    of `hanawall/AD-FM:scripts/grpo/plugin_adfm.py` expect; its prompt is not released.
    """

    name: ClassVar[str] = "three_stage"
    stages = ("think", "rethink", "answer")
    reasoning = ("think", "rethink")
    boxes = "think"
    released = ReleasedADFM

    def _reference_stages(self, prompt: Prompt, rng: Random) -> dict[str, str]:
        sample = prompt.sample
        return {
            "think": phrases.suspicion(sample, prompt.frame.written(sample.boxes), rng),
            "rethink": f"{self._insight(prompt, rng)} {phrases.conclusion(prompt.key, rng)}",
        }
