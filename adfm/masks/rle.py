"""Masks as COCO's compressed run lengths: `size` (height, width) and `counts` as ASCII text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool
from pycocotools import mask as coco

from adfm.data.coco_masks import RunLengths


def union_rle(masks: Bool[np.ndarray, "box height width"]) -> dict[str, Any]:
    """Return the union of an image's masks as run lengths that json writes and pycocotools reads; empty for no mask."""
    encoded: Any = coco.encode(np.asfortranarray(masks.any(0), dtype=np.uint8))
    height, width = encoded["size"]
    return {"size": [int(height), int(width)], "counts": encoded["counts"].decode("ascii")}


def rle_mask(rle: Mapping[str, Any]) -> Bool[np.ndarray, "height width"]:
    """Return the pixels of run lengths that `union_rle` made.

    Raises:
        DataError: They do not fill the image: the text was cut or altered.
    """
    height, width = rle["size"]
    return RunLengths((width, height), rle["counts"]).decoded()
