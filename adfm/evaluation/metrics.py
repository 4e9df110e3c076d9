"""Predictions to a table of metrics: values by torchmetrics and pycocotools, 95% intervals by resampling images.

A verdict that cannot be read is wrong: a normal sample without one counts as overkill, an anomalous one as a miss. What
is not defined (AUROC of one class, the IoU of normals) is null with the reason, never 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torchmetrics.functional import classification

from adfm.evaluation import localization
from adfm.evaluation.bootstrap import STATISTICS, Outcomes, draws, interval
from adfm.evaluation.prediction import Prediction

NO_NORMALS = "no normal sample"
NO_ANOMALIES = "no anomalous sample"
NO_BOXES = "no boxes were asked for"
NO_TRUE_BOX = "no anomalous sample with a true box"
NO_TRUE_MASK = "no anomalous sample with a true mask"
NO_REWARD = "no reward was given"
NO_SCORE = "no anomaly score was asked for"

DETECTION = ("balanced_accuracy", "f1", "auroc", "average_precision", "overkill", "miss")
LOCALIZATION = (
    *("box_iou", "mask_iou"),
    *(f"box_acc_{threshold}" for threshold in localization.THRESHOLDS),
    *(f"box_ap_{threshold}" for threshold in localization.THRESHOLDS),
)

Estimate = dict[str, Any]
"""`value`, and `low` and `high` where the metric has an interval; or `value` None and the `reason`."""


def table(
    predictions: Sequence[Prediction],
    *,
    by: Sequence[str] = ("bin", "dataset"),
    boxes: bool = True,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure predictions as a whole, by category, in the mean over categories, and by the attributes `by`.

    Gives `samples`, `images`, `anomalous` (counts), `overall` and `macro` (metric to estimate), `category` (category to
    metric to estimate), likewise one key for each attribute of `by` that a sample has, and `parse_failures` (reason
    code to share of samples). A sample without the attribute, as a normal one without a contrast bin, belongs to each
    of its values. `boxes` says whether boxes were asked for at all; if not, what is measured of them is null. With
    `resamples` 0 there are no intervals. Average precision of boxes never has one.

    Questions that do not decide between normal and anomalous are left out.

    Raises:
        ValueError: there are no predictions.
    """
    predictions = [one for one in predictions if one.decides]
    if not predictions:
        raise ValueError("there are no predictions to measure")
    outcomes = columns(predictions, boxes=boxes)
    parts = {"overall": np.arange(len(predictions))} | {
        f"{group} {value}": index for group in ("category", *by) for value, index in _members(predictions, group)
    }
    values = {
        name: _values([predictions[i] for i in index.tolist()], outcomes.take(index), boxes)
        for name, index in parts.items()
    }
    categories = [name for name in parts if name.startswith("category ")]
    values["macro"] = {metric: _macro(metric, [values[name] for name in categories]) for metric in values["overall"]}
    if resamples:
        for name, found in _intervals(outcomes, parts, categories, resamples, seed).items():
            for metric, bounds in found.items():
                if bounds and values[name][metric]["value"] is not None:
                    values[name][metric] |= {"low": bounds[0], "high": bounds[1]}
    grouped = {
        group: {value: values[f"{group} {value}"] for value, _ in _members(predictions, group)}
        for group in ("category", *by)
    }
    return {
        "samples": len(predictions),
        "images": int(outcomes.image.max()) + 1,
        "anomalous": int(outcomes.truth.sum()),
        "overall": values["overall"],
        "macro": values["macro"],
        **{group: members for group, members in grouped.items() if members},
        "parse_failures": parse_failures(predictions),
    }


def summary(predictions: Sequence[Prediction], *, boxes: bool = True) -> dict[str, float]:
    """Give every metric that is defined over all predictions, without intervals: what validation during a run logs.

    Those of detection are over the questions that decide between normal and anomalous; `choice_accuracy`, the share of
    right letters, is over all questions that samples brought themselves.
    """
    deciding = [one for one in predictions if one.decides]
    values = _values(deciding, columns(deciding, boxes=boxes), boxes) if deciding else {}
    found = {metric: estimate["value"] for metric, estimate in values.items() if estimate["value"] is not None}
    own = [one.answer_letter == one.question["key"] for one in predictions if one.question is not None]
    return found | ({"choice_accuracy": float(np.mean(own))} if own else {})


def difference(
    before: Sequence[Prediction],
    after: Sequence[Prediction],
    *,
    boxes: bool = True,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Estimate `after` minus `before`, paired: both are drawn on the same images in every resample.

    Metrics that are not defined in both are left out.

    Raises:
        ValueError: the two are not about the same samples.
    """
    by_id = {prediction.id: prediction for prediction in before}
    if sorted(by_id) != sorted(prediction.id for prediction in after):
        raise ValueError("the two sets of predictions are not about the same samples, so they cannot be paired")
    before = [by_id[prediction.id] for prediction in after]
    old, new = columns(before, boxes=boxes), columns(after, boxes=boxes)
    first, second = summary(before, boxes=boxes), summary(after, boxes=boxes)
    weights = list(draws(new.image, resamples=resamples, seed=seed))
    estimates = {}
    for metric in STATISTICS:
        if metric in first and metric in second:
            estimates[metric] = {"value": second[metric] - first[metric]}
            changes = [STATISTICS[metric](new, rows) - STATISTICS[metric](old, rows) for rows in weights]
            if bounds := interval(np.concatenate([np.empty(0), *changes])):
                estimates[metric] |= {"low": bounds[0], "high": bounds[1]}
    return estimates


def parse_failures(predictions: Sequence[Prediction]) -> dict[str, float]:
    """Give the share of samples that have each reason code, the most frequent first."""
    counts = Counter(reason for prediction in predictions for reason in set(prediction.reasons))
    return {reason: count / len(predictions) for reason, count in counts.most_common()}


def columns(predictions: Sequence[Prediction], *, boxes: bool = True) -> Outcomes:
    """Lay predictions out as columns; without `boxes` no sample has an IoU."""
    truth = np.array([p.anomalous for p in predictions])
    numbers: dict[str, int] = {}
    return Outcomes(
        truth=truth,
        called=np.array([not p.anomalous if p.predicted is None else p.predicted for p in predictions]),
        unreadable=np.array([p.predicted is None for p in predictions]),
        failed=np.array([bool(p.reasons) or p.predicted is None for p in predictions]),
        score=np.array([np.nan if p.score is None else p.score for p in predictions], dtype=np.float64),
        box_iou=np.array([_box_iou(p) if boxes else np.nan for p in predictions]),
        mask_iou=np.array([np.nan if p.mask_iou is None or not boxes else p.mask_iou for p in predictions]),
        reward=np.array([p.rewards.get("total", np.nan) for p in predictions]),
        image=np.array([numbers.setdefault(p.image, len(numbers)) for p in predictions]),
    )


def ranks(score: Float[np.ndarray, " sample"]) -> Float[np.ndarray, " sample"]:
    """Put scores into [0, 1] by rank, ties together.

    torchmetrics takes the sigmoid of scores outside [0, 1], where every log-odds above 40 becomes the same 1.0. Ranks
    keep the order, which is all that AUROC and AP see.
    """
    distinct, rank = np.unique(score, return_inverse=True)
    return rank / max(1, len(distinct) - 1)


def _values(predictions: Sequence[Prediction], outcomes: Outcomes, boxes: bool) -> dict[str, Estimate]:
    values = _detection(outcomes)
    if boxes:
        values |= _localization(predictions, outcomes)
    else:
        values |= {name: {"value": None, "reason": NO_BOXES} for name in LOCALIZATION}
    values["unreadable"] = {"value": float(outcomes.unreadable.mean())}
    values["parse_failure"] = {"value": float(outcomes.failed.mean())}
    values["reward"] = _mean(outcomes.reward, NO_REWARD)
    return values


def _localization(predictions: Sequence[Prediction], outcomes: Outcomes) -> dict[str, Estimate]:
    placed = outcomes.box_iou[~np.isnan(outcomes.box_iou)]
    unscored = np.isnan(outcomes.score).any()
    precision = dict.fromkeys(localization.THRESHOLDS)
    if not unscored:
        precision = localization.average_precision(
            [p.boxes for p in predictions], outcomes.score.tolist(), [p.true_boxes for p in predictions]
        )
    values = [
        _mean(outcomes.box_iou, NO_TRUE_BOX),
        _mean(outcomes.mask_iou, NO_TRUE_MASK),
        *(_mean((placed >= threshold).astype(float), NO_TRUE_BOX) for threshold in localization.THRESHOLDS),
        *(
            {"value": None, "reason": NO_SCORE if unscored else NO_TRUE_BOX} if value is None else {"value": value}
            for value in precision.values()
        ),
    ]
    return dict(zip(LOCALIZATION, values, strict=True))


def _detection(outcomes: Outcomes) -> dict[str, Estimate]:
    """The six metrics of detection, rounded to six places because torchmetrics counts in float32."""
    truth = torch.from_numpy(outcomes.truth).int()
    called = torch.from_numpy(outcomes.called).int()
    unscored = np.isnan(outcomes.score).any()
    values: dict[str, float] = {}
    if truth.any():
        values["miss"] = 1 - float(classification.binary_recall(called, truth))
        values["f1"] = float(classification.binary_f1_score(called, truth))
    if not truth.all():
        values["overkill"] = 1 - float(classification.binary_specificity(called, truth))
    if {"miss", "overkill"} <= set(values):
        values["balanced_accuracy"] = 1 - (values["miss"] + values["overkill"]) / 2
        if not unscored:
            score = torch.from_numpy(ranks(outcomes.score))
            values["auroc"] = float(classification.binary_auroc(score, truth))
            values["average_precision"] = float(classification.binary_average_precision(score, truth))
    reason = NO_NORMALS if truth.all() else NO_SCORE if truth.any() else NO_ANOMALIES
    undefined = {"value": None, "reason": reason}
    return {name: {"value": round(values[name], 6)} if name in values else undefined for name in DETECTION}


def _mean(values: Float[np.ndarray, " sample"], reason: str) -> Estimate:
    defined = values[~np.isnan(values)]
    return {"value": float(defined.mean())} if len(defined) else {"value": None, "reason": reason}


def _macro(metric: str, categories: Sequence[Mapping[str, Estimate]]) -> Estimate:
    defined = [values[metric]["value"] for values in categories if values[metric]["value"] is not None]
    if not defined:
        return {"value": None, "reason": "in no category defined"}
    return {"value": float(np.mean(defined)), "categories": len(defined)}


def _intervals(
    outcomes: Outcomes,
    parts: Mapping[str, Int[np.ndarray, " _"]],
    categories: Sequence[str],
    resamples: int,
    seed: int,
) -> dict[str, dict[str, tuple[float, float] | None]]:
    """Intervals of every metric in every part and in the mean over categories, all from the same resamples."""
    names = (*parts, "macro")
    chunks: dict[str, dict[str, list[Any]]] = {name: {metric: [] for metric in STATISTICS} for name in names}
    members = {name: outcomes.take(index) for name, index in parts.items()}
    for weights in draws(outcomes.image, resamples=resamples, seed=seed):
        for metric, statistic in STATISTICS.items():
            for name, index in parts.items():
                chunks[name][metric].append(statistic(members[name], weights[:, index]))
            chunks["macro"][metric].append(_nanmean([chunks[name][metric][-1] for name in categories]))
    return {name: {metric: interval(np.concatenate(found)) for metric, found in chunks[name].items()} for name in names}


def _nanmean(rows: Sequence[Float[np.ndarray, " resample"]]) -> Float[np.ndarray, " resample"]:
    values = np.stack(rows)
    defined = ~np.isnan(values)
    count = defined.sum(0)
    return np.where(count > 0, np.where(defined, values, 0).sum(0) / np.maximum(count, 1), np.nan)


def _members(predictions: Sequence[Prediction], group: str) -> Iterator[tuple[str, Int[np.ndarray, " member"]]]:
    """Each value of a group and the samples that belong to it, in sorted order."""
    labels = [p.category if group == "category" else p.attributes.get(group) for p in predictions]
    for value in sorted({str(label) for label in labels if label is not None}):
        yield value, np.array([i for i, label in enumerate(labels) if label is None or str(label) == value])


def _box_iou(prediction: Prediction) -> float:
    size = {"width": prediction.width, "height": prediction.height}
    if not prediction.anomalous or not localization.boxes_mask(prediction.true_boxes, **size).any():
        return float("nan")
    return localization.box_mask_iou(prediction.boxes, prediction.true_boxes, **size)
