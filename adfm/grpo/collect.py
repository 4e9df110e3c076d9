"""From prompts to groups: sample, begin to judge, and by option draw again where a group taught nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import BrokenExecutor, Future
from dataclasses import dataclass

from adfm.data.order import EpochOrder, Order
from adfm.grpo.judge import Judge, Judgement
from adfm.rewards.composite import RewardError
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
        order: Order | None = None,
    ) -> None:
        """Ask about `per_step` samples a step over all ranks; this one asks every `world_size`-th of them.

        Without an `order` every epoch has all samples.
        """
        self.samples = samples
        self.order = EpochOrder(len(samples), seed=seed) if order is None else order
        self.template = template
        self.frames = frames
        self.per_step = per_step
        self.seed = seed
        self.rank = rank
        self.world_size = world_size

    def images_at_once(self, least: int) -> int:
        """Return the most images that this rank shows in a step, or in `least` prompts if those are more."""
        prompts = max(least, -(-self.per_step // self.world_size))
        return prompts * (1 + max(len(sample.references) for sample in self.samples))

    def batch(self, step: int) -> list[Prompt]:
        """Return this rank's prompts of a step (counted from 0)."""
        places = range(step * self.per_step + self.rank, (step + 1) * self.per_step, self.world_size)
        return [self.template.ask(self.samples[self.order[place]], self.frames) for place in places]


@dataclass(slots=True, kw_only=True)
class Collected:
    """What was drawn for the prompts of a step, and what it cost. Judging may still be under way."""

    prompts: Sequence[Prompt]
    completions: list[tuple[Completion, ...]]
    """Of each prompt."""
    seconds_rollout: float
    seconds_reward: float
    """What was waited for rewards; whole once `groups` was read."""
    redrawn: int = 0
    """Groups drawn again because their rewards were all equal."""
    _judgements: list[Future[Judgement]]
    _groups: list[Group] | None = None

    @property
    def groups(self) -> list[Group]:
        """The judged group of each prompt, in order; the first read waits for the judging.

        Raises:
            RewardError: a reward failed, or a worker died; the message names the prompt.
        """
        if self._groups is None:
            start = time.perf_counter()
            self._groups = self._judged()
            self.seconds_reward += time.perf_counter() - start
        return self._groups

    def replace(self, indices: Sequence[int], again: Collected) -> None:
        """Take other draws of the prompts at `indices`, and add what they cost."""
        for index, completions, judgement in zip(indices, again.completions, again._judgements, strict=True):
            self.completions[index] = completions
            self._judgements[index] = judgement
        self.redrawn += len(indices)
        self.seconds_rollout += again.seconds_rollout
        self.seconds_reward += again.seconds_reward
        self._groups = None

    def _judged(self) -> list[Group]:
        groups = []
        try:
            for prompt, completions, judgement in zip(self.prompts, self.completions, self._judgements, strict=True):
                verdicts, rewards = judgement.result()
                groups.append(Group(prompt=prompt, completions=completions, verdicts=verdicts, rewards=rewards))
        except BrokenExecutor as error:
            raise RewardError(f"a reward's worker died on prompt {prompt.id} or on one after it") from error
        finally:
            for judgement in self._judgements:
                judgement.cancel()
        return groups


class Collector:
    """Sample groups, and have them read and rewarded."""

    def __init__(self, rollout: Rollout, template: Template, reward: Reward) -> None:
        """Draw with `rollout`, read with `template`, judge with `reward`."""
        self.rollout = rollout
        self.judge = Judge(template, reward)

    def collect(self, prompts: Sequence[Prompt], *, seed: int) -> Collected:
        """Draw a group for each prompt, in order; those without spread are drawn again, within the bound.

        The last draw is judged while the caller goes on, up to the first read of `Collected.groups`.
        """
        collected = self._draw(prompts, seed)
        for attempt in range(1, self.rollout.resample + 1):
            flat = [index for index, group in enumerate(collected.groups) if not group.has_spread]
            if not flat:
                break
            collected.replace(flat, self._draw([prompts[index] for index in flat], seed + attempt))
        return collected

    def _draw(self, prompts: Sequence[Prompt], seed: int) -> Collected:
        start = time.perf_counter()
        drawn = self.rollout.sample(prompts, seed=seed)
        sampled = time.perf_counter()
        judgements = [
            self.judge.begin(prompt, [completion.text for completion in completions])
            for prompt, completions in zip(prompts, drawn, strict=True)
        ]
        return Collected(
            prompts=prompts,
            completions=drawn,
            seconds_rollout=sampled - start,
            seconds_reward=time.perf_counter() - sampled,
            _judgements=judgements,
        )
