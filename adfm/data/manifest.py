"""The project's own layout: one JSON line per sample, in `train.jsonl`, `val.jsonl` and `test.jsonl`.

A line needs `image`, `category` and `anomalous`. It may have `id` (else the image's path), `defect_type`, `mask`,
`boxes` (else they come from the mask), `references`, `knowledge` (else that of the category in `knowledge.json`),
`question` (`text`, `options`, `answer`, `kind`), `attributes`, and `width` and `height` (else the image says them).
A mask is a path, or `{"files": [...], "above": 0}` for the union of files and another threshold than 127.
Paths are relative to the manifest's folder and stay inside it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path, PurePosixPath
from typing import Any

from adfm.data.cache import fingerprint_of
from adfm.data.masks import ABOVE, MaskFiles
from adfm.errors import DataError
from adfm.types import Question, Sample

PARTS = ("train", "val", "test")
_STATED = {"stated_size", "stated_boxes"}
_KEYS = {field.name for field in fields(Sample)} - _STATED | {"width", "height", "boxes"}
_NEEDED = ("image", "category", "anomalous")


def write_manifest(path: Path, samples: Iterable[Sample]) -> None:
    """Write samples as JSON lines, their paths relative to the manifest's folder."""
    with path.open("w", encoding="utf-8") as file:
        for sample in samples:
            file.write(json.dumps(_as_line(sample, path.parent), ensure_ascii=False) + "\n")


def _as_line(sample: Sample, folder: Path) -> dict[str, Any]:
    line: dict[str, Any] = {}
    for field in fields(Sample):
        value = getattr(sample, field.name)
        if value not in (None, (), "", {}) and field.name not in _STATED:
            line[field.name] = _plain(value, folder)
    if sample.stated_size is not None:
        line["width"], line["height"] = sample.stated_size
    if sample.stated_boxes is not None:
        line["boxes"] = sample.stated_boxes
    return line


def _plain(value: Any, folder: Path) -> Any:
    if isinstance(value, Path):
        return value.relative_to(folder).as_posix()
    if isinstance(value, tuple):
        return [_plain(item, folder) for item in value]
    if isinstance(value, MaskFiles):
        files = _plain(value.files, folder)
        return files[0] if len(files) == 1 and value.above == ABOVE else {"files": files, "above": value.above}
    if isinstance(value, Question):
        return {key.name: _plain(getattr(value, key.name), folder) for key in fields(Question)}
    return dict(value) if isinstance(value, Mapping) else value


def read_manifest(
    path: Path, *, knowledge: Mapping[str, str] | None = None, dilation: float = 0.01, min_area: int = 5
) -> list[Sample]:
    """Read a JSONL manifest; `knowledge` is per category; `dilation` and `min_area` as in `boxes_from_mask`.

    Raises:
        DataError: A line is not JSON, lacks a key or has an unknown one, contradicts itself or names a missing file.
        The
            message gives manifest and line.
    """
    samples, seen = [], {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    for number, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        try:
            sample = _sample(_parse(text), path.parent, knowledge or {}, dilation, min_area)
        except DataError as error:
            raise DataError(f"{path}, line {number}: {error}") from error
        first = seen.setdefault(sample.id, number)
        if first != number:
            raise DataError(f"{path}, line {number}: id {sample.id!r} was already used in line {first}")
        samples.append(sample)
    return samples


def _parse(text: str) -> dict[str, Any]:
    try:
        line = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"not JSON ({error})") from error
    if not isinstance(line, dict):
        raise DataError("not a JSON object")
    missing = [key for key in _NEEDED if key not in line]
    if missing:
        raise DataError(f"lacks {', '.join(missing)}")
    unknown = sorted(set(line) - _KEYS)
    if unknown:
        raise DataError(f"unknown key {', '.join(unknown)}; known are {', '.join(sorted(_KEYS))}")
    if not isinstance(line["anomalous"], bool):
        raise DataError(f"anomalous must be true or false, not {line['anomalous']!r}")
    return line


def _inside(folder: Path, relative: object) -> Path:
    pure = PurePosixPath(str(relative))
    if pure.is_absolute() or ".." in pure.parts:
        raise DataError(f"path {str(relative)!r} leaves the manifest's folder")
    path = folder / pure
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    return path


def _sample(line: dict[str, Any], folder: Path, knowledge: Mapping[str, str], dilation: float, min_area: int) -> Sample:
    image = _inside(folder, line["image"])
    size = (line["width"], line["height"]) if "width" in line and "height" in line else None
    boxes = tuple(_box(box, size) for box in line["boxes"]) if "boxes" in line else None
    if boxes and not line["anomalous"]:
        raise DataError("has boxes but anomalous is false")
    return Sample(
        id=str(line.get("id", line["image"])),
        image=image,
        stated_size=size,
        category=str(line["category"]),
        anomalous=line["anomalous"],
        defect_type=line.get("defect_type"),
        stated_boxes=boxes,
        mask=_mask(folder, line["mask"], dilation, min_area) if "mask" in line else None,
        references=tuple(_inside(folder, path) for path in line.get("references", ())),
        knowledge=line.get("knowledge", knowledge.get(line["category"], "")),
        question=_question(line["question"]) if "question" in line else None,
        attributes=line.get("attributes", {}),
    )


def _mask(folder: Path, value: Any, dilation: float, min_area: int) -> MaskFiles:
    stated: dict[str, Any] = value if isinstance(value, dict) else {"files": [value]}
    try:
        files = tuple(_inside(folder, path) for path in stated["files"])
        return MaskFiles(files, above=int(stated.get("above", ABOVE)), dilation=dilation, min_area=min_area)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"mask must be a path, or files and above, not {value!r}") from error


def _box(values: object, size: tuple[int, int] | None) -> tuple[float, float, float, float]:
    if not isinstance(values, list) or len(values) != 4 or not all(isinstance(v, int | float) for v in values):
        raise DataError(f"box {values!r} is not [x0, y0, x1, y1]")
    x0, y0, x1, y1 = (float(value) for value in values)
    if not (0 <= x0 < x1 and 0 <= y0 < y1) or (size is not None and (x1 > size[0] or y1 > size[1])):
        where = "the image" if size is None else f"the {size[0]} x {size[1]} image"
        raise DataError(f"box {values!r} does not lie in {where}")
    return x0, y0, x1, y1


def _question(values: Any) -> Question:
    try:
        question = Question(**values)
    except TypeError as error:
        raise DataError(f"question: {error}") from error
    if question.answer not in question.options:
        raise DataError(f"question: answer {question.answer!r} is not one of {', '.join(question.options)}")
    return question


class Manifest:
    """A data set in the project's own layout (see this module).

    Args:
        root: Folder with `train.jsonl`, `val.jsonl`, `test.jsonl` (a missing one is an empty part) and, by option,
            `knowledge.json`, which maps a category to its text.
        name: What tables call it.
        dilation: See `adfm.data.masks.boxes_from_mask`; for lines with a mask and no boxes.
        min_area: Likewise.

    Raises:
        DataError: No part exists, or a line is wrong; the message gives file and line.
    """

    def __init__(self, root: str | Path, *, name: str = "manifest", dilation: float = 0.01, min_area: int = 5) -> None:
        self.name = name
        self.root = Path(root)
        knowledge = read_knowledge(self.root / "knowledge.json")
        found = {part: self.root / f"{part}.jsonl" for part in PARTS}
        if not any(path.is_file() for path in found.values()):
            raise DataError(f"{self.root}: has none of {', '.join(path.name for path in found.values())}")
        self._parts = {
            part: read_manifest(path, knowledge=knowledge, dilation=dilation, min_area=min_area)
            if path.is_file()
            else []
            for part, path in found.items()
        }

    def split(self, name: str) -> Sequence[Sample]:
        """Return the samples of `train`, `val` or `test`, in the manifest's order."""
        return part_of(self._parts, name)

    def fingerprint(self) -> str:
        """Return a hash of every sample's labels and of the bytes of its files."""
        return fingerprint_of(self._parts)


def read_knowledge(path: Path) -> dict[str, str]:
    """Read category to text; no file means no knowledge.

    Raises:
        DataError: It is not a JSON object of texts.
    """
    if not path.is_file():
        return {}
    try:
        knowledge = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
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
