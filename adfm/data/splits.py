"""Dividing samples into train, val and test: seeded, balanced by type, with what belongs together on one side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from random import Random


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
