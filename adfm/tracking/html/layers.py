"""Masks as layers over a picture: transparent PNGs of one colour, small enough to stand in the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco

from adfm.masks.rle import rle_mask
from adfm.tracking.drawing import PREDICTED, TRUE

LONGEST_SIDE = 320
COLOURS = {"true": TRUE, "predicted": PREDICTED}
OPACITY = 120
"""Of 255."""


def is_empty(rle: Mapping[str, Any]) -> bool:
    """Whether no pixel of a COCO RLE (`counts` as text) is set."""
    encoded: Any = {**rle, "counts": rle["counts"].encode("ascii")}
    return not coco.area(encoded)


def mask_png(rle: Mapping[str, Any], layer: str) -> str:
    """Draw a COCO RLE (`counts` as text) in the colour of `layer`, `true` or `predicted`; return a `data:` address.

    A pixel of the small picture is set if any of the pixels below it is, so that a thin scratch stays.
    """
    height, width = rle["size"]
    pixels = rle_mask(rle)
    scale = min(1.0, LONGEST_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    shares = Image.fromarray(pixels.astype(np.float32)).resize(size, Image.Resampling.BOX)
    drawn = Image.fromarray((np.asarray(shares) > 0).astype(np.uint8), mode="P")
    drawn.putpalette([0, 0, 0, *COLOURS[layer]])
    buffer = io.BytesIO()
    drawn.save(buffer, format="PNG", optimize=True, bits=1, transparency=bytes([0, OPACITY]))
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
