"""From prompts to judged groups: sample, read, reward, and by option draw again where a group taught nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from adfm.data.order import EpochOrder
from adfm.types import Completion, Frames, Group, Prompt, Reward, Rollout, Sample, Template


class PromptStream:
    """The batches of prompts that a run asks: a step is a slice of the order of its samples."""

    def __init__(
        self,
        samples: Sequence[Sample],
        template: Template,
        frames: Frames,
        *,
        per_step: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """Ask about `per_step` samples a step over all ranks; this one asks every `world_size`-th of them."""
        self.samples = samples
        self.order = EpochOrder(len(samples), seed=seed)
        self.template = template
        self.frames = frames
        self.per_step = per_step
        self.seed = seed
        self.rank = rank
        self.world_size = world_size

    def batch(self, step: int) -> list[Prompt]:
        """Return this rank's prompts of a step (counted from 0)."""
        places = range(step * self.per_step + self.rank, (step + 1) * self.per_step, self.world_size)
        return [self.template.ask(self.samples[self.order[place]], self.frames) for place in places]


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """The groups of a step, and what they cost."""

    groups: list[Group]
    redrawn: int
    """Groups drawn again because their rewards were all equal."""
    seconds_rollout: float
    seconds_reward: float


class Collector:
    """Sample groups, read them and reward them."""

    def __init__(self, rollout: Rollout, template: Template, reward: Reward) -> None:
        """Draw with `rollout`, read with `template`, judge with `reward`."""
        self.rollout = rollout
        self.template = template
        self.reward = reward

    def collect(self, prompts: Sequence[Prompt], *, seed: int) -> Collected:
        """Return a judged group for each prompt, in order; those without spread are drawn again, within the bound."""
        groups, rollout_seconds, reward_seconds = self._draw(prompts, seed)
        redrawn = 0
        for attempt in range(1, self.rollout.resample + 1):
            flat = [index for index, group in enumerate(groups) if not group.has_spread]
            if not flat:
                break
            again, more_rollout, more_reward = self._draw([prompts[index] for index in flat], seed + attempt)
            redrawn += len(flat)
            rollout_seconds += more_rollout
            reward_seconds += more_reward
            for index, group in zip(flat, again, strict=True):
                groups[index] = group
        return Collected(groups=groups, redrawn=redrawn, seconds_rollout=rollout_seconds, seconds_reward=reward_seconds)

    def judge(self, prompt: Prompt, completions: tuple[Completion, ...]) -> Group:
        """Read and reward the completions of one prompt."""
        verdicts = tuple(self.template.read(completion.text, prompt) for completion in completions)
        return Group(prompt=prompt, completions=completions, verdicts=verdicts, rewards=self.reward(verdicts, prompt))

    def _draw(self, prompts: Sequence[Prompt], seed: int) -> tuple[list[Group], float, float]:
        start = time.perf_counter()
        drawn = self.rollout.sample(prompts, seed=seed)
        sampled = time.perf_counter()
        groups = [self.judge(prompt, completions) for prompt, completions in zip(prompts, drawn, strict=True)]
        return groups, sampled - start, time.perf_counter() - sampled
