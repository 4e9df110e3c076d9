"""The project's own layout: a row for each sample, as JSON lines, CSV or parquet.

Either a file for each part (`train.jsonl`, `val.jsonl`, `test.jsonl`; a missing one is an empty part), or one file
(`manifest.jsonl`, or any name) whose column `split` says the part. Likewise with `.csv` and `.parquet`.

| key | what it holds | when it is missing |
|---|---|---|
| `image` | path | needed |
| `category` | what is shown, in plain words | needed |
| `anomalous`, or `label` | true or false; 1 or 0; anomalous or normal, bad or good, ... (`rows.LABELS`) | needed |
| `split` | `train`, `val` or `test` | see above |
| `id` | unique within the data set | the image's path |
| `defect_type`, or `type` | in plain words | not known |
| `mask` | path, several, polygons, COCO's `{"size", "counts"}`, or an object: see below | none |
| `boxes` | `[[x0, y0, x1, y1], ...]`, in pixels, half-open | those of the mask |
| `width`, `height` | of the image in pixels | the image says them |
| `references` | paths of normal images | none |
| `knowledge` | text | that of the category in `knowledge.json` beside the manifest |
| `question` | `{"text", "options", "answer", "kind"}`; or the text, the others as columns beside it | none |
| `attributes` | `{name: text or number}` | none |

Options map letters to texts, or list the texts (A, B, ...). In CSV, cells with lists or objects hold JSON, and an empty
cell is missing. A mask is the union of its files or segments: `{"files": [...], "above": 0}`, where a pixel is defect
above that grey value (without `above` each file decides: see `adfm.data.masks.threshold`), or `{"segments": [...]}`,
each what COCO calls a segmentation. Either may state its own `dilation` and `min_area`.

Paths are relative to the root and stay inside it; a link that lies inside may lead out. Files are not looked for when
rows are read: `python -m adfm.data` does it, and so does the fingerprint that every run begins with.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from adfm.data.cache import fingerprint_of
from adfm.data.mask_rows import DILATION, MIN_AREA
from adfm.data.row_files import READERS, RowError, rows
from adfm.data.rows import Reader, as_row
from adfm.data.splits import Split
from adfm.errors import DataError
from adfm.files import write_whole
from adfm.types import Dataset, Sample

PARTS = ("train", "val", "test")
WHOLE = "manifest"
"""Name of the one file with a `split` column."""


def read_manifest(path: Path, reader: Reader | None = None) -> list[Sample]:
    """Read one file, whatever parts its rows are of; the root is by default its folder.

    Raises:
        DataError: A row cannot be read, lacks a key or has an unknown one, or contradicts itself. The message gives
            file and row.
    """
    return [sample for _, sample in _read(path, reader or Reader(root=path.parent))]


def _read(path: Path, reader: Reader) -> list[tuple[str | None, Sample]]:
    found, seen = [], {}
    for where, row in rows(path):
        try:
            sample = reader.sample(row)
        except DataError as error:
            raise RowError(path, where, error) from error
        part = row.get("split")
        if part not in (None, *PARTS):
            raise RowError(path, where, f"split must be {', '.join(PARTS)}, not {part!r}")
        first = seen.setdefault(sample.id, where)
        if first != where:
            raise RowError(path, where, f"id {sample.id!r} was already used in {first}")
        found.append((part, sample))
    return found


class Manifest:
    """A data set in the project's own layout (see this module).

    Args:
        root: Folder that paths are relative to.
        manifest: The file, or the folder of the files; by default the root.
        name: What tables call it.
        split: Divides the rows into train, val and test; those that name no part count as test. By default every row
            stays where the manifest puts it, and must say where.
        dilation: See `adfm.data.masks.boxes_from_mask`; for rows with a mask and no boxes.
        min_area: Likewise.

    Raises:
        DataError: There is no such file, or a row is wrong; the message gives file and row.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        manifest: str | Path | None = None,
        name: str = "manifest",
        split: Split | None = None,
        dilation: float = DILATION,
        min_area: int = MIN_AREA,
    ) -> None:
        self.name = name
        self.root = Path(root)
        place = self.root if manifest is None else Path(manifest)
        if not self.root.is_dir():
            raise DataError(f"{self.root}: no such folder; set dataset.root to where the images lie")
        files = _files(place)
        knowledge = read_knowledge((place if place.is_dir() else place.parent) / "knowledge.json")
        reader = Reader(root=self.root, knowledge=knowledge, dilation=dilation, min_area=min_area)
        parts: dict[str, list[Sample]] = {part: [] for part in PARTS}
        for stem, path in files.items():
            for part, sample in _read(path, reader):
                parts[_part(path, stem, part, sample, divided=split is not None)].append(sample)
        if not any(parts.values()):
            raise DataError(f"{place}: lists no sample")
        self._parts = parts if split is None else split(parts)

    def split(self, name: str) -> Sequence[Sample]:
        """Return the samples of `train`, `val` or `test`, in the manifest's order."""
        return part_of(self._parts, name)

    def fingerprint(self) -> str:
        """Return a hash of every sample's labels and of the bytes of its files; DataError for a missing file."""
        return fingerprint_of(self._parts)


def _files(place: Path) -> dict[str, Path]:
    """Find the files of a manifest by their stem."""
    if place.is_file():
        return {place.stem: place}
    found: dict[str, Path] = {}
    for path in [place / f"{stem}{suffix}" for stem in (*PARTS, WHOLE) for suffix in READERS]:
        if path.is_file():
            rival = found.get(path.stem) or (next(iter(found.values()), None) if path.stem == WHOLE else None)
            if rival is not None:
                raise DataError(
                    f"{place}: has {rival.name} and {path.name}; keep one, or name it: dataset.manifest=..."
                )
            found[path.stem] = path
    if not found:
        names = ", ".join(f"{stem}.jsonl" for stem in (*PARTS, WHOLE))
        raise DataError(f"{place}: has none of {names} (or {', '.join([*READERS][1:])})")
    return found


def _part(path: Path, stem: str, part: str | None, sample: Sample, *, divided: bool) -> str:
    if stem in PARTS:
        if part not in (None, stem):
            raise DataError(f"{path}: {sample.id!r} has split {part!r}")
        return stem
    if part is None and not divided:
        raise DataError(
            f"{path}: {sample.id!r} lacks split ({', '.join(PARTS)}); add it, or choose a split: "
            "dataset/split=fraction or clustered"
        )
    return part or "test"


def write_manifest(path: Path, samples: Iterable[Sample]) -> None:
    """Write samples as JSON lines, their paths relative to the manifest's folder; whole or not at all."""
    write_rows(path, (_row(sample, path.parent) for sample in samples))


def export(dataset: Dataset, folder: Path, root: Path | None = None) -> Path:
    """Write all parts of a data set as `manifest.jsonl`, whole or not at all; return the root of its paths.

    `dataset=manifest dataset.root=<root> dataset.manifest=<folder>` reads the same samples. The root is by default the
    deepest folder that holds all files.

    Raises:
        DataError: The folder holds another manifest already, or a sample has no form there; the message names it.
    """
    others = {"knowledge.json", *(f"{part}{suffix}" for part in PARTS for suffix in READERS)}
    taken = [name for name in sorted(others) if (folder / name).is_file()]
    if taken:
        raise DataError(f"{folder}: holds another manifest ({', '.join(taken)}); take an empty folder")
    parts = {part: dataset.split(part) for part in PARTS}
    root = _common(parts) if root is None else root
    write_rows(
        folder / f"{WHOLE}.jsonl",
        ({"split": part, **_row(sample, root)} for part, samples in parts.items() for sample in samples),
    )
    return root


def write_rows(path: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as JSON lines, whole or not at all; DataError where one is not valid Unicode."""
    try:
        write_whole(path, "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines))
    except UnicodeEncodeError as error:
        raise DataError(f"{path}: {error.object!r} is not valid Unicode; rename the file") from error


def _row(sample: Sample, root: Path) -> dict[str, Any]:
    try:
        return as_row(sample, root)
    except DataError as error:
        raise DataError(f"{sample.id}: {error}") from error


def _common(parts: Mapping[str, Sequence[Sample]]) -> Path:
    files: set[Path] = set()
    for samples in parts.values():
        for sample in samples:
            files.update((sample.image, *sample.references, *(sample.mask.files if sample.mask else ())))
    if not files:
        raise DataError("no part has a sample, so there is nothing to write")
    absolute = any(file.is_absolute() for file in files)
    return Path(os.path.commonpath({file.absolute().parent if absolute else file.parent for file in files}))


def read_knowledge(path: Path) -> dict[str, str]:
    """Read category to text; no file means no knowledge.

    Raises:
        DataError: It is not a JSON object of texts.
    """
    if not path.is_file():
        return {}
    try:
        knowledge = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON ({error})") from error
    if not isinstance(knowledge, dict) or not all(isinstance(text, str) for text in knowledge.values()):
        raise DataError(f"{path}: must map each category to a text")
    return knowledge


def part_of(parts: Mapping[str, Sequence[Sample]], name: str) -> Sequence[Sample]:
    """Return one part.

    Raises:
        DataError: There is no part of that name.
    """
    if name not in parts:
        raise DataError(f"no part {name!r}; there are {', '.join(PARTS)}")
    return parts[name]
