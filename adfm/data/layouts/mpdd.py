"""MPDD (Jezek et al., ICUMT 2021): painted metal parts, in the tree of MVTec AD.

`<category>/train/good`, `<category>/test/{good,<type>}`, and the mask of `test/<type>/<name>.png` in
`<category>/ground_truth/<type>/<name>_mask.png`.
"""

from __future__ import annotations

from adfm.data.benchmark import UNNAMED, Listing, Source
from adfm.data.layouts.mvtec import masks_named, tree


def mpdd(source: Source) -> Listing:
    """List MPDD as published; every value of a mask but 0 is defect.

    Raises:
        DataError: A folder that every category has is missing, or has no images; the message names it.
    """
    return tree(source, masks=masks_named("_mask"), above=0, types={"anomalous": UNNAMED})
