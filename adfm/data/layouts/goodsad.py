"""GoodsAD (Zhang et al., IEEE RA-L 2024): supermarket goods, in the tree of MVTec AD.

`<category>/train/good`, `<category>/test/{good,<type>}/NNN_NNN.jpg` (goods, then number), and the mask of
`test/<type>/<name>.jpg` in `<category>/ground_truth/<type>/<name>.png`.
"""

from __future__ import annotations

from adfm.data.benchmark import Listing, Source
from adfm.data.layouts.mvtec import masks_named, tree


def goodsad(source: Source) -> Listing:
    """List GoodsAD as published.

    Raises:
        DataError: A folder that every category has is missing, or has no images; the message names it.
    """
    return tree(source, masks=masks_named(""))
