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
    others = [path for path in normals if path != sample.image]
    return replace(sample, references=(Random(f"{seed} {sample.id}").choice(others),)) if others else sample
