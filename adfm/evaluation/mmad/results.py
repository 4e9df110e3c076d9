"""MMAD's results of a model: its predictions as answers, tables and a detection that ranks, in one folder.

predictions.jsonl   answers.json (released format)   mmad.json (tables by both scorings, detection by probability)
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from adfm.data.mmad import ATTRIBUTE, DETECTION, IMAGE
from adfm.evaluation import bootstrap, metrics
from adfm.evaluation.bootstrap import Outcomes, Statistic, Weights, auroc, draws, interval
from adfm.evaluation.mmad.answers import Answer
from adfm.evaluation.mmad.published import published
from adfm.evaluation.mmad.scoring import AVERAGE, Estimate, tables
from adfm.evaluation.mmad.show import comparison, ranking, shown
from adfm.evaluation.prediction import Prediction
from adfm.files import write_whole

SUMMARY = "mmad.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a table says of how its answers came about."""

    key: str
    """Of the evaluation."""
    protocol: str
    read_by: str
    trained: str
    """Whether the model trained on MMAD's images or their sources; see `adfm.data.leaks.training_label`."""


def publish(folder: Path, predictions: Sequence[Prediction], about: About, *, resamples: int) -> str:
    """Score predictions, write `answers.json` and `mmad.json` into `folder` and return the tables as text."""
    answers = [_answer(one, about.read_by) for one in predictions]
    found = tables(answers, resamples=resamples)
    ranked = detection([one for one in predictions if one.decides and one.letters], resamples=resamples)
    entries = [_entry(answer, one) for answer, one in zip(answers, predictions, strict=True)]
    write_whole(folder / "answers.json", json.dumps(entries, indent=1, ensure_ascii=False) + "\n")
    content = {
        "key": about.key,
        "protocol": about.protocol,
        "read_by": about.read_by,
        "trained": about.trained,
        "scoring": {name: {"rows": table.rows, "counts": table.counts} for name, table in found.items()},
        "detection": ranked,
    }
    write_whole(folder / SUMMARY, json.dumps(content, indent=2) + "\n")
    images = len({answer.image for answer in answers})
    text = [f"{len(answers)} answers about {images} images; percent, in brackets 95% intervals over images"]
    text.append(about.trained)
    text += [shown(name, table) for name, table in found.items()]
    text.append(ranking(ranked) if ranked else "AUROC and calibration error of detection: use answering=logits")
    domain = about.trained.partition(";")[0]
    text.append(comparison(found, published(), protocol=about.protocol, trained=domain))
    return "\n\n".join(text)


def detection(predictions: Sequence[Prediction], *, resamples: int, seed: int = 0) -> dict[str, dict[str, Estimate]]:
    """Measure the anomaly scores of detection questions in percent: data set, or `Average`, to measure to estimate.

    `AUROC` ranks images; `Calibration error` is the expected one of the probability of an anomaly, in
    `bootstrap.BINS` bins.
    Intervals are over images. The average has every data set with the same weight.
    """
    if not predictions:
        return {}
    names = [str(one.attributes[ATTRIBUTE]) for one in predictions]
    members = {name: np.array([other == name for other in names]) for name in dict.fromkeys(names)}
    outcomes = metrics.columns(predictions, boxes=False)
    weights = [np.ones((1, len(predictions))), *draws(outcomes.image, resamples=resamples, seed=seed)]
    rows: dict[str, dict[str, Statistic]] = {
        name: {
            measure: np.concatenate([statistic(outcomes.take(own.nonzero()[0]), drawn[:, own]) for drawn in weights])
            for measure, statistic in (("AUROC", auroc), ("Calibration error", calibration_error))
        }
        for name, own in members.items()
    }
    rows[AVERAGE] = {
        measure: np.mean([row[measure] for row in rows.values()], axis=0) for measure in ("AUROC", "Calibration error")
    }
    return {name: {measure: _estimate(values) for measure, values in row.items()} for name, row in rows.items()}


def calibration_error(outcomes: Outcomes, weights: Weights) -> Statistic:
    """Expected calibration error of the probabilities that the scores, as log-odds, stand for; NaN without weight."""
    return bootstrap.calibration_error(
        replace(outcomes, probability=np.exp(-np.logaddexp(0, -outcomes.score))), weights
    )


def _estimate(values: Statistic) -> Estimate:
    if np.isnan(values[0]):
        return {"value": None, "reason": "needs detection questions about normal and anomalous images"}
    bounds = interval(values[1:])
    limits = {} if bounds is None else {"low": 100 * bounds[0], "high": 100 * bounds[1]}
    return {"value": 100 * float(values[0])} | limits


def _answer(prediction: Prediction, read_by: str) -> Answer:
    asked = _asked(prediction)
    return Answer(
        image=str(prediction.attributes[IMAGE]),
        question_type=DETECTION if prediction.decides else asked["kind"],
        correct=asked["key"],
        chosen=prediction.answer_letter,
        read_by=read_by,
    )


def _entry(answer: Answer, prediction: Prediction) -> dict[str, Any]:
    """Return an entry of the released format; a letter that could not be read is empty, as there."""
    asked = _asked(prediction)
    return {
        "image": answer.image,
        "question": {"type": "text", "text": asked["text"], "options": asked["options"]},
        "question_type": answer.question_type,
        "correct_answer": answer.correct,
        "gpt_answer": answer.chosen or "",
    }


def _asked(prediction: Prediction) -> Mapping[str, Any]:
    if prediction.question is None:
        raise ValueError(f"{prediction.id}: is no prediction about a question of MMAD")
    return prediction.question
