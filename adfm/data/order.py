"""The order in which a run meets its samples."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import cycle, islice

import numpy as np
from jaxtyping import Int

from adfm.types import Sample


class EpochOrder:
    """An endless order of `count` samples: every epoch a new permutation of all.

    It has no state: what stands at a place follows from the seed, so resuming needs no cursor.

    >>> order = EpochOrder(3, seed=0)
    >>> sorted(order[place] for place in range(3)), sorted(order[place] for place in range(3, 6))
    ([0, 1, 2], [0, 1, 2])
    """

    def __init__(self, count: int, *, seed: int) -> None:
        self.count = count
        self.seed = seed

    def __getitem__(self, place: int) -> int:
        """Return the index of the sample at a place, counted from 0 over all epochs."""
        epoch, within = divmod(place, self.count)
        return int(_permutation(self.count, self.seed, epoch)[within])


@lru_cache(maxsize=4)
def _permutation(count: int, seed: int, epoch: int) -> Int[np.ndarray, " sample"]:
    return np.random.default_rng((seed, epoch)).permutation(count)


def balanced(samples: Sequence[Sample]) -> list[Sample]:
    """Return all samples, those of the rarer label repeated in their order until both labels are equally frequent.

    Where one label is missing, nothing is repeated.
    """
    labels = ([one for one in samples if one.anomalous is label] for label in (False, True))
    rare, frequent = sorted(labels, key=len)
    return [*samples, *islice(cycle(rare), len(frequent) - len(rare))] if rare else list(samples)
