"""Image level: do the verdicts, the anomaly scores and the probabilities tell defective images from good ones?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float
from torchmetrics.functional import classification

from adfm.evaluation.bootstrap import BINS, WORK_SAVED, brier, work_saved
from adfm.evaluation.estimates import NO_ANOMALIES, NO_NORMALS, NO_PROBABILITY, NO_SCORE, Estimate, undefined
from adfm.evaluation.outcomes import Outcomes

RANKING = ("f1_max", "auroc", "average_precision", *WORK_SAVED)
CALIBRATION = ("calibration_error", "brier")
DETECTION = ("balanced_accuracy", "f1", *RANKING, "overkill", "miss", *CALIBRATION)


def detection(outcomes: Outcomes) -> dict[str, Estimate]:
    """Measure detection; values are rounded to six places because torchmetrics counts in float32.

    F1-max is the best F1 that any threshold of the score reaches on these very samples; see `bootstrap.work_saved` for
    the work saved.
    """
    truth = torch.from_numpy(outcomes.truth).int()
    called = torch.from_numpy(outcomes.called).int()
    values: dict[str, float] = {}
    if truth.any():
        values["miss"] = 1 - float(classification.binary_recall(called, truth))
        values["f1"] = float(classification.binary_f1_score(called, truth))
    if not truth.all():
        values["overkill"] = 1 - float(classification.binary_specificity(called, truth))
    if {"miss", "overkill"} <= set(values):
        values["balanced_accuracy"] = 1 - (values["miss"] + values["overkill"]) / 2
        if not np.isnan(outcomes.score).any():
            values |= _ranking(outcomes)
    if not np.isnan(outcomes.probability).any():
        probability = torch.from_numpy(outcomes.probability)
        values["calibration_error"] = float(classification.binary_calibration_error(probability, truth, n_bins=BINS))
        values["brier"] = float(brier(outcomes, np.ones((1, len(truth))))[0])
    reason = NO_NORMALS if truth.all() else NO_SCORE if truth.any() else NO_ANOMALIES
    reasons: Mapping[str, str] = dict.fromkeys(CALIBRATION, NO_PROBABILITY)
    return {
        name: {"value": round(values[name], 6)} if name in values else undefined(reasons.get(name, reason))
        for name in DETECTION
    }


def ranks(score: Float[np.ndarray, " sample"]) -> Float[np.ndarray, " sample"]:
    """Put scores into [0, 1] by rank, ties together.

    torchmetrics takes the sigmoid of scores outside [0, 1], where every log-odds above 40 becomes the same 1.0. Ranks
    keep the order, which is all that a ranking metric sees.
    """
    distinct, rank = np.unique(score, return_inverse=True)
    return rank / max(1, len(distinct) - 1)


def _ranking(outcomes: Outcomes) -> dict[str, float]:
    truth = torch.from_numpy(outcomes.truth).int()
    score = torch.from_numpy(ranks(outcomes.score))
    precision, recall, _ = classification.binary_precision_recall_curve(score, truth)
    f1 = 2 * precision * recall / (precision + recall)
    once = np.ones((1, len(truth)))
    return {
        "auroc": float(classification.binary_auroc(score, truth)),
        "average_precision": float(classification.binary_average_precision(score, truth)),
        "f1_max": float(f1.nan_to_num().max()),
        **{name: float(work_saved(outcomes, once, missing)[0]) for name, missing in WORK_SAVED.items()},
    }
