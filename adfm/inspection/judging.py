"""From a score to a verdict: by a threshold that is given, or by what calibration stored with the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from adfm.evaluation.inspection import Inspection
from adfm.inspection import calibration
from adfm.inspection.sources import Source

AUTO = "auto"
"""The threshold and the probability that `python -m adfm.calibrate` stored with the model, if it did."""


class Judge:
    """Calls images anomalous.

    Args:
        threshold: A score above it is anomalous; `auto` takes the stored one, if there is one, and None leaves the
            verdict as the model writes it.
        folder: The checkpoint's, where calibrations are stored.
        scoring: All that decides a score beside the image: a calibration counts for the one way it was made for.

    Raises:
        ConfigError: the model has calibrations, and none is for this way of scoring.
    """

    def __init__(self, threshold: float | str | None, *, folder: Path, scoring: Mapping[str, Any]) -> None:
        self._scoring = scoring
        self._calibration = calibration.find(folder, scoring) if threshold == AUTO else None
        if threshold == AUTO:
            threshold = self._calibration and self._calibration.threshold.value
        self.threshold = None if threshold is None else float(threshold)

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides a verdict beside the score, as JSON values."""
        curve = self._calibration and self._calibration.probability
        return {"threshold": self.threshold, "probability": [curve.slope, curve.intercept] if curve else None}

    def check(self, sources: Sequence[Source]) -> None:
        """Raise ConfigError for rows of a manifest that change the prompt, where a stored calibration judges scores."""
        if self._calibration is not None:
            advice = "inspect each category by itself with category=..., or set threshold=<number> or threshold=null"
            calibration.refuse_other_prompts(self._scoring, sources, advice=advice)

    def __call__(self, said: Inspection) -> Inspection:
        """Judge the score of an inspection, if it has one."""
        if said.score is None:
            return said
        curve = self._calibration and self._calibration.probability
        return replace(
            said,
            predicted=said.predicted if self.threshold is None else said.score > self.threshold,
            probability=said.probability if curve is None else curve(said.score),
        )
