"""Which normal images are shown beside a sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

from adfm.types import Sample


def with_references(sample: Sample, normals: Sequence[Path], count: int, seed: int) -> Sample:
    """Return the sample with `count` of the normal images, never its own, as references; fewer where there are fewer.

    A sample whose data set names its references (a template of the same board) keeps those.
    Otherwise the choice depends on the seed and the sample's id alone, as long as `normals` stays the same.
    """
    if sample.references:
        return sample
    drawn = Random(f"{seed} {sample.id}").sample(range(len(normals)), min(count + 1, len(normals)))
    others = [normals[place] for place in drawn if normals[place] != sample.image]
    return replace(sample, references=tuple(others[:count])) if others[:count] else sample
