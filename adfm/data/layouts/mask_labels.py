"""Labels that only the masks know: some sets give every image a mask, all zero where it is good."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from adfm.data.masks import MaskFiles, read_defect
from adfm.types import Sample


def labelled(samples: Sequence[Sample], masks: Sequence[MaskFiles], defect_type: str) -> list[Sample]:
    """Return the samples with the label of their masks: good, and without mask, where it is all zero.

    Opens every mask, several at a time; keep it to sets of a few thousand.

    Raises:
        DataError: A mask is missing or cannot be decoded.
    """
    with ThreadPoolExecutor() as pool:
        anomalous = list(pool.map(_any_defect, masks))
    return [
        replace(sample, anomalous=True, defect_type=defect_type, mask=mask) if defect else sample
        for sample, mask, defect in zip(samples, masks, anomalous, strict=True)
    ]


def _any_defect(mask: MaskFiles) -> bool:
    return any(bool(read_defect(file, mask.above).any()) for file in mask.files)
