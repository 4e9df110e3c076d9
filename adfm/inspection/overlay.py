"""Pictures beside `predictions.jsonl`: the image with what was found drawn on it, and the mask as black and white."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from adfm.data.images import read_image
from adfm.inspection.inspected import ANOMALOUS, NORMAL
from adfm.inspection.sources import SUFFIXES
from adfm.masks.rle import rle_mask

COLOURS = {ANOMALOUS: (214, 39, 40), NORMAL: (44, 130, 44)}
"""By verdict; every other one is amber."""
AMBER = (200, 120, 0)
GREY = (150, 150, 150)
"""Of boxes that the model looked at in an image that it calls normal."""
TINT = 0.4
"""Share of the colour in pixels of the mask."""


def picture_name(name: str) -> str:
    """Return the path of an image's pictures below `overlay/` and `mask/`: always PNG, never the same for two images.

    >>> [picture_name(name) for name in ("a/part.png", "a/part.jpg", "a/part.PNG", "a/part.jpg.png")]
    ['a/part.png', 'a/part.jpg.png', 'a/part.PNG.png', 'a/part.jpg.png.png']
    """
    stem = name.removesuffix(".png")
    plain = stem != name and not stem.lower().endswith(SUFFIXES)
    return name if plain else f"{name}.png"


def write(folder: Path, image: Path, row: Mapping[str, Any]) -> dict[str, str | None]:
    """Draw the pictures of a row of `predictions.jsonl`; return `overlay` and `mask_file`, their paths below `folder`.

    An image that could not be read has neither, one without a mask no mask. The mask of an image that is not called
    anomalous is black.

    Raises:
        DataError: The image cannot be read.
    """
    if row["error"] is not None:
        return {"overlay": None, "mask_file": None}
    name = picture_name(row["path"])
    mask = None if row["mask"] is None else rle_mask(row["mask"]) & (row["verdict"] == ANOMALOUS)
    _save(folder / "overlay" / name, draw(read_image(image), row, mask))
    if mask is None:
        return {"overlay": f"overlay/{name}", "mask_file": None}
    _save(folder / "mask" / name, Image.fromarray(mask.astype(np.uint8) * 255))
    return {"overlay": f"overlay/{name}", "mask_file": f"mask/{name}"}


def draw(image: Image.Image, row: Mapping[str, Any], mask: np.ndarray | None) -> Image.Image:
    """Return the image with its mask tinted, its boxes outlined in a width that fits its size, and its verdict."""
    colour = COLOURS.get(row["verdict"], AMBER)
    shown = _tinted(image, mask, colour) if mask is not None and mask.any() else image.copy()
    canvas = ImageDraw.Draw(shown)
    width = max(1, round(min(shown.size) / 150))
    outline = GREY if row["verdict"] == NORMAL else colour
    for x0, y0, x1, y1 in row["boxes"]:
        left, right, top, bottom = min(x0, x1), max(x0, x1), min(y0, y1), max(y0, y1)
        canvas.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=outline, width=width)
    _label(canvas, shown.size, caption(row), colour, row["boxes"])
    return shown


def caption(row: Mapping[str, Any]) -> str:
    """Say the verdict in a few words.

    >>> caption({"verdict": "anomalous", "type": "crack", "probability": 0.973, "score": 4.2})
    'anomalous: crack, 97%'
    >>> caption({"verdict": "normal", "type": None, "probability": None, "score": -3.14159})
    'normal, score -3.14'
    """
    words = row["verdict"] + (f": {row['type']}" if row["type"] else "")
    if row["probability"] is not None:
        return f"{words}, {row['probability']:.0%}"
    return words if row["score"] is None else f"{words}, score {row['score']:.3g}"


def _tinted(image: Image.Image, mask: np.ndarray, colour: tuple[int, int, int]) -> Image.Image:
    strength = Image.fromarray(np.where(mask, np.uint8(round(255 * TINT)), np.uint8(0)))
    return Image.composite(Image.new("RGB", image.size, colour), image, strength)


def _label(
    canvas: ImageDraw.ImageDraw, size: tuple[int, int], text: str, colour: tuple[int, int, int], boxes: list[Any]
) -> None:
    """Write the caption along the upper edge, or along the lower one if a box would be covered there."""
    width, height = size
    points = max(10.0, min(size) / 24)
    font = _font(points)
    if (needed := canvas.textlength(text, font)) > 0.96 * width:
        font = _font(max(6.0, points * 0.96 * width / needed))
    left, top, right, bottom = canvas.textbbox((0, 0), text, font)
    pad = max(1, round(bottom * 0.15))
    strip = bottom - top + 2 * pad
    y = height - strip if any(min(box[1], box[3]) < strip for box in boxes) else 0
    canvas.rectangle((0, y, right - left + 2 * pad, y + strip), fill=colour)
    canvas.text((pad - left, y + pad - top), text, font=font, fill="white")


@lru_cache(maxsize=64)
def _font(points: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Load the font once a size: that takes longer than to draw a small picture."""
    return ImageFont.load_default(points)


def _save(path: Path, image: Image.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, format="PNG", compress_level=1)
