"""The true masks of evaluated samples as a file beside their predictions, so that pages show them without the data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adfm.errors import DataError
from adfm.files import write_whole
from adfm.masks.rle import union_rle
from adfm.types import Sample

NAME = "true_masks.jsonl"


def write(path: Path, samples: Sequence[Sample]) -> None:
    """Write one line for each sample with a mask: its `id`, and COCO's `size` (height, width) and `counts` as text.

    Without any mask there is no file.
    """
    lines = [
        json.dumps({"id": sample.id, **union_rle(sample.mask.read(sample.size)[None])}) + "\n"
        for sample in samples
        if sample.mask is not None
    ]
    path.unlink(missing_ok=True)
    if lines:
        write_whole(path, "".join(lines))


def read(path: Path) -> dict[str, dict[str, Any]]:
    """Return the masks by sample id; none where there is no file. Raises DataError naming a line that is no mask."""
    if not path.is_file():
        return {}
    found = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
            found[row["id"]] = {"size": row["size"], "counts": row["counts"]}
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}, line {number}: is no mask ({error})") from error
    return found
