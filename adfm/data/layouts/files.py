"""Listing folders and checking paths, with errors that name them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path, PurePath, PurePosixPath

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


def by_stem(files: Iterable[Path]) -> dict[str, Path]:
    """Return files by their names without suffix, in the order given.

    Raises:
        DataError: Two have one name but for the suffix.
    """
    found: dict[str, Path] = {}
    for file in files:
        first = found.setdefault(file.stem, file)
        if first is not file:
            raise DataError(f"{file}: {first.name} has the same name but for the suffix; keep one of them")
    return found


def inside(root: Path, relative: str) -> Path:
    """Return the path of a file that an annotation names.

    Raises:
        DataError: It is empty or absolute, or climbs with `..`.
    """
    pure = PurePosixPath(relative)
    if not pure.parts or pure.is_absolute() or ".." in pure.parts:
        raise DataError(f"path {relative!r} does not stay in {root}")
    return root / pure


class Names:
    """Which files are there, each folder listed once, so that thousands of look-ups cost a few listings."""

    def __init__(self) -> None:
        self._in = cache(_names)

    def has(self, file: Path) -> bool:
        """Say whether the file is there; a file of a folder that is not there is not."""
        return file.name in self._in(file.parent)


def _names(folder: Path) -> frozenset[str]:
    try:
        return frozenset(entry.name for entry in _entries(folder))
    except (DataError, ValueError):  # ValueError: a name that no folder can have
        return frozenset()


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise DataError(f"{folder}: cannot be listed ({error.strerror}); check dataset.root") from error
