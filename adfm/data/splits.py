"""Dividing samples into train, val and test: seeded, balanced by type, with what belongs together on one side.

A split takes samples in the parts where their data set publishes them and returns the parts of a run. Variants are
classes beside each other; what one draws depends on its seed, the category and the type alone, so another category or
type beside it changes nothing. Images are drawn: samples of one image, as the questions about it, stay together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from adfm.data.likeness import alike
from adfm.errors import ConfigError, DataError
from adfm.types import Sample

Parts = Mapping[str, Sequence[Sample]]
Split = Callable[[Parts], dict[str, list[Sample]]]


@dataclass(frozen=True, kw_only=True)
class Published:
    """As published; where no val part is, a share of train becomes it."""

    val: float = 0.2
    """Share of train, of each category and type."""
    seed: int = 0
    """Of what is drawn."""

    def __post_init__(self) -> None:
        """Raise ConfigError for a share that leaves a part empty."""
        _between(self, "val")

    def __call__(self, parts: Parts) -> dict[str, list[Sample]]:
        """Divide."""
        train, val = list(parts["train"]), list(parts["val"])
        if not val:
            train, val = _shared_out(train, self.val, self.seed)
        return {"train": train, "val": val, "test": list(parts["test"])}


@dataclass(frozen=True, kw_only=True)
class FewShot:
    """A few labelled anomalies of each type to train and to choose on, beside the normals.

    They come from train where it has anomalies of the type (its other anomalies are then left out), else they leave
    the test part, which keeps all others and its normals. Where no val part is published, a share of the train normals
    becomes it.
    """

    shots_per_type: int = 4
    """Anomalies of each category and type to train on; 0 trains on normals alone."""
    val_shots_per_type: int = 2
    """Likewise to choose on."""
    val: float = 0.2
    """Share of the train normals that goes to val."""
    seed: int = 0
    """Of what is drawn."""

    def __post_init__(self) -> None:
        """Raise ConfigError for numbers that no split can have."""
        _between(self, "val")
        if min(self.shots_per_type, self.val_shots_per_type) < 0:
            raise ConfigError("dataset.split.shots_per_type and .val_shots_per_type must not be negative")

    def __call__(self, parts: Parts) -> dict[str, list[Sample]]:
        """Divide. Raises DataError where a type has too few anomalies, or train no normals."""
        normals = [sample for sample in parts["train"] if not sample.anomalous]
        if not normals:
            raise DataError("no normal sample is published for training; use dataset/split=fraction")
        train, val, test = normals, list(parts["val"]), list(parts["test"])
        if not val:
            train, val = _shared_out(normals, self.val, self.seed)
        trained = {_cell(sample) for sample in parts["train"] if sample.anomalous}
        for part in ("train", "test"):
            for cell, members in _cells(sample for sample in parts[part] if sample.anomalous):
                if part == "test" and cell in trained:
                    continue
                order = self._order(cell, members, needed=1 if part == "test" else 0)
                first, second = self.shots_per_type, self.shots_per_type + self.val_shots_per_type
                train += _of(order[:first], members)
                val += _of(order[first:second], members)
                if part == "test":
                    taken = set(order[:second])
                    test = [sample for sample in test if sample.image not in taken]
        return {"train": train, "val": val, "test": test}

    def _order(self, cell: tuple[str, str], members: list[Sample], needed: int) -> list[Path]:
        count = len({sample.image for sample in members})
        if count < self.shots_per_type + self.val_shots_per_type + needed:
            category, kind = cell
            left = " with one left to test" if needed else ""
            raise DataError(
                f"{category}, {kind}: has {count} images, too few for "
                f"dataset.split.shots_per_type={self.shots_per_type} and "
                f"dataset.split.val_shots_per_type={self.val_shots_per_type}{left}"
            )
        return _shuffled(members, self.seed, cell)


@dataclass(frozen=True, kw_only=True)
class Fraction:
    """A fraction of the test part, of each category and type, joins train, and another val.

    MMAD's in-domain runs train on 20 % of each class so (SiGMA, IAD-R1 and others; ours is seeded).
    """

    train_fraction: float = 0.2
    """Of each category and type of the published test part."""
    val_fraction: float = 0.1
    """Likewise."""
    seed: int = 0
    """Of what is drawn."""

    def __post_init__(self) -> None:
        """Raise ConfigError for fractions that leave nothing to test."""
        _between(self, "train_fraction", "val_fraction")
        if self.train_fraction + self.val_fraction >= 1:
            raise ConfigError("dataset.split.train_fraction and .val_fraction must leave something to test")

    def __call__(self, parts: Parts) -> dict[str, list[Sample]]:
        """Divide."""
        test, train = _shared_out(parts["test"], self.train_fraction, self.seed)
        test, val = _shared_out(test, self.val_fraction / (1 - self.train_fraction), self.seed)
        return {"train": [*parts["train"], *train], "val": [*parts["val"], *val], "test": test}


@dataclass(frozen=True, kw_only=True)
class Clustered:
    """All samples divided anew, near-duplicates on one side; opens every image."""

    val: float = 0.15
    """Share of the validation part, within each category and type as far as clusters of near-duplicates allow."""
    test: float = 0.25
    """Likewise of the test part."""
    similarity: float = 0.98
    """Images whose 32 x 32 thumbnails correlate by at least this stay together, as do near-duplicates by their hash."""
    seed: int = 0
    """Of what is drawn."""

    def __post_init__(self) -> None:
        """Raise ConfigError for shares that leave nothing to train on."""
        _between(self, "val", "test")
        if self.val + self.test >= 1:
            raise ConfigError("dataset.split.val and .test must leave something to train on")

    def __call__(self, parts: Parts) -> dict[str, list[Sample]]:
        """Divide."""
        samples = [sample for members in parts.values() for sample in members]
        near = alike([sample.image for sample in samples], self.similarity)
        types = [" ".join(_cell(sample)) for sample in samples]
        shares = {"train": 1 - self.val - self.test, "val": self.val, "test": self.test}
        split = grouped_split(clusters(len(samples), near), types, shares, self.seed)
        return {part: [samples[index] for index in indices] for part, indices in split.items()}


def _between(split: object, *names: str) -> None:
    for name in names:
        if not 0 < getattr(split, name) < 1:
            raise ConfigError(f"dataset.split.{name} must be between 0 and 1, but is {getattr(split, name)}")


def _cell(sample: Sample) -> tuple[str, str]:
    return sample.category, sample.defect_type or ("anomalous" if sample.anomalous else "good")


def _cells(samples: Iterator[Sample] | Sequence[Sample]) -> Iterator[tuple[tuple[str, str], list[Sample]]]:
    cells: dict[tuple[str, str], list[Sample]] = {}
    for sample in samples:
        cells.setdefault(_cell(sample), []).append(sample)
    yield from cells.items()


def _shuffled(members: Sequence[Sample], seed: int, cell: tuple[str, str]) -> list[Path]:
    """Return the images in an order that depends on the seed and the cell; before, they are in that of the ids."""
    order = list(dict.fromkeys(sample.image for sample in _sorted(members)))
    Random(f"{seed} {' '.join(cell)}").shuffle(order)
    return order


def _of(images: Sequence[Path], members: Sequence[Sample]) -> list[Sample]:
    chosen = set(images)
    return _sorted([sample for sample in members if sample.image in chosen])


def _sorted(samples: Sequence[Sample]) -> list[Sample]:
    return sorted(samples, key=lambda sample: sample.id)


def _shared_out(samples: Sequence[Sample], share: float, seed: int) -> tuple[list[Sample], list[Sample]]:
    """Take a share of the images of each category and type out; both lists keep the order."""
    taken: set[Path] = set()
    for cell, members in _cells(samples):
        order = _shuffled(members, seed, cell)
        taken.update(order[: round(share * len(order))])
    return [one for one in samples if one.image not in taken], [one for one in samples if one.image in taken]


def clusters(count: int, pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Join 0 to `count` - 1 along the pairs (union-find); each cluster and the list of them are sorted.

    >>> clusters(5, [(0, 3), (3, 4)])
    [[0, 3, 4], [1], [2]]
    """
    parent = list(range(count))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for first, second in pairs:
        parent[root(first)] = root(second)
    members: dict[int, list[int]] = {}
    for index in range(count):
        members.setdefault(root(index), []).append(index)
    return sorted(members.values())


def grouped_split(
    clusters: Sequence[Sequence[int]], types: Sequence[str], shares: Mapping[str, float], seed: int
) -> dict[str, list[int]]:
    """Give each cluster to the part that still lacks most of its types.

    Args:
        clusters: Indices into `types` that must stay together; large clusters are placed first, those of one size in
        an order
            drawn from `seed`.
        types: Of each sample, whatever shall be balanced.
        shares: Part to its share; they add up to 1.
        seed: Of the order.

    Returns:
        Part to its sorted indices.

    >>> grouped_split([[0, 1], [2], [3]], ["a", "a", "a", "a"], {"train": 0.5, "test": 0.5}, seed=0)
    {'train': [0, 1], 'test': [2, 3]}
    """
    total = Counter(types)
    order = [list(cluster) for cluster in clusters]
    Random(seed).shuffle(order)
    order.sort(key=len, reverse=True)
    parts: dict[str, list[int]] = {part: [] for part in shares}
    counts: dict[str, Counter[str]] = {part: Counter() for part in shares}
    for cluster in order:
        members = Counter(types[index] for index in cluster)

        def lack(part: str, members: Counter[str] = members) -> float:
            wanted = {kind: shares[part] * total[kind] - counts[part][kind] for kind in members}
            return sum(members[kind] * wanted[kind] / total[kind] for kind in members)

        part = max(shares, key=lack)
        parts[part] += cluster
        counts[part] += members
    return {part: sorted(indices) for part, indices in parts.items()}
