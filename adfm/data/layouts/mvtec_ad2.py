"""MVTec AD 2 (Heckler-Kram et al., arXiv 2503.21622): every object under several lights.

`<category>/train/good`, `<category>/validation/good` and `<category>/test_public/{good,bad}`, with the masks in
`<category>/test_public/ground_truth/bad/<name>_mask.png`. The name of an image ends in its light: `000_regular.png`,
`000_overexposed.png`, `000_shift_1.png`.

`test_private` and `test_private_mixed` have no public labels, so nothing here could be true of them: they are never
listed. The benchmark's server (benchmark.mvtec.com) scores them.
"""

from __future__ import annotations

import re
from dataclasses import replace

from adfm.data.benchmark import UNNAMED, Listing, Source
from adfm.data.layouts.mvtec import masks_named, tree
from adfm.types import Sample

_LIGHT = re.compile(r"^\d+_(.+)$")


def mvtec_ad2(source: Source) -> Listing:
    """List the public parts of MVTec AD 2; the light of an image is its attribute `light`.

    Raises:
        DataError: A folder that every category has is missing, or has no images; the message names it.
    """
    listing = tree(
        source,
        parts={"train": "train", "val": "validation", "test": "test_public"},
        ground_truth="{part}/ground_truth",
        masks=masks_named("_mask"),
        types={"bad": UNNAMED},
    )
    for samples in listing.parts.values():
        samples[:] = [_lit(sample) for sample in samples]
    return listing


def _lit(sample: Sample) -> Sample:
    light = _LIGHT.match(sample.image.stem)
    return replace(sample, attributes={"light": light[1].replace("_", " ")}) if light else sample
