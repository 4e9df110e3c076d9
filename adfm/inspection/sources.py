"""Which images a command or an `Inspector` looks at: files, folders, globs and manifests to named sources.

A folder is searched through all its subfolders, linked ones too, each once. Hidden files and folders are left out.
Images are named by their place below the folder, the glob's fixed part or the manifest's folder; those of a list by
their place below what its entries have in common. The order is that of the names.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from adfm.data.row_files import READERS, RowError, rows
from adfm.data.rows import Reader
from adfm.errors import ConfigError, DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
"""Of the files that are images, in lower or upper case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One image to look at, with what a manifest says about it."""

    path: Path
    name: str = ""
    """Its path below the input root, with `/`; bytes that are no Unicode are written as `\\xff`."""
    category: str | None = None
    knowledge: str | None = None
    references: tuple[Path, ...] = field(default=())


def find(images: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], *, out: Path | None = None) -> list[Source]:
    """Find all images that a file, folder, glob, manifest or a list of them names, in the order of their names.

    Args:
        images: A manifest is a file that ends in `.jsonl`, `.csv` or `.parquet`.
        out: A folder for results; what lies in it is no input.

    Raises:
        ConfigError: an entry names no image; the message says what was looked for.
        DataError: a row of a manifest is wrong.
    """
    entries = [images] if isinstance(images, str | os.PathLike) else list(images)
    if not entries:
        raise ConfigError("images: the list is empty; name a file, folder, glob or manifest")
    found: dict[Path, Source] = {}
    for entry in entries:
        for source in _of_entry(Path(entry).expanduser(), out):
            found.setdefault(source.path.absolute(), source)
    if len(entries) > 1:
        found = _renamed(found)
    return sorted(found.values(), key=lambda source: source.name)


def image_files(folder: Path, *, out: Path | None = None) -> Iterator[Path]:
    """Yield the images below a folder, in no order; `out` is left out."""
    left_out = out.resolve() if out is not None else None
    seen: set[str] = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen or Path(real) == left_out:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(parent, name) for name in names if _is_image(name))


def _of_entry(entry: Path, out: Path | None) -> list[Source]:
    """Find what one entry names; a file that exists is never taken for a glob."""
    if entry.is_dir():
        if out is not None and out.resolve() == entry.resolve():
            raise ConfigError(f"out={out} is the folder of the images; name another one, which may lie inside it")
        return _named(image_files(entry, out=out), entry, f"{entry}: has no image")
    if entry.suffix.lower() in READERS and entry.is_file():
        return _of_manifest(entry)
    if entry.is_file() or entry.is_symlink():
        return [Source(path=entry, name=_text(entry.name))]
    if not glob.has_magic(str(entry)):
        raise ConfigError(f"images={entry}: there is no such file or folder")
    hits = [Path(hit) for hit in glob.glob(str(entry), recursive=True)]  # noqa: PTH207  # Path.glob shows hidden files
    files = {file for hit in hits for file in (image_files(hit, out=out) if hit.is_dir() else [hit])}
    fixed = Path(*entry.parts[: next(i for i, part in enumerate(entry.parts) if glob.has_magic(part))])
    return _named((file for file in files if _is_image(file.name)), fixed, f"{entry}: matches no image")


def _named(files: Iterable[Path], root: Path, otherwise: str) -> list[Source]:
    sources = [Source(path=file, name=_text(file.relative_to(root).as_posix())) for file in files]
    if not sources:
        raise ConfigError(f"images={otherwise} (looked for {' '.join(SUFFIXES)} in all folders that are not hidden)")
    return sources


def _of_manifest(path: Path) -> list[Source]:
    """Read the rows of a manifest (see `adfm.data.manifest`), of which only `image` is needed; labels play no part."""
    reader = Reader(root=path.parent)
    sources = []
    for where, row in rows(path):
        given = {"category": "unknown"} | {name: cell for name, cell in row.items() if name not in _LABELS}
        try:
            sample = reader.sample({**given, "anomalous": False})
        except DataError as error:
            raise RowError(path, where, error) from error
        sources.append(
            Source(
                path=sample.image,
                name=_text(sample.image.relative_to(path.parent).as_posix()),
                category=sample.category if "category" in row else None,
                knowledge=sample.knowledge or None,
                references=sample.references,
            )
        )
    if not sources:
        raise ConfigError(f"images={path}: has no row")
    return sources


_LABELS = frozenset(("anomalous", "label", "defect_type", "type", "boxes", "mask"))
"""Columns that a manifest may have, and that say what is to be found out."""


def _renamed(found: dict[Path, Source]) -> dict[Path, Source]:
    root = Path(os.path.commonpath({path.parent for path in found}))
    return {path: replace(source, name=_text(path.relative_to(root).as_posix())) for path, source in found.items()}


def _is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def _text(name: str) -> str:
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
