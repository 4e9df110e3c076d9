"""The pictures of a page: each image once, as small as the page's budget asks, and the way to its file."""

from __future__ import annotations

import base64
import io
import os
from pathlib import Path
from urllib.parse import quote

from markupsafe import Markup
from PIL import Image

from adfm.data.images import read_image
from adfm.errors import DataError

MOST_OF_ONE = 60_000
"""Bytes of the largest picture, however few there are."""
LADDER = ((320, 82), (320, 70), (256, 70), (256, 55), (192, 55), (160, 45), (128, 35), (96, 30), (64, 25))
"""Longest side in pixels and JPEG quality, from what is wanted to what always fits."""
GONE = Markup(
    '<text id="{}" x="{}" y="{}" font-size="{}" text-anchor="middle" fill="#7b8794">image not readable</text>'
)

Key = tuple[str, int, int]


class Pictures:
    """Images that a page shows, drawn once and used many times by name.

    Paths that are not absolute are looked for in `folder`, where the page lies, then where the program runs.
    """

    def __init__(self, folder: Path) -> None:
        """Begin the pictures of a page that is written into `folder`."""
        self.folder = folder.resolve()
        self._names: dict[Key, str] = {}

    def add(self, image: str, width: int, height: int) -> str:
        """Take an image that fills `width` x `height` pixels; return the name by which `<use>` draws it."""
        return self._names.setdefault((image, width, height), f"p{len(self._names)}")

    def address(self, image: str) -> str | None:
        """Return the way from the page to the image's file, as an address; None where there is no such file."""
        path = self._path(image)
        if path is None:
            return None
        try:
            return quote(Path(os.path.relpath(path, self.folder)).as_posix())
        except ValueError:  # another drive of Windows
            return path.as_uri()

    def defined(self, budget: int) -> Markup:
        """Draw every picture that was added, in at most `budget` bytes together as far as the smallest size allows."""
        share = min(MOST_OF_ONE, budget // max(1, len(self._names)))
        drawn = [self._define(key, name, share) for key, name in self._names.items()]
        return Markup('<svg class="pictures" width="0" height="0" aria-hidden="true"><defs>{}</defs></svg>').format(
            Markup("\n").join(drawn)
        )

    def _define(self, key: Key, name: str, share: int) -> Markup:
        image, width, height = key
        path = self._path(image)
        data = None if path is None else small(path, share - 200)
        if data is None:
            return GONE.format(name, width / 2, height / 2, width / 12)
        shown = '<image id="{}" href="{}" width="{}" height="{}" preserveAspectRatio="none"/>'
        return Markup(shown).format(name, data, width, height)

    def _path(self, image: str) -> Path | None:
        if not image:
            return None
        return next((path for path in (self.folder / image, Path(image).absolute()) if path.is_file()), None)


def small(path: Path, most: int) -> str | None:
    """Return an image as a JPEG of at most `most` bytes in a `data:` address, or of the least size that there is.

    None if it cannot be read.
    """
    try:
        image = read_image(path)
    except DataError:
        return None
    encoded = ""
    for side, quality in LADDER:
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        image.save(buffer, format="JPEG", quality=quality)
        encoded = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
        if len(encoded) <= most:
            break
    return encoded
