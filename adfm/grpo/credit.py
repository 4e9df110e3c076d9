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
from jaxtyping import Float, Int

from adfm.models.token_places import TokenPlaces
from adfm.types import Group, Rewards

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
        advantages = centred(group.rewards.total) / scale(group.rewards.total)
        return [
            np.full(len(completion.token_ids), advantage)
            for completion, advantage in zip(group.completions, advantages, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class UntilSettled:
    """A token is credited with a term only as long as the term can still change.

    Where none is settled yet a token has the advantage of its completion; a completion whose form is broken, and a
    released reading, settle nothing before the end.
    """

    def __call__(self, group: Group, scale: Scale, decode: Decode) -> list[Float[np.ndarray, " _"]]:
        """Return the advantages of the tokens of each completion."""
        divisor = _largest(scale, group.rewards)
        earned = [one - one.mean(1, keepdims=True) for one in open_rewards(group, decode)]
        return [one[:, index] / divisor for index, one in enumerate(earned)]


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixBaseline:
    """A token is compared with the other completions that began as its own did, by what is still open.

    What a completion earned over the mean of its group is the merit of the token at which it parted from the others,
    and noise to all tokens behind. So the baseline of a token is what the others earned that wrote the same before
    it. They are few, so their mean is drawn to that of the shorter beginning, as if `prior` others had earned that;
    where nobody began alike it is that one. A baseline that no token of its own has a part in leaves the gradient
    what it is. The group's mean is such a baseline but for a factor (n - 1) / n, which is kept. The values of a
    prefix tree are those of TEMPO (arXiv 2509.18314), which adds their differences to GRPO's advantage.
    """

    prior: float = 0.5

    def __post_init__(self) -> None:
        if self.prior <= 0:
            raise ValueError(f"objective.credit.prior is {self.prior}; it must be above 0")

    def __call__(self, group: Group, scale: Scale, decode: Decode) -> list[Float[np.ndarray, " _"]]:
        """Return the advantages of the tokens of each completion."""
        alike = shared_beginnings([completion.token_ids for completion in group.completions])
        factor = (len(alike) - 1) / len(alike) / _largest(scale, group.rewards)
        return [
            factor * (earned[:, index] - self.baseline(np.delete(earned, index, axis=1), np.delete(row, index)))
            for index, (earned, row) in enumerate(zip(open_rewards(group, decode), alike, strict=True))
        ]

    def baseline(
        self, earned: Float[np.ndarray, "token other"], alike: Int[np.ndarray, " other"]
    ) -> Float[np.ndarray, " token"]:
        """Give what a completion is expected to earn at each of its tokens.

        Args:
            earned: What the others earned by the terms that are open at the token.
            alike: How many tokens they began alike with.

        >>> PrefixBaseline(prior=1.0).baseline(np.tile([4.0, 0.0], (3, 1)), np.array([1, 0])).tolist()
        [2.0, 3.0, 3.0]
        """
        value = earned.mean(1)
        for length in np.unique(alike):
            behind, left = slice(length + 1, None), alike > length
            value[behind] = (earned[behind, left].sum(1) + self.prior * value[behind]) / (left.sum() + self.prior)
        return value


def shared_beginnings(texts: Sequence[Int[np.ndarray, " _"]]) -> Int[np.ndarray, "text text"]:
    """Count the tokens with which each two texts begin alike.

    >>> shared_beginnings([np.array([1, 2, 3]), np.array([1, 2]), np.array([4])]).tolist()
    [[3, 2, 0], [2, 2, 0], [0, 0, 1]]
    """
    longest = max(map(len, texts))
    padded = np.stack([np.pad(ids, (0, longest - len(ids)), constant_values=-1) for ids in texts])
    same = (padded[:, None] == padded[None]) & (padded[:, None] >= 0)
    return same.cumprod(-1).sum(-1)


def open_rewards(group: Group, decode: Decode) -> list[Float[np.ndarray, "token completion"]]:
    """Give for each token of each completion what all of the group earned by the terms that are open at it."""
    terms = [term for term in group.rewards.settled.values() if centred(term.weighted).any()]  # others need no places
    found = []
    for index, completion in enumerate(group.completions):
        earned = np.tile(group.rewards.total, (len(completion.token_ids), 1))
        places = TokenPlaces(completion.token_ids, decode)
        for term in terms:
            earned[places.until(term.characters[index]) :] -= term.weighted
        found.append(earned)
    return found


def _largest(scale: Scale, rewards: Rewards) -> float:
    """Give the scale of the total, or of a term where that is larger: terms that cancel out would be blown up."""
    return max(scale(earned) for earned in (rewards.total, *(term.weighted for term in rewards.settled.values())))


def centred(rewards: Float[np.ndarray, " completion"]) -> Float[np.ndarray, " completion"]:
    """Subtract the group's mean."""
    return rewards - rewards.mean()
