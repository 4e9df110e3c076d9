"""A small picture of one image with the boxes of several sources, each in its own colour, and lines of text below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import wrap

from PIL import Image, ImageDraw, ImageFont

from adfm.types import Box

Colour = tuple[int, int, int]

TRUE: Colour = (22, 163, 74)
PREDICTED: Colour = (234, 88, 12)
"""The colours of the report page."""
INK: Colour = (27, 36, 48)
LEAST_SIDE = 256
LONGEST_SIDE = 512
"""An image is enlarged by a whole factor, or made smaller, until its longer side lies between these, in pixels."""
LINE = 16
"""Height of a line of text in pixels."""


def picture(
    image: Image.Image, layers: Mapping[str, tuple[Sequence[Box], Colour]], lines: Sequence[str]
) -> Image.Image:
    """Draw boxes on an image and text below it.

    Args:
        image: RGB, of the original size.
        layers: What a colour means to its boxes (half-open, in pixels of `image`) and the colour; a legend names them.
        lines: Of text, wrapped to the width of the picture.
    """
    small, scale = _scaled(image)
    draw = ImageDraw.Draw(small)
    widths = range(2 * len(layers), 0, -2)  # what is drawn later does not hide an equal box
    for (boxes, colour), width in zip(layers.values(), widths, strict=True):
        for x0, y0, x1, y1 in boxes:
            left, right, top, bottom = (edge * scale for edge in (min(x0, x1), max(x0, x1), min(y0, y1), max(y0, y1)))
            draw.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=colour, width=width)
    return _with_text(small, layers, lines)


def _scaled(image: Image.Image) -> tuple[Image.Image, float]:
    longest = max(image.size)
    scale = LONGEST_SIDE / longest if longest > LONGEST_SIDE else float(max(1, -(-LEAST_SIDE // longest)))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.LANCZOS), scale


def _with_text(
    image: Image.Image, layers: Mapping[str, tuple[Sequence[Box], Colour]], lines: Sequence[str]
) -> Image.Image:
    font = ImageFont.load_default(12)
    width = max(image.width, LEAST_SIDE)
    most = int((width - 12) / font.getlength("n"))
    wrapped = [part for line in lines for part in wrap(line, most) or [""]]
    made = Image.new("RGB", (width, image.height + LINE * (len(wrapped) + 1) + 8), "white")
    made.paste(image, ((width - image.width) // 2, 0))
    draw, top = ImageDraw.Draw(made), image.height + 4
    left = 6.0
    for name, (_, colour) in layers.items():
        draw.rectangle((left, top + 3, left + 10, top + 12), outline=colour, width=2)
        draw.text((left + 15, top), name, fill=INK, font=font)
        left += 15 + font.getlength(name) + 14
    for number, line in enumerate(wrapped, start=1):
        draw.text((6, top + LINE * number), line, fill=INK, font=font)
    return made
