"""One row of a manifest as a `Sample`, and back; `adfm.data.manifest` says what a row may hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

from adfm.data.mask_rows import DILATION, MIN_AREA, mask_of, mask_row, number
from adfm.data.questions import QUESTION, check_text, question_of
from adfm.errors import DataError
from adfm.types import Box, Question, Sample

ALIASES = {"label": "anomalous", "type": "defect_type"}
"""Short names of columns."""
LABELS = {
    **dict.fromkeys(("false", "0", "normal", "good", "ok"), False),
    **dict.fromkeys(("true", "1", "anomalous", "abnormal", "bad", "defective", "ng"), True),
}
"""What a text, in any case, says as a label."""
KEYS = frozenset(
    (
        *("id", "image", "category", "anomalous", "defect_type", "mask", "boxes", "width", "height", "references"),
        *("knowledge", "question", *QUESTION, "attributes", "split", *ALIASES),
    )
)
_NEEDED = ("image", "category", "anomalous")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """What all rows of a manifest share."""

    root: Path
    """Paths are relative to it and stay inside."""
    knowledge: Mapping[str, str] = field(default_factory=dict)
    """Of each category, for rows that have none."""
    dilation: float = DILATION
    """Of masks whose row does not say it: see `adfm.data.masks.boxes_from_mask`."""
    min_area: int = MIN_AREA
    """Likewise."""
    _paths: dict[str, Path] = field(default_factory=dict)
    _texts: dict[str, str] = field(default_factory=dict)

    def sample(self, row: Mapping[str, Any]) -> Sample:
        """Make the sample of a row; DataError says what is wrong with it. No file is looked at."""
        row = _named(row)
        category, anomalous = self._text(row, "category"), _label(row["anomalous"])
        size = _size(row)
        boxes = tuple(_box(box, size) for box in _list(row, "boxes")) if "boxes" in row else None
        if boxes and not anomalous:
            raise DataError("has boxes but anomalous is false")
        image = self._path("image", row["image"])
        return Sample(
            id=self._text(row, "id", row["image"]),
            image=image,
            stated_size=size,
            category=category,
            anomalous=anomalous,
            defect_type=_defect_type(self._text(row, "defect_type"), anomalous),
            stated_boxes=boxes,
            mask=mask_of(row["mask"], partial(self._path, "mask"), self.dilation, self.min_area)
            if "mask" in row
            else None,
            references=tuple(self._path("references", path) for path in _list(row, "references")),
            knowledge=self._text(row, "knowledge", self.knowledge.get(category, "")),
            question=question_of(row),
            attributes=_attributes(row.get("attributes", {})),
        )

    def _text(self, row: Mapping[str, Any], key: str, default: str = "") -> str:
        value = row.get(key, default)
        text: Any = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        check_text(key, text)
        return self._texts.setdefault(text, text)  # rows repeat themselves

    def _path(self, key: str, value: object) -> Path:
        if not isinstance(value, str):
            raise DataError(f"{key}: {value!r} is not a path")
        if value not in self._paths:
            check_text(key, value)
            parts = value.split("/")
            if value.startswith("/") or ".." in parts:
                raise DataError(f"{key}: path {value!r} leaves {self.root.resolve()}, below which all files must lie")
            if "\0" in value or not set(parts) - {"", "."}:
                raise DataError(f"{key}: {value!r} names no file")
            self._paths[value] = self.root / value
        return self._paths[value]


def as_row(sample: Sample, root: Path) -> dict[str, Any]:
    """Return the row that a `Reader` with this root and default keys makes the same sample of.

    Raises:
        DataError: A file lies outside the root, or the mask is of a kind that a manifest has no form for.
    """
    inside = partial(_relative, root)
    row: dict[str, Any] = {"id": sample.id, "image": inside(sample.image), "category": sample.category}
    row["anomalous"] = sample.anomalous
    if sample.defect_type is not None:
        row["defect_type"] = sample.defect_type
    if sample.mask is not None:
        row["mask"] = mask_row(sample.mask, inside)
    if sample.stated_size is not None:
        row["width"], row["height"] = sample.stated_size
    if sample.stated_boxes is not None:
        row["boxes"] = sample.stated_boxes
    if sample.references:
        row["references"] = [inside(file) for file in sample.references]
    if sample.knowledge:
        row["knowledge"] = sample.knowledge
    if sample.question is not None:
        row["question"] = {entry.name: getattr(sample.question, entry.name) for entry in fields(Question)}
        row["question"]["options"] = dict(sample.question.options)
    if sample.attributes:
        row["attributes"] = dict(sample.attributes)
    return row


def _relative(root: Path, path: Path) -> str:
    path = path.absolute() if root.is_absolute() else path
    if not path.is_relative_to(root) or ".." in (relative := path.relative_to(root)).parts:
        raise DataError(f"{path} does not lie in {root}")
    return relative.as_posix()


def _named(row: Mapping[str, Any]) -> dict[str, Any]:
    """Bring the short names to the long ones; DataError for what is missing, unknown or said twice."""
    unknown = sorted(map(str, row.keys() - KEYS))
    if unknown:
        raise DataError(f"unknown key {', '.join(unknown)}; known are {', '.join(sorted(KEYS))}")
    for short, key in ALIASES.items():
        if short in row and key in row:
            raise DataError(f"has both {short} and {key}, which mean the same")
    named = {ALIASES.get(key, key): value for key, value in row.items()}
    missing = [key for key in _NEEDED if key not in named]
    if missing:
        raise DataError(f"lacks {', '.join(missing)}")
    return named


def _label(value: object) -> bool:
    label = LABELS.get(str(value).lower()) if isinstance(value, bool | int | str) else None
    if label is None:
        raise DataError(f"anomalous must be true or false (or one of {', '.join(LABELS)}), not {value!r}")
    return label


def _defect_type(text: str, anomalous: bool) -> str | None:
    if anomalous or not text or LABELS.get(text.lower()) is False:
        return text if anomalous and text else None
    raise DataError(f"has defect_type {text!r} but anomalous is false")


def _size(row: Mapping[str, Any]) -> tuple[int, int] | None:
    if "width" not in row and "height" not in row:
        return None
    width, height = (number(key, row.get(key), int) for key in ("width", "height"))
    if not width or not height:
        raise DataError(f"an image of {width} x {height} pixels has no content")
    return width, height


def _list(row: Mapping[str, Any], key: str) -> list[Any]:
    value = row.get(key, [])
    if not isinstance(value, list):
        raise DataError(f"{key} must be a list, not {value!r}")
    return value


def _box(values: object, size: tuple[int, int] | None) -> Box:
    numbers = values if isinstance(values, list) and len(values) == 4 else ()
    if not numbers or any(isinstance(number, bool) or not isinstance(number, int | float) for number in numbers):
        raise DataError(f"box {values!r} is not [x0, y0, x1, y1]")
    try:
        x0, y0, x1, y1 = map(float, numbers)
    except OverflowError:
        x0 = y0 = x1 = y1 = math.inf
    right, lower = size or (math.inf, math.inf)
    if not (0 <= x0 < x1 <= right and 0 <= y0 < y1 <= lower and math.isfinite(x1 + y1)):
        where = "the image" if size is None else f"the {size[0]} x {size[1]} image"
        raise DataError(f"box {values!r} does not lie in {where}")
    return x0, y0, x1, y1


def _attributes(values: object) -> Mapping[str, str | float]:
    if not isinstance(values, Mapping):
        raise DataError(f"attributes must be an object, not {values!r}")
    for key, value in values.items():
        check_text("attributes: name", key)
        if not isinstance(value, int | float) or isinstance(value, bool):
            check_text(f"attributes: {key}", value)
    return dict(values)
