"""Which normal image is shown beside a sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

from adfm.types import Sample


def with_reference(sample: Sample, normals: Sequence[Path], seed: int) -> Sample:
    """Return the sample with one of the normal images, never its own, as its reference; none where there is no other.

    The choice depends on the seed and the sample's id alone, as long as `normals` stays the same.
    """
    if not normals or list(normals) == [sample.image]:
        return sample
    drawn = Random(f"{seed} {sample.id}").randrange(len(normals))
    if normals[drawn] == sample.image:
        drawn = (drawn + 1) % len(normals)
    return replace(sample, references=(normals[drawn],))
