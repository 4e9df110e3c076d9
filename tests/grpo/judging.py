"""Rewards that a worker can import, as a user's would be, and records of steps to move a judge into workers."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from adfm.grpo.judge import MEASURED_STEPS, Judge
from adfm.reasoning.frames import IdentityFrame
from adfm.types import Completion, Group, Prompt, Sample, StepRecord, Verdict

TEXTS = ("", "a long text with <answer>A</answer>", "<think>so (B)</think><answer>B</answer>", "ee")


def length(verdict: Verdict, prompt: Prompt) -> float:
    """How long it is, in a number that rounding would show."""
    return len(verdict.text) / 7


def starts_with_a_vowel(verdict: Verdict, prompt: Prompt) -> float:
    """Rare enough in noise that some groups have no spread, and some do."""
    return float(verdict.text[:1].lower() in {"a", "e", "i", "o", "u"})


def refuse_sevens(verdict: Verdict, prompt: Prompt) -> float:
    """Fails on a text with a seven."""
    if "7" in verdict.text:
        raise KeyError("seven")
    return 1.0


def loaded_torch(verdict: Verdict, prompt: Prompt) -> float:
    """Whether the process that judges has loaded torch; the same in both only if no worker does."""
    return float("torch" in sys.modules and os.getpid() != int(os.environ["JUDGING_PARENT"]))


def die_on_seven(verdict: Verdict, prompt: Prompt) -> float:
    """Ends the process on a text with a seven."""
    if "7" in verdict.text:
        os._exit(1)
    return 1.0


def process(verdict: Verdict, prompt: Prompt) -> float:
    """Which process judges: a reward that is not pure."""
    return float(os.getpid())


@dataclass(frozen=True)
class AfterReference:
    """Pays only once a file is there, if it is told to wait: so it never ends unless something goes on beside it."""

    folder: Path

    def __call__(self, verdict: Verdict, prompt: Prompt) -> float:
        """Wait for the file `reference`, at most a minute, if the file `wait` is there."""
        for _ in range(6000):
            if not (self.folder / "wait").exists() or (self.folder / "reference").exists():
                return length(verdict, prompt)
            time.sleep(0.01)
        raise TimeoutError("nothing went on beside the reward")


def make_prompt(name: str = "s0") -> Prompt:
    sample = Sample(id=name, image=Path("none.png"), stated_size=(64, 64), category="tile", anomalous=False)
    frame = IdentityFrame(width=64, height=64)
    choices = {"A": True, "B": False}
    return Prompt(id=name, sample=sample, messages=(), images=(), frame=frame, choices=choices, key="B")


def complete(texts: Sequence[str]) -> tuple[Completion, ...]:
    tokens = {"token_ids": np.zeros(0, dtype=np.int64), "sampler_logprob": np.zeros(0)}
    return tuple(Completion(text=text, truncated=False, **tokens) for text in texts)


def group_of(judge: Judge, prompt: Prompt, texts: Sequence[str] = TEXTS) -> Group:
    verdicts, rewards = judge.begin(prompt, texts).result()
    return Group(prompt=prompt, completions=complete(texts), verdicts=verdicts, rewards=rewards)


def record(step: int, group: Group, *, share: float) -> StepRecord:
    """A step of ten seconds, of which `share` went to rewards."""
    return StepRecord(step=step, groups=[group], metrics={"seconds/reward": share * 10, "seconds/step": 10.0})


def make_dear(judge: Judge, group: Group | None = None) -> None:
    """Tell a judge of steps that spent half of their time on rewards."""
    group = group or group_of(judge, make_prompt())
    for step in range(1, MEASURED_STEPS + 1):
        judge.after_step(record(step, group, share=0.5))


def equal(one: Any, other: Any) -> bool:
    """Whether two judgements are the same, bit for bit."""
    (verdicts, rewards), (theirs, others) = one, other
    terms = rewards.terms.keys() == others.terms.keys()
    same = [np.array_equal(rewards.terms[name], others.terms[name]) for name in rewards.terms]
    return verdicts == theirs and terms and all(same) and np.array_equal(rewards.total, others.total)
