"""What the model says about one image: the same words for a data set with labels and for a folder without."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from adfm.types import Box, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """One of several completions about an image. Boxes are in original pixels, half-open."""

    text: str
    predicted: bool | None
    boxes: tuple[Box, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """The verdict on one image with its anomaly score. Boxes are in original pixels, half-open."""

    predicted: bool | None
    """Called anomalous, called normal, or None where the verdict could not be read."""
    score: float | None
    """Anomaly score: a log-odds for a model, for ranking only; None where none was asked for, or nothing decides it."""
    probability: float | None = None
    """The score calibrated to the probability of an anomaly; None without a calibration."""
    boxes: tuple[Box, ...] = ()
    boxes_written: tuple[Box, ...] = ()
    confidences: tuple[float, ...] = ()
    """Of each box, in [0, 1]: geometric mean probability of its coordinate tokens, or the share of draws that agree."""
    named_type: str | None = None
    """The defect type that the text names, among those that are known; None for none or for several."""
    mask: Mapping[str, Any] | None = None
    """Predicted pixels as COCO RLE: `size` (height, width) and `counts` as text; None where no mask was asked for."""
    text: str = ""
    stages: Mapping[str, str | None] = field(default_factory=dict)
    reasoning_letter: str | None = None
    answer_letter: str | None = None
    reasons: tuple[str, ...] = ()
    """Codes of what could not be read."""
    draws: tuple[Draw, ...] = ()
    """All completions where there were several; empty for one greedy completion."""
    seconds: float = 0.0
    """Wall time of the image: its share of its batch."""
    tokens: int = 0
    """Length of the completion, or of all draws together."""
    letters: Mapping[str, float] = field(default_factory=dict)
    """Log-probability of each letter; empty where the answer was written."""


def of_verdict(verdict: Verdict, *, score: float | None, **measured: Any) -> Inspection:
    """Make the inspection of one verdict; `measured` are further fields."""
    return Inspection(
        predicted=verdict.anomalous,
        score=score,
        boxes=verdict.boxes,
        boxes_written=verdict.boxes_written,
        text=verdict.text,
        stages=dict(verdict.stages),
        reasoning_letter=verdict.reasoning_letter,
        answer_letter=verdict.answer_letter,
        reasons=verdict.reasons,
        **measured,
    )


def verdict_of(inspection: Inspection) -> Verdict:
    """Give the verdict of an inspection back, as rewards judge it."""
    return Verdict(
        text=inspection.text,
        stages=inspection.stages,
        reasoning_letter=inspection.reasoning_letter,
        answer_letter=inspection.answer_letter,
        anomalous=inspection.predicted,
        boxes_written=inspection.boxes_written,
        boxes=inspection.boxes,
        reasons=inspection.reasons,
    )
