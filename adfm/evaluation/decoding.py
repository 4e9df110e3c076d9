"""How a model is let write about an image, and what one verdict its completions come to: greedy, or several draws."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from adfm.errors import ConfigError
from adfm.evaluation.box_tokens import box_confidences
from adfm.evaluation.consensus import consensus
from adfm.evaluation.inspection import Draw
from adfm.grpo.rollout import generate
from adfm.grpo.written import Written
from adfm.models.vlm import VLM, EncodedPrompt
from adfm.types import Completion, Prompt, Verdict

ROWS = 256
"""Completions that are written at once, at most; it changes speed and memory, not results."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conclusion:
    """What the completions about one image come to."""

    verdict: Verdict
    confidences: tuple[float, ...]
    """Of each box of the verdict."""
    draws: tuple[Draw, ...] = ()
    """The completions, where there were several."""


@runtime_checkable
class Decoding(Protocol):
    """How completions are written and what they come to."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """Everything that decides its completions, as plain values: a part of the key of kept predictions."""
        ...

    def __call__(
        self,
        vlm: VLM,
        prompts: Sequence[Prompt],
        encoded: Sequence[EncodedPrompt],
        written: list[Written] | None = None,
    ) -> list[tuple[Completion, ...]]:
        """Write equally many completions for each prompt; which other prompts there are changes none of them.

        What the score can go on from is added to the list `written`.
        """
        ...

    def conclude(
        self,
        vlm: VLM,
        prompt: Prompt,
        completions: Sequence[Completion],
        verdicts: Sequence[Verdict],
        score: float | None,
    ) -> Conclusion:
        """Make one verdict of those of all completions; `score` is the image's anomaly score."""
        ...


@dataclass(frozen=True, slots=True)
class Greedy:
    """The likeliest token every time: one completion. A box is as sure as the tokens of its coordinates."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """See `Decoding.settings`."""
        return {"name": "greedy"}

    def __call__(
        self,
        vlm: VLM,
        prompts: Sequence[Prompt],
        encoded: Sequence[EncodedPrompt],
        written: list[Written] | None = None,
    ) -> list[tuple[Completion, ...]]:
        """See `Decoding`."""
        length = vlm.config.completion_tokens
        return generate(vlm, encoded, group_size=1, temperature=0, completion_tokens=length, written=written)

    def conclude(
        self,
        vlm: VLM,
        prompt: Prompt,
        completions: Sequence[Completion],
        verdicts: Sequence[Verdict],
        score: float | None,
    ) -> Conclusion:
        """See `Decoding.conclude`."""
        (completion,), (verdict,) = completions, verdicts
        return Conclusion(verdict=verdict, confidences=box_confidences(vlm, completion, verdict))


@dataclass(frozen=True, slots=True)
class Draws:
    """Several completions from the model's distribution, and what they agree on (self-consistency).

    Each is drawn with random numbers of its own, which the seed, the prompt's id and its number among the draws decide.
    So more draws begin with the same ones, and neither the batch nor an interruption changes any.

    Source: Wang et al. 2022, Self-Consistency Improves Chain of Thought Reasoning (arXiv 2203.11171).
    """

    count: int
    temperature: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Check ranges; raises ConfigError."""
        if self.count < 1:
            raise ConfigError(f"draws={self.count}: at least one completion must be drawn")
        if self.temperature <= 0:
            raise ConfigError(f"temperature={self.temperature}: draws need one above 0; draws=1 is greedy")
        if self.seed < 0:
            raise ConfigError(f"seed={self.seed}: must be at least 0")

    @property
    def settings(self) -> Mapping[str, Any]:
        """See `Decoding.settings`."""
        return {"name": "draws", **asdict(self)}

    def __call__(
        self,
        vlm: VLM,
        prompts: Sequence[Prompt],
        encoded: Sequence[EncodedPrompt],
        written: list[Written] | None = None,
    ) -> list[tuple[Completion, ...]]:
        """See `Decoding`."""
        length, size = vlm.config.completion_tokens, max(1, ROWS // self.count)
        return [
            group
            for start in range(0, len(encoded), size)
            for group in generate(
                vlm,
                encoded[start : start + size],
                group_size=self.count,
                temperature=self.temperature,
                completion_tokens=length,
                written=written,
                uniforms=np.stack(
                    [
                        self.uniforms(prompt.id, draw, length)
                        for prompt in prompts[start : start + size]
                        for draw in range(self.count)
                    ]
                ),
            )
        ]

    def uniforms(self, prompt_id: str, draw: int, length: int) -> np.ndarray:
        """Return the random numbers in [0, 1) by which the tokens of one draw are chosen."""
        name = int.from_bytes(hashlib.blake2b(prompt_id.encode(), digest_size=8).digest(), "big")
        return np.random.default_rng((self.seed, name, draw)).random(length)

    def conclude(
        self,
        vlm: VLM,
        prompt: Prompt,
        completions: Sequence[Completion],
        verdicts: Sequence[Verdict],
        score: float | None,
    ) -> Conclusion:
        """See `Decoding.conclude`."""
        verdict, confidences = consensus(verdicts, prompt, score=score)
        drawn = tuple(Draw(text=one.text, predicted=one.anomalous, boxes=one.boxes) for one in verdicts)
        return Conclusion(verdict=verdict, confidences=confidences, draws=drawn)
