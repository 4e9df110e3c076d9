"""Near-duplicates: images that show the same thing under different names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image

from adfm.data.images import read_image
from adfm.types import Sample

THUMBNAIL = 32
"""Side of the thumbnails that are compared, in pixels."""
_BLOCK = 2048


def thumbnail(path: Path) -> Float[np.ndarray, " pixel"]:
    """Return the image as 32 x 32 grey values of mean 0 and length 1, so that a dot product is a correlation.

    An image of one tone has no correlation with any other: its values are all 0.
    """
    small = read_image(path).convert("L").resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    values = np.asarray(small, np.float32).ravel()
    values = values - values.mean()
    length = float(np.linalg.norm(values))
    return values / length if length > 1e-6 else np.zeros_like(values)


def similar_pairs(thumbnails: Float[np.ndarray, "image pixel"], threshold: float) -> list[tuple[int, int]]:
    """Return the pairs (i, j), i < j, whose correlation is at least `threshold`."""
    return [(first, second) for first, second in _close(thumbnails, thumbnails, threshold) if first < second]


def _close(
    first: Float[np.ndarray, "one pixel"], second: Float[np.ndarray, "other pixel"], threshold: float
) -> Iterator[tuple[int, int]]:
    """Compare all with all, a block of rows at a time."""
    for start in range(0, len(first), _BLOCK):
        for i, j in np.argwhere(first[start : start + _BLOCK] @ second.T >= threshold):
            yield start + int(i), int(j)


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


def leaks(parts: Mapping[str, Sequence[Sample]], threshold: float = 0.98) -> list[tuple[Sample, Sample]]:
    """Return the pairs of samples in different parts whose thumbnails correlate by at least `threshold`."""
    found = []
    shots = {part: np.array([thumbnail(sample.image) for sample in samples]) for part, samples in parts.items()}
    for first, second in combinations([part for part in parts if len(parts[part])], 2):
        found += [(parts[first][i], parts[second][j]) for i, j in _close(shots[first], shots[second], threshold)]
    return found
