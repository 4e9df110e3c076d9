"""VisA (Zou et al., ECCV 2022) as its authors' `prepare_data.py` arranges it: the tree of MVTec AD.

`<category>/train/good`, `<category>/test/{good,bad}`, and the mask of `test/bad/<name>.JPG` in
`<category>/ground_truth/bad/<name>.png`. The trees of the two-class setups (`2cls_highshot`, `2cls_fewshot`) have
`train/bad` too, and keep the masks of a part in `ground_truth/<part>/bad`.
"""

from __future__ import annotations

from adfm.data.benchmark import UNNAMED, Listing, Source
from adfm.data.layouts.mvtec import masks_named, tree


def visa(source: Source, *, two_class: bool = False) -> Listing:
    """List VisA as prepared; every value of a mask but 0 is defect.

    Args:
        source: Where.
        two_class: Whether the tree is that of a two-class setup.

    Raises:
        DataError: A folder that every category has is missing, or has no images; the message names it.
    """
    return tree(
        source,
        ground_truth="ground_truth/{part}" if two_class else "ground_truth",
        masks=masks_named(""),
        above=0,
        types={"bad": UNNAMED},
    )
