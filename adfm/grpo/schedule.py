"""Learning-rate schedules as pure functions of the step, so that a resumed run needs no scheduler state.

Steps are counted from 1, as in `StepRecord.step`: the first update of a run asks for `factor(1, total_steps)`. Every
schedule climbs linearly to 1 over `warmup_steps` updates (the first one already learns) and then goes its own way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@runtime_checkable
class Schedule(Protocol):
    """What the learning rate is multiplied with."""

    def factor(self, step: int, total_steps: int) -> float:
        """Return the factor of update number `step` (from 1) in a run of `total_steps` updates."""
        ...


@dataclass(frozen=True, kw_only=True)
class Constant:
    """Stays at 1 after the warm-up.

    >>> [Constant(warmup_steps=2).factor(step, 4) for step in (1, 2, 3, 4)]
    [0.5, 1.0, 1.0, 1.0]
    """

    warmup_steps: int = 0

    def __post_init__(self) -> None:
        if self.warmup_steps < 0:
            raise ValueError(f"optimizer.schedule.warmup_steps is {self.warmup_steps}; it must be 0 or more")

    def factor(self, step: int, total_steps: int) -> float:
        """Return the factor of update number `step` (from 1) in a run of `total_steps` updates."""
        if step < 1:
            raise ValueError(f"steps are counted from 1, not {step}")
        if step <= self.warmup_steps:
            return step / self.warmup_steps
        return self._after(_remaining(step, self.warmup_steps, total_steps))

    def _after(self, remaining: float) -> float:
        """Return the factor after the warm-up; `remaining` falls from 1 towards 0 and is 0 beyond the last update."""
        return 1.0


@dataclass(frozen=True, kw_only=True)
class Linear(Constant):
    """Falls in a straight line after the warm-up and would reach 0 with the update after the last one.

    >>> [Linear(warmup_steps=1).factor(step, 5) for step in (1, 2, 3, 4, 5, 6)]
    [1.0, 1.0, 0.75, 0.5, 0.25, 0.0]
    """

    def _after(self, remaining: float) -> float:
        return remaining


@dataclass(frozen=True, kw_only=True)
class Cosine(Constant):
    """Falls along half a cosine after the warm-up and would reach 0 with the update after the last one.

    >>> [round(Cosine().factor(step, 4), 4) for step in (1, 2, 3, 4, 5)]
    [1.0, 0.8536, 0.5, 0.1464, 0.0]
    """

    def _after(self, remaining: float) -> float:
        return 0.5 * (1.0 + math.cos(math.pi * (1.0 - remaining)))


def _remaining(step: int, warmup_steps: int, total_steps: int) -> float:
    """Return the share of the updates after the warm-up that are still to be made, this one included."""
    decaying = max(total_steps - warmup_steps, 1)
    return max(total_steps - step + 1, 0) / decaying
