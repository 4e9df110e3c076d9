"""The mean of the weights over a run: what is looked at and exported, while the optimizer goes on from the last ones.

The last weights of a run at a constant learning rate lie somewhere around a good place; the mean of many lies nearer
to it. A mean needs no end to be planned for, as a falling learning rate does: it can be taken at any step, so a run
that is extended is the run that was longer from the start.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from adfm.grpo import zero


@runtime_checkable
class Average(Protocol):
    """How much the weights of each step count in the mean."""

    def share(self, step: int) -> float:
        """Return the share in the mean of all so far that the weights after update `step` (from 1) get."""
        ...


@dataclass(frozen=True, kw_only=True)
class PolynomialDecay:
    """Polynomial-decay averaging (Shamir and Zhang, arXiv 1212.1824): the mean forgets in proportion to its age.

    Weights count about as the `power` of their step: 0 is the plain mean of all, 3 has its centre at four fifths.

    >>> [round(PolynomialDecay(power=3).share(step), 3) for step in (1, 2, 5, 397)]
    [1.0, 0.8, 0.5, 0.01]
    """

    power: float = 3.0

    def __post_init__(self) -> None:
        if self.power < 0:
            raise ValueError(f"optimizer.average.power is {self.power}; it must be 0 or more")

    def share(self, step: int) -> float:
        """Return the share in the mean of all so far that the weights after update `step` (from 1) get."""
        return (self.power + 1) / (step + self.power)


class MeanWeights:
    """The mean of a module's trained weights in float32, of this rank's shard under ZeRO-3 and whole otherwise.

    It lies where the weights lie and takes 4 bytes for each, while it is `in_place` 2 or 4 more.
    """

    def __init__(self, average: Average, parameters: Sequence[nn.Parameter]) -> None:
        """Average these parameters; the first `add` decides where from."""
        self.average = average
        self.parameters = parameters
        self.means: list[Tensor] = []

    @torch.no_grad()
    def add(self, step: int) -> None:
        """Take in the weights after update `step`, from 1."""
        if not self.means:
            self.means = [torch.zeros_like(held, dtype=torch.float32) for held in self._held()]
        share = self.average.share(step)
        for mean, held in zip(self.means, self._held(), strict=True):
            mean.lerp_(held.float(), share)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Put the mean in the place of the weights; before the first update there is none, and they stay."""
        if not self.means:
            yield
            return
        zero.release(self.parameters)
        newest = [held.clone() for held in self._held()]
        self._copy(self.means)
        try:
            yield
        finally:
            self._copy(newest)

    def restore(self, means: Sequence[Tensor]) -> None:
        """Take up the means of a checkpoint, each to where its weights lie."""
        self.means = [mean.to(held.device) for mean, held in zip(means, self._held(), strict=True)]

    @torch.no_grad()
    def _copy(self, values: Sequence[Tensor]) -> None:
        for held, value in zip(self._held(), values, strict=True):
            held.copy_(value)

    def _held(self) -> list[Tensor]:
        return [zero.held(parameter) for parameter in self.parameters]
