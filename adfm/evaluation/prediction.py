"""What a detector says about one sample, beside what is true of it: one line of `predictions.jsonl`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from adfm.errors import DataError
from adfm.evaluation.inspection import Draw, Inspection
from adfm.evaluation.localization import mask_iou
from adfm.files import write_whole
from adfm.masks.rle import rle_mask
from adfm.types import DETECTION, Box, Prompt, Sample

ADDED = frozenset(("question", "letters", "probability", "confidences", "named_type", "mask", "draws"))
"""Fields that files of older versions do not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction(Inspection):
    """One sample: what is true of it, and what the model says about it."""

    id: str
    image: str
    category: str
    anomalous: bool
    """The truth."""
    defect_type: str | None
    attributes: Mapping[str, str | float] = field(default_factory=dict)
    width: int
    height: int
    true_boxes: tuple[Box, ...] = ()
    mask_iou: float | None = None
    """IoU of the predicted mask, or of all predicted boxes where there is none, with the true mask; None for a normal
    sample or one without a mask."""
    rewards: Mapping[str, float] = field(default_factory=dict)
    """Reward terms before their weights and `total`; empty where no reward was given."""
    question: Mapping[str, Any] | None = None
    """The sample's own question as the prompt showed it: `kind`, `text`, `options`, `key`; None where it has none."""

    @property
    def decides(self) -> bool:
        """Whether the question was normal or anomalous."""
        return self.question is None or self.question["kind"] == DETECTION

    @property
    def ranked_by(self) -> float:
        """The anomaly score of a prediction that has one; raises ValueError for a question that asks for none."""
        if self.score is None:
            raise ValueError(f"{self.id} has no anomaly score")
        return self.score

    def to_json(self) -> str:
        """Write one line of JSON. Raises ValueError if the score is not finite, because a ranking needs every score."""
        return json.dumps(asdict(self), ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, line: str) -> Prediction:
        """Read a line of `to_json`, also of an older one. Raises ValueError if a field is missing or unknown."""
        values: dict[str, Any] = json.loads(line)
        names = {entry.name for entry in fields(cls)}
        if wrong := (set(values) ^ names) - (ADDED - set(values)):
            raise ValueError(f"not a prediction: the fields {sorted(wrong)} are missing or unknown")
        for name in ("boxes", "boxes_written", "true_boxes"):
            values[name] = tuple(tuple(box) for box in values[name])
        for name in ("reasons", "confidences"):
            values[name] = tuple(values.get(name, ()))
        values["draws"] = tuple(
            Draw(**draw | {"boxes": tuple(tuple(box) for box in draw["boxes"])}) for draw in values.get("draws", ())
        )
        return cls(**values)


def from_inspection(sample: Sample, inspection: Inspection, **measured: Any) -> Prediction:
    """Set the inspection of a sample beside its labels; `measured` are further fields (`rewards`, `question`)."""
    said = {entry.name: getattr(inspection, entry.name) for entry in fields(Inspection)}
    return Prediction(**labels(sample), **said, mask_iou=_mask_iou(sample, inspection), **measured)


def labels(sample: Sample) -> dict[str, Any]:
    """Give the fields of a prediction that are known without a detector."""
    return {
        "id": sample.id,
        "image": str(sample.image),
        "category": sample.category,
        "anomalous": sample.anomalous,
        "defect_type": sample.defect_type,
        "attributes": dict(sample.attributes),
        "width": sample.width,
        "height": sample.height,
        "true_boxes": sample.boxes,
    }


def write(path: Path, predictions: Iterable[Prediction]) -> None:
    """Write `predictions.jsonl`, whole or not at all."""
    write_whole(path, "".join(f"{prediction.to_json()}\n" for prediction in predictions))


def read(path: Path) -> list[Prediction]:
    """Read `predictions.jsonl`. Raises DataError naming the file and line that is no prediction."""
    predictions = []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                predictions.append(Prediction.from_json(line))
            except (ValueError, TypeError, AttributeError) as error:
                raise DataError(f"{path}, line {number}: {error}") from error
    return predictions


def question_of(prompt: Prompt) -> dict[str, Any] | None:
    """Give `Prediction.question`."""
    asked = prompt.sample.question
    if asked is None:
        return None
    return {"kind": asked.kind, "text": asked.text, "options": dict(prompt.options), "key": prompt.key}


def _mask_iou(sample: Sample, inspection: Inspection) -> float | None:
    if not sample.anomalous or sample.mask is None:
        return None
    true = sample.mask.read(sample.size)
    if not np.any(true):
        return None
    if inspection.mask is None:
        return mask_iou(inspection.boxes, true)
    found = rle_mask(inspection.mask)
    return float(np.count_nonzero(found & true) / np.count_nonzero(found | true))
