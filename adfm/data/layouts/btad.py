"""BTAD (Mishra et al., ISIE 2021): three products, in the tree of MVTec AD with `ok` and `ko`.

`<category>/train/ok`, `<category>/test/{ok,ko}`, and the mask of `test/ko/<name>` in
`<category>/ground_truth/ko/<name>`. Images and masks are PNG or BMP by category, not always the same.
"""

from __future__ import annotations

from adfm.data.benchmark import UNNAMED, Listing, Source
from adfm.data.layouts.mvtec import masks_named, tree


def btad(source: Source) -> Listing:
    """List BTAD as published; every value of a mask but 0 is defect.

    Raises:
        DataError: A folder that every category has is missing, or has no images; the message names it.
    """
    return tree(source, good="ok", masks=masks_named(""), above=0, types={"ko": UNNAMED})
