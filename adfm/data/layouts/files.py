"""Listing folders, with errors that name them."""

from __future__ import annotations

import os
from pathlib import Path, PurePath

from adfm.errors import DataError

SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"))
"""Of images, in lower case."""


def folders(folder: Path) -> list[str]:
    """Return the names of the folders in a folder, sorted; hidden ones are not listed.

    Raises:
        DataError: The folder is not there.
    """
    return sorted(entry.name for entry in _entries(folder) if entry.is_dir() and not entry.name.startswith("."))


def images(folder: Path) -> list[Path]:
    """Return the images in a folder, sorted by name.

    Raises:
        DataError: The folder is not there, or has none.
    """
    names = sorted(
        entry.name
        for entry in _entries(folder)
        if PurePath(entry.name).suffix.lower() in SUFFIXES and not entry.name.startswith(".")
    )
    if not names:
        raise DataError(f"{folder}: has no images ({', '.join(sorted(SUFFIXES))})")
    return [folder / name for name in names]


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed ({error.strerror}); check dataset.root") from error
