"""DTD-Synthetic (Aota, Tong and Okatani, WACV 2023): textures of DTD with drawn defects, in the tree of MVTec AD.

`<category>/train/good`, `<category>/test/{good,bad}`, and masks in `<category>/ground_truth/bad`, which belong to the
images of `test/bad` in the order of their names.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from adfm.data.benchmark import UNNAMED, Listing, Source
from adfm.data.layouts.files import images
from adfm.data.layouts.mvtec import tree
from adfm.errors import DataError


def dtd_synthetic(source: Source) -> Listing:
    """List DTD-Synthetic as published; every value of a mask but 0 is defect.

    Raises:
        DataError: A folder that every category has is missing or has no images, or a type has not as many masks as
            images; the message names it.
    """
    return tree(source, masks=_in_order, above=0, types={"bad": UNNAMED})


def _in_order(folder: Path, found: Sequence[Path]) -> list[tuple[Path, ...]]:
    listed = images(folder)
    if len(listed) != len(found):
        raise DataError(
            f"{folder}: has {len(listed)} masks for the {len(found)} images of {found[0].parent}; "
            "they are paired in the order of their names, so none may be missing"
        )
    return [(mask,) for mask in listed]
