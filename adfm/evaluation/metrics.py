"""Predictions to a table of metrics: values by torchmetrics and pycocotools, 95% intervals by resampling images.

A verdict that cannot be read is wrong: a normal sample without one counts as overkill, an anomalous one as a miss. What
is not defined (AUROC of one class, the IoU of normals) is null with the reason, never 0.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from adfm.evaluation import explanations, named_types
from adfm.evaluation.bootstrap import STATISTICS, draws, interval
from adfm.evaluation.detection import DETECTION, detection
from adfm.evaluation.estimates import NO_BOXES, NO_REWARD, Estimate, Statistic, Weights, mean_of, ratio, undefined
from adfm.evaluation.outcomes import Outcomes, columns
from adfm.evaluation.placement import BOXES, MASKS, boxes_placed, masks_placed
from adfm.evaluation.prediction import Prediction
from adfm.evaluation.truth import Truth

TEXTS = ("type_accuracy", "rouge_l", "letters_agree", "boxes_agree", "places_agree")
LOCALIZATION = (*BOXES, "boxes_agree", "places_agree")
"""What is measured of boxes."""
ALWAYS = ("unreadable", "parse_failure", "reward")
METRICS = (*DETECTION, *BOXES, *MASKS, *TEXTS, *ALWAYS)


def table(
    predictions: Sequence[Prediction],
    *,
    by: Sequence[str] = ("bin", "dataset"),
    boxes: bool = True,
    truth: Truth | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure predictions as a whole, by category, in the mean over categories, and by the attributes `by`.

    Gives `samples`, `images`, `anomalous` (counts), `overall` and `macro` (metric to estimate), `category` (category to
    metric to estimate), likewise one key for each attribute of `by` that a sample has, `confusion` (true defect type to
    named type to count; only where a text names one) and `parse_failures` (reason code to share of samples). A sample
    without the attribute, as a normal one without a contrast bin, belongs to each of its values.

    Args:
        predictions: Questions that do not decide between normal and anomalous are left out.
        by: Attributes.
        boxes: Whether boxes were asked for at all; if not, what is measured of them is null.
        truth: Gives true masks, for what is measured of pixels and regions; each is read once. None reads none.
        resamples: Of the intervals; 0 gives none. Average precision of boxes never has one.
        seed: Of the resamples.

    Raises:
        ValueError: there are no predictions.
        DataError: a true mask cannot be read, or a predicted one does not fit it.
    """
    predictions = [one for one in predictions if one.decides]
    if not predictions:
        raise ValueError("there are no predictions to measure")
    outcomes = columns(predictions, boxes=boxes, truth=truth)
    parts = {"overall": np.arange(len(predictions))} | {
        f"{group} {value}": index for group in ("category", *by) for value, index in _members(predictions, group)
    }
    values = {
        name: _values([predictions[i] for i in index.tolist()], outcomes.take(index), boxes)
        for name, index in parts.items()
    }
    categories = [name for name in parts if name.startswith("category ")]
    values["macro"] = {metric: _macro(metric, [values[name] for name in categories]) for metric in METRICS}
    if resamples:
        weights = draws(outcomes.image, resamples=resamples, seed=seed)
        _add_intervals(values, outcomes, parts, categories, weights)
    grouped = {
        group: {value: values[f"{group} {value}"] for value, _ in _members(predictions, group)}
        for group in ("category", *by)
    }
    confusion = named_types.confusion(predictions)
    return {
        "samples": len(predictions),
        "images": int(outcomes.image.max()) + 1,
        "anomalous": int(outcomes.truth.sum()),
        "overall": values["overall"],
        "macro": values["macro"],
        **{group: members for group, members in grouped.items() if members},
        **({"confusion": confusion} if confusion else {}),
        "parse_failures": parse_failures(predictions),
    }


def summary(predictions: Sequence[Prediction], *, boxes: bool = True, truth: Truth | None = None) -> dict[str, float]:
    """Give every metric that is defined over all predictions, without intervals: what validation during a run logs.

    Those of detection are over the questions that decide between normal and anomalous; `choice_accuracy`, the share of
    right letters, is over all questions that samples brought themselves.
    """
    deciding = [one for one in predictions if one.decides]
    values = _values(deciding, columns(deciding, boxes=boxes, truth=truth), boxes) if deciding else {}
    found = {metric: estimate["value"] for metric, estimate in values.items() if estimate["value"] is not None}
    own = [one.answer_letter == one.question["key"] for one in predictions if one.question is not None]
    return found | ({"choice_accuracy": float(np.mean(own))} if own else {})


def difference(
    before: Sequence[Prediction],
    after: Sequence[Prediction],
    *,
    boxes: bool = True,
    truth: Truth | None = None,
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
    old, new = (columns(side, boxes=boxes, truth=truth) for side in (before, after))
    first, second = _values(before, old, boxes), _values(after, new, boxes)
    weights = list(draws(new.image, resamples=resamples, seed=seed))
    estimates = {}
    for metric in STATISTICS:
        if first[metric]["value"] is not None and second[metric]["value"] is not None:
            estimates[metric] = {"value": second[metric]["value"] - first[metric]["value"]}
            changes = [STATISTICS[metric](new, rows) - STATISTICS[metric](old, rows) for rows in weights]
            if bounds := interval(np.concatenate([np.empty(0), *changes])):
                estimates[metric] |= {"low": bounds[0], "high": bounds[1]}
    return estimates


def parse_failures(predictions: Sequence[Prediction]) -> dict[str, float]:
    """Give the share of samples that have each reason code, the most frequent first."""
    counts = Counter(reason for prediction in predictions for reason in set(prediction.reasons))
    return {reason: count / len(predictions) for reason, count in counts.most_common()}


def _values(predictions: Sequence[Prediction], outcomes: Outcomes, boxes: bool) -> dict[str, Estimate]:
    values = detection(outcomes) | masks_placed(outcomes) | _texts(outcomes)
    if boxes:
        values |= boxes_placed(predictions, outcomes)
    else:
        values |= {name: undefined(NO_BOXES) for name in LOCALIZATION}
    values["unreadable"] = {"value": float(outcomes.unreadable.mean())}
    values["parse_failure"] = {"value": float(outcomes.failed.mean())}
    values["reward"] = mean_of(outcomes.reward, NO_REWARD)
    return {metric: values[metric] for metric in METRICS}


def _texts(outcomes: Outcomes) -> dict[str, Estimate]:
    return {
        "type_accuracy": mean_of(outcomes.type_right, named_types.NO_TYPE),
        "rouge_l": mean_of(outcomes.rouge_l, explanations.NO_REFERENCE),
        "letters_agree": mean_of(outcomes.letters_agree, explanations.NO_LETTERS),
        "boxes_agree": mean_of(outcomes.boxes_agree, explanations.NO_READABLE),
        "places_agree": mean_of(outcomes.places_agree, explanations.NO_PLACE),
    }


def _macro(metric: str, categories: Sequence[Mapping[str, Estimate]]) -> Estimate:
    defined = [values[metric]["value"] for values in categories if values[metric]["value"] is not None]
    if not defined:
        return undefined("in no category defined")
    return {"value": float(np.mean(defined)), "categories": len(defined)}


def _add_intervals(
    values: Mapping[str, dict[str, Estimate]],
    outcomes: Outcomes,
    parts: Mapping[str, Int[np.ndarray, " _"]],
    categories: Sequence[str],
    weights: Iterable[Weights],
) -> None:
    """Add the interval of every metric in every part and in the mean over categories, all from the same resamples."""
    members = {name: outcomes.take(index) for name, index in parts.items()}
    chunks: dict[tuple[str, str], list[Statistic]] = defaultdict(list)
    for rows in weights:
        for metric, statistic in STATISTICS.items():
            defined = [name for name in parts if values[name][metric]["value"] is not None]
            for name in defined:
                chunks[name, metric].append(statistic(members[name], rows[:, parts[name]]))
            of_categories = [chunks[name, metric][-1] for name in defined if name in categories]
            if of_categories:
                chunks["macro", metric].append(_nanmean(of_categories))
    for (name, metric), found in chunks.items():
        if bounds := interval(np.concatenate(found)):
            values[name][metric] |= {"low": bounds[0], "high": bounds[1]}


def _nanmean(rows: Sequence[Statistic]) -> Statistic:
    values = np.stack(rows)
    defined = ~np.isnan(values)
    return ratio(np.where(defined, values, 0).sum(0), defined.sum(0).astype(float))


def _members(predictions: Sequence[Prediction], group: str) -> Iterator[tuple[str, Int[np.ndarray, " member"]]]:
    """Each value of a group and the samples that belong to it, in sorted order."""
    labels = [p.category if group == "category" else p.attributes.get(group) for p in predictions]
    for value in sorted({str(label) for label in labels if label is not None}):
        yield value, np.array([i for i, label in enumerate(labels) if label is None or str(label) == value])
