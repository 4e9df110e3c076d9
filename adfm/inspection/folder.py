"""The folder of an inspection: what lies in it, whose it is, and which images are done.

    out/   predictions.jsonl   predictions.csv   coco.json   summary.json   overlay/   mask/   settings.json   .lock

`predictions.jsonl` grows batch by batch while the inspection runs, in the order of the work; when all is done it is
written once more in the order of the images. `settings.json` says all that decides a row beside its image.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from adfm.errors import ConfigError
from adfm.files import write_whole
from adfm.tracking import jsonl

SETTINGS = "settings.json"
PREDICTIONS = "predictions.jsonl"
FILES = (PREDICTIONS, "predictions.csv", "coco.json", "summary.json", "index.html", SETTINGS)
FOLDERS = ("overlay", "mask")


class Folder:
    """Where the rows of one inspection are kept; use it inside `opened`.

    Attributes:
        path: The folder.
        rows: What was kept of an inspection with the same settings, in the order of the file.
    """

    def __init__(self, path: Path, rows: list[dict[str, Any]]) -> None:
        """Use `opened`."""
        self.path = path
        self.rows = rows

    @classmethod
    @contextmanager
    def opened(cls, path: Path, settings: Mapping[str, Any], *, fresh: bool = False) -> Iterator[Folder]:
        """Take up or begin the inspection with these settings, and keep every other process out.

        With `fresh` all that an inspection wrote there is dropped first; what else lies there stays.

        Raises:
            ConfigError: another process is at work there, or the folder holds what other settings made.
        """
        path.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(path / ".lock", timeout=0):
                _remove_drafts(path)
                if fresh:
                    _drop(path)
                _claim(path, settings)
                yield cls(path, _kept(path / PREDICTIONS))
        except Timeout as error:
            raise ConfigError(f"out={path} is in use by another process; wait until it ends, or stop it") from error

    def keep(self, rows: Sequence[dict[str, Any]]) -> None:
        """Let only these rows stand; pictures of the others are removed."""
        names = {row["path"] for row in rows}
        for row in self.rows:
            if row["path"] not in names:
                for picture in filter(None, (row["overlay"], row["mask_file"])):
                    (self.path / picture).unlink(missing_ok=True)
        self.rows = list(rows)
        write_whole(self.path / PREDICTIONS, "".join(map(jsonl.line, rows)))

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        """Append rows; when this returns, they are on the disk."""
        with (self.path / PREDICTIONS).open("a", encoding="utf-8") as file:
            file.write("".join(map(jsonl.line, rows)))
            file.flush()
            os.fsync(file.fileno())
        self.rows.extend(rows)


def key_of(settings: Mapping[str, Any]) -> str:
    """Return 16 hex digits that change whenever a setting does."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def _claim(path: Path, settings: Mapping[str, Any]) -> None:
    """Write the settings into a folder that has none, or compare with those that it has."""
    file = path / SETTINGS
    if file.exists():
        before = json.loads(file.read_text(encoding="utf-8"))
        now = json.loads(json.dumps(settings))
        if differing := sorted(name for name in {*before, *now} if before.get(name) != now.get(name)):
            raise ConfigError(
                f"out={path} was made with other settings ({', '.join(differing)}); "
                "take another folder, or drop what is there with fresh=true"
            )
        return
    if taken := [name for name in (*FILES, *FOLDERS) if (path / name).exists()]:
        raise ConfigError(f"out={path} holds files of something else ({', '.join(taken)}); take another folder")
    write_whole(file, json.dumps(settings, indent=2, sort_keys=True) + "\n")


def _remove_drafts(path: Path) -> None:
    """Remove what a process that died while it wrote a file left beside that file."""
    for name in FILES:
        for draft in (*path.glob(f"{name}.*"), *path.glob(f".{name}.*")):
            draft.unlink()


def _drop(path: Path) -> None:
    if not (path / SETTINGS).exists():  # nothing here is known to be an inspection's
        return
    for name in FOLDERS:
        shutil.rmtree(path / name, ignore_errors=True)
    for name in FILES:  # the settings last: as long as they are there, the rest is known to be theirs
        (path / name).unlink(missing_ok=True)


def _kept(path: Path) -> list[dict[str, Any]]:
    """Read the rows; a last line that was cut off is left out."""
    return jsonl.read(path) if path.exists() else []
