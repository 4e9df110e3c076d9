"""The cache folder, and hashes of data kept in it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from adfm.errors import DataError
from adfm.files import write_whole
from adfm.types import Sample


def cache_folder() -> Path:
    """Return `$ADFM_CACHE`, else `adfm` in the user's cache folder."""
    chosen = os.environ.get("ADFM_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "adfm"


def fingerprint_of(parts: Mapping[str, Sequence[Sample]]) -> str:
    """Return 16 hex digits over all labels and the bytes of all files that samples name, wherever they lie."""
    total = hashlib.sha256()
    with Digests() as digests:
        for part, samples in parts.items():
            for sample in samples:
                line = {field.name: _plain(getattr(sample, field.name), digests) for field in fields(Sample)}
                total.update(json.dumps([part, line], sort_keys=True).encode())
    return total.hexdigest()[:16]


def _plain(value: Any, digests: Digests) -> Any:
    if isinstance(value, Path):
        return digests.of(value)
    if isinstance(value, tuple):
        return [_plain(item, digests) for item in value]
    if is_dataclass(value):
        return [_plain(getattr(value, field.name), digests) for field in fields(value)]
    return {key: _plain(item, digests) for key, item in value.items()} if isinstance(value, Mapping) else value


class Digests:
    """SHA-256 of files, computed again only where size or time of change differ from the last time; kept on exit."""

    def __init__(self) -> None:
        self.path = cache_folder() / "digests.json"
        self.known: dict[str, list[Any]] = _read_json(self.path)
        self.changed = False

    def of(self, path: Path) -> str:
        """Return a file's digest in hexadecimal; DataError if it cannot be read."""
        if (kept := self.kept(path)) is not None:
            return kept
        try:
            key, stamp = _stamp(path)
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror})") from error
        self.known[key] = [*stamp, digest]
        self.changed = True
        return digest

    def kept(self, path: Path) -> str | None:
        """Return the digest of a file that is as it was the last time; the file is not read."""
        try:
            key, stamp = _stamp(path)
        except OSError:
            return None
        entry = self.known.get(key)
        return entry[2] if entry is not None and entry[:2] == stamp else None

    def __enter__(self) -> Digests:
        return self

    def __exit__(self, *_: object) -> None:
        if self.changed:
            write_whole(self.path, json.dumps(self.known))


def _stamp(path: Path) -> tuple[str, list[int]]:
    status = path.stat()
    return str(path.resolve()), [status.st_size, status.st_mtime_ns]


class Hashes(dict[str, str]):
    """Perceptual hashes of images by the digest of their file; new ones are kept on exit."""

    def __init__(self) -> None:
        self.path = cache_folder() / "hashes.json"
        super().__init__(_read_json(self.path))
        self.kept = len(self)

    def __enter__(self) -> Hashes:
        return self

    def __exit__(self, *_: object) -> None:
        if len(self) > self.kept:
            write_whole(self.path, json.dumps(self))


class Thumbnails(dict[str, bytes]):
    """Grey thumbnails of images, all of `length` bytes, by the digest of their file; new ones are kept on exit."""

    def __init__(self, length: int) -> None:
        self.path = cache_folder() / f"thumbnails{length}.npz"
        super().__init__(_read_rows(self.path))
        self.kept = len(self)

    def __enter__(self) -> Thumbnails:
        return self

    def __exit__(self, *_: object) -> None:
        if len(self) > self.kept:
            content = BytesIO()
            pixels = np.frombuffer(b"".join(self.values()), np.uint8).reshape(len(self), -1)
            np.savez(content, digests=np.array(list(self)), pixels=pixels)
            write_whole(self.path, content.getvalue())


def _read_rows(path: Path) -> dict[str, bytes]:
    try:
        with np.load(BytesIO(path.read_bytes())) as stored:
            return {str(key): row.tobytes() for key, row in zip(stored["digests"], stored["pixels"], strict=True)}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return {}  # a lost cache costs time only


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except (OSError, json.JSONDecodeError):
        return {}  # a lost cache costs time only
