"""What a metric comes to: a number, or null with the reason why there is none; and its resamples."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

Estimate = dict[str, Any]
"""`value`, and `low` and `high` where the metric has an interval; or `value` None and the `reason`."""

Weights = Float[np.ndarray, "resample sample"]
"""How often each sample was drawn."""
Statistic = Float[np.ndarray, " resample"]

NO_NORMALS = "no normal sample"
NO_ANOMALIES = "no anomalous sample"
NO_SCORE = "no anomaly score was asked for"
NO_PROBABILITY = "no calibrated probability"
NO_BOXES = "no boxes were asked for"
NO_TRUE_BOX = "no anomalous sample with a true box"
NO_TRUE_MASK = "no anomalous sample with a true mask"
NO_REWARD = "no reward was given"


def undefined(reason: str) -> Estimate:
    """Say why there is no number."""
    return {"value": None, "reason": reason}


def mean_of(values: Float[np.ndarray, " sample"], reason: str) -> Estimate:
    """Take the mean of what is not NaN; without any, undefined for `reason`."""
    defined = values[~np.isnan(values)]
    return {"value": float(defined.mean())} if len(defined) else undefined(reason)


def ratio(part: Float[np.ndarray, "*shape"], whole: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Divide; NaN where `whole` is 0."""
    return np.divide(part, whole, out=np.full_like(whole, np.nan), where=whole > 0)
