"""Which tokens of a completion answer for what it earned. One small class for each way to share it out.

A policy gradient stays what it is if a token is not credited with a reward that was settled before it was written:
given what stands there, such a reward is a constant, and a constant times the gradient of a token's log-probability
is 0 on average. So leaving it out takes away noise alone: the reward to go of policy gradients, for terms instead of
time steps. In an answer of several stages that noise lets words decay that no term judges (experiments/first_light).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from adfm.models.token_places import TokenPlaces
from adfm.types import Group

Scale = Callable[[Float[np.ndarray, " completion"]], float]
"""What an objective divides the centred rewards of a group by."""
Decode = Callable[[Sequence[int]], str]
"""The text of some tokens."""


@runtime_checkable
class Credit(Protocol):
    """Shares out what the completions of a group earned."""

    def __call__(self, group: Group, scale: Scale, decode: Decode) -> list[Float[np.ndarray, " _"]]:
        """Return the advantages of the tokens of each completion."""
        ...


@dataclass(frozen=True, slots=True)
class WholeCompletion:
    """Every token has the advantage of its completion: GRPO as published."""

    def __call__(self, group: Group, scale: Scale, decode: Decode) -> list[Float[np.ndarray, " _"]]:
        """Return the advantages of the tokens of each completion."""
        return _on_every_token(group, scale(group.rewards.total))


@dataclass(frozen=True, slots=True)
class UntilSettled:
    """A token is credited with a term only as long as the term can still change.

    Where none is settled yet a token has the advantage of its completion; a completion whose form is broken, and a
    released reading, settle nothing before the end. All are divided by one scale, that of the total, or of a single
    term where that is larger: terms that cancel each other out would else be blown up.
    """

    def __call__(self, group: Group, scale: Scale, decode: Decode) -> list[Float[np.ndarray, " _"]]:
        """Return the advantages of the tokens of each completion."""
        total, terms = group.rewards.total, group.rewards.settled.values()
        divisor = max(scale(earned) for earned in (total, *(term.weighted for term in terms)))
        shared = _on_every_token(group, divisor)
        places = [TokenPlaces(completion.token_ids, decode) for completion in group.completions]
        for term in terms:
            advantages = centred(term.weighted) / divisor
            if advantages.any():  # a term that pays all alike needs no places
                for tokens, place, characters, advantage in zip(
                    shared, places, term.characters, advantages, strict=True
                ):
                    tokens[place.until(characters) :] -= advantage
        return shared


def _on_every_token(group: Group, divisor: float) -> list[Float[np.ndarray, " _"]]:
    """Give every token the whole advantage of its completion."""
    advantages = centred(group.rewards.total) / divisor
    return [
        np.full(len(completion.token_ids), advantage)
        for completion, advantage in zip(group.completions, advantages, strict=True)
    ]


def centred(rewards: Float[np.ndarray, " completion"]) -> Float[np.ndarray, " completion"]:
    """Subtract the group's mean."""
    return rewards - rewards.mean()
