"""The order in which a run meets its samples.

An order has no state: what stands at a place follows from the seed, so resuming needs no cursor, and ranks that take
every n-th place see the same order for any n.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import cycle, islice
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int

from adfm.errors import ConfigError
from adfm.types import Sample

DATASET = "dataset"
"""The attribute in which a mixture keeps the name of a sample's data set."""
LONGEST_ROUND = 10_000
"""Places in which the shares of a weighted order must come out whole."""


@runtime_checkable
class Order(Protocol):
    """An endless row of samples."""

    def __getitem__(self, place: int) -> int:
        """Return the index of the sample at a place, counted from 0."""
        ...


class EpochOrder:
    """An endless order of `count` samples: every epoch a new permutation of all.

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


class WeightedOrder:
    """An endless order in which data sets, and by option labels, have fixed shares.

    Places come in rounds: the shortest in which every share is a whole number. Each round has every share exactly, in
    an order of its own; within a share all samples are met equally often, each of its epochs in a new permutation.

    Args:
        samples: Of the training part; in a mixture each knows its data set.
        seed: Of the order.
        weights: Name of a data set to its weight; one that is not named weighs 1, so by default all weigh the same.
        balanced: Whether half of each data set's share are normals; one with a single label has its share of those.

    Raises:
        ConfigError: There is no sample, a weight is not above 0 or names no data set, or shares do not come out whole
            within 10,000 places.

    >>> from pathlib import Path
    >>> labels = [False, True, False, False]
    >>> samples = [Sample(id=str(i), image=Path("x"), category="nut", anomalous=a) for i, a in enumerate(labels)]
    >>> order = WeightedOrder(samples, seed=0, balanced=True)
    >>> sorted(order[place] for place in range(6))
    [0, 1, 1, 1, 2, 3]
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        *,
        seed: int,
        weights: Mapping[str, Any] | None = None,
        balanced: bool = False,
    ) -> None:
        members: dict[tuple[str, bool | None], list[int]] = {}
        for index, sample in enumerate(samples):
            label = sample.anomalous if balanced else None
            members.setdefault((str(sample.attributes.get(DATASET, "")), label), []).append(index)
        shares = _shares(list(members), weights or {})
        self.seed = seed
        self.members = list(members.values())
        self.length = math.lcm(*(share.denominator for share in shares))
        if self.length > LONGEST_ROUND:
            raise ConfigError("sampling.weights: their ratios are too fine; use small whole numbers, as 3 and 1")
        self.counts = [int(share * self.length) for share in shares]
        self.orders = [
            EpochOrder(len(indices), seed=zlib.crc32(f"{seed} {name}".encode()))
            for name, indices in zip(members, self.members, strict=True)
        ]

    def __getitem__(self, place: int) -> int:
        """Return the index of the sample at a place, counted from 0 over all rounds."""
        turn, within = divmod(place, self.length)
        row = _round(tuple(self.counts), self.seed, turn)
        share = int(row[within])
        met = turn * self.counts[share] + int(np.count_nonzero(row[:within] == share))
        return self.members[share][self.orders[share][met]]


def _shares(strata: Sequence[tuple[str, bool | None]], weights: Mapping[str, Any]) -> list[Fraction]:
    """Return what part of all places each stratum (data set, label) has; they add up to 1."""
    names = [name for name, _ in strata]
    if not names:
        raise ConfigError("dataset: its training part is empty, so there is nothing to sample")
    unknown = sorted(set(weights) - set(names))
    if unknown:
        known = ", ".join(sorted(set(names) - {""})) or "none, for dataset is not a mixture"
        raise ConfigError(f"sampling.weights.{unknown[0]}: no such data set with training samples; there are {known}")
    for name, weight in weights.items():
        if not isinstance(weight, int | float) or not (weight > 0 and math.isfinite(weight)):
            raise ConfigError(f"sampling.weights.{name} is {weight!r}; it must be above 0, or leave the data set out")
    exact = {name: Fraction(str(weights.get(name, 1))) for name in names}
    return [exact[name] / sum(exact.values()) / names.count(name) for name in names]


@lru_cache(maxsize=64)
def _permutation(count: int, seed: int, epoch: int) -> Int[np.ndarray, " sample"]:
    return np.random.default_rng((seed, epoch)).permutation(count)


@lru_cache(maxsize=8)
def _round(counts: tuple[int, ...], seed: int, turn: int) -> Int[np.ndarray, " place"]:
    """Lay out one round: at each place the stratum that has it."""
    return np.random.default_rng((seed, turn)).permutation(np.repeat(np.arange(len(counts)), counts))


def balanced(samples: Sequence[Sample]) -> list[Sample]:
    """Return all samples, those of the rarer label repeated in their order until both labels are equally frequent.

    Where one label is missing, nothing is repeated. It is for stages that load a list; `WeightedOrder` balances an
    endless order, pair by pair.
    """
    labels = ([one for one in samples if one.anomalous is label] for label in (False, True))
    rare, frequent = sorted(labels, key=len)
    return [*samples, *islice(cycle(rare), len(frequent) - len(rare))] if rare else list(samples)
