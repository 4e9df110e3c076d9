"""What is said about one image: an inspection, with the file that it is of; one line of `predictions.jsonl`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adfm.errors import DataError
from adfm.evaluation.inspection import Inspection
from adfm.inspection.sources import Source

ANOMALOUS, NORMAL, UNREADABLE, ERROR = VERDICTS = ("anomalous", "normal", "unreadable", "error")
"""The words of a verdict. `unreadable`: the model's answer could not be read. `error`: the image could not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspected(Inspection):
    """What a model says about one image file, or why it says nothing."""

    name: str
    """As results call it: the path below the input root, or `image 0`, `image 1`, ... for images in memory."""
    path: Path | None = None
    """None for an image in memory."""
    sha256: str | None = None
    """Of the file's bytes; None if they could not be read, or for an image in memory."""
    size: tuple[int, int] | None = None
    """Width and height in pixels as shown; None for an image that could not be read."""
    category: str = ""
    references: tuple[Path, ...] = ()
    prompt: str = ""
    """16 hex digits of all that the model was shown and told beside the image."""
    error: str | None = None
    """Why the image could not be inspected; None if it was."""

    @property
    def verdict(self) -> str:
        """One of `VERDICTS`."""
        if self.error is not None:
            return ERROR
        return {True: ANOMALOUS, False: NORMAL, None: UNREADABLE}[self.predicted]

    @property
    def explanation(self) -> str:
        """The text of all stages before the answer, a line each."""
        return "\n".join(text.strip() for stage, text in self.stages.items() if text and stage != "answer")

    def row(self) -> dict[str, Any]:
        """Give the values that `predictions.jsonl` holds of it."""
        return {
            "path": self.name,
            "sha256": self.sha256,
            "width": self.size[0] if self.size else None,
            "height": self.size[1] if self.size else None,
            "category": self.category,
            "verdict": self.verdict,
            "score": self.score,
            "probability": self.probability,
            "boxes": [list(box) for box in self.boxes],
            "confidences": list(self.confidences),
            "type": self.named_type,
            "explanation": self.explanation,
            "stages": dict(self.stages),
            "completion": self.text,
            "draws": [_draw(draw) for draw in self.draws],
            "reasons": list(self.reasons),
            "mask": None if self.mask is None else dict(self.mask),
            "references": [str(path) for path in self.references],
            "prompt": self.prompt,
            "tokens": self.tokens,
            "milliseconds": round(1000 * self.seconds, 1),
            "error": self.error,
        }


def unread(source: Source, error: DataError) -> Inspected:
    """Say of an image file that it could not be inspected, and why."""
    try:
        digest = hashlib.sha256(source.path.read_bytes()).hexdigest()
    except OSError:
        digest = None
    return Inspected(
        predicted=None,
        score=None,
        name=source.name,
        path=source.path,
        sha256=digest,
        category=source.category or "",
        error=str(error),
    )


def _draw(draw: Any) -> Mapping[str, Any]:
    verdict = {True: ANOMALOUS, False: NORMAL, None: UNREADABLE}[draw.predicted]
    return {"verdict": verdict, "boxes": [list(box) for box in draw.boxes], "completion": draw.text}
