"""A checkpoint on a data set: predictions, metrics and baselines into one folder, and one checkpoint beside another.

    eval/<dataset>/           metrics.json   predictions.jsonl     of what is evaluated
    eval/before/<dataset>/    metrics.json   predictions.jsonl     of the checkpoint that the run started from

MMAD has tables of its own, `mmad.json` and `answers.json` in the place of `metrics.json`: see `mmad.results`.
An evaluation that is there already is not made again, one that was interrupted goes on, whenever that was: both are
known by a key of the weights, the prompts, the data, the decoding and the score.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from adfm.data.leaks import Leaks, leaf_names, training_label
from adfm.evaluation import metrics, prediction, runner, tables, true_masks
from adfm.evaluation.baselines import baseline_predictions, best_threshold, thresholded
from adfm.evaluation.mmad import results
from adfm.evaluation.plan import Plan, key_of, model_config
from adfm.evaluation.prediction import Prediction
from adfm.evaluation.score import NoScore
from adfm.evaluation.truth import truth_of
from adfm.files import write_whole
from adfm.grpo import selfcheck
from adfm.models.vlm import VLM

PARTIAL, PARTIAL_THRESHOLD = "predictions.partial", "threshold.partial"
"""What an evaluation under way has of its samples, and of those that a threshold is chosen on."""
MIXED = "data set"
"""The group of a table that has a row for each data set of a mixture."""


def compare(
    plan: Plan,
    *,
    after: DictConfig,
    before: DictConfig | None,
    folder: Path,
    trained_on: Sequence[str] = (),
    leaked: Leaks | None = None,
) -> str:
    """Evaluate a checkpoint into `folder/<dataset>`, one into `folder/before/<dataset>`; return the tables.

    `after` and `before` are `model` config nodes, `trained_on` the data sets that lie between them, as far as known,
    and `leaked` what of the evaluated samples was found among theirs.
    """
    trained = training_label(trained_on, ["mmad"] if plan.asks_mmad else leaf_names(plan.dataset), leaked)
    if plan.asks_mmad:
        return _compare_on_mmad(plan, after=after, before=before, folder=folder, trained=trained)
    baselines, notes = baseline_predictions(
        plan.baselines, plan.samples(), plan.choosing_samples(), plan.normal_samples()
    )
    columns: dict[str, Any] = {}
    sides = {"before": (before, folder / "before"), "after": (after, folder)}
    predictions = {}
    for side, (node, parent) in sides.items():
        if node is not None:
            target = parent / plan.folder_name
            predictions[side] = predict(
                plan, node, target, title=f"{plan.split}, {side}" if before is not None else plan.split
            )
            known = trained if side == "after" else ""
            found = publish(plan, node, target, predictions[side], baselines, trained=known)
            drop_partial(target)
            columns[side if before is not None else "model"] = found["overall"]
    if len(predictions) == 2:
        columns["change"] = metrics.difference(
            predictions["before"],
            predictions["after"],
            boxes=plan.asks_boxes,
            truth=truth_of(plan.samples()),
            resamples=plan.resamples,
        )
    caption = "\n".join(filter(None, (tables.caption(found), trained)))
    text = [caption, tables.comparison(columns), tables.baselines(found["baselines"]), *notes]
    text += [tables.groups(name, found[name]) for name in (MIXED, "category", "bin") if len(found.get(name, {})) > 1]
    text += [tables.confusion(found["confusion"])] if "confusion" in found else []
    return "\n\n".join(text)


def _compare_on_mmad(plan: Plan, *, after: DictConfig, before: DictConfig | None, folder: Path, trained: str) -> str:
    """Let each side answer MMAD; nothing is scored beside the answers, and no detector without a model is compared."""
    plan = replace(plan, score=NoScore(), reward=None, calibrate=False)
    written = f"{plan.template.name}, {getattr(plan.template, 'reading', 'own')} reading"
    text = []
    for side, node, parent in (("before", before, folder / "before"), ("after", after, folder)):
        if node is None:
            continue
        about = results.About(
            key=key_of(plan, node),
            protocol=f"reasoning={plan.template.name}, answering={plan.answering}",
            read_by="letter probability" if plan.answering == "logits" else written,
            trained=trained if side == "after" else "",
        )
        title = f"{plan.split}, {side}" if before is not None else plan.split
        target = parent / plan.folder_name
        predictions = predict(plan, node, target, title=title, summary=results.SUMMARY)
        text += [f"# {side}"] if before is not None else []
        text.append(results.publish(target, predictions, about, resamples=plan.resamples))
        drop_partial(target)
    return "\n\n".join(text)


def predict(
    plan: Plan, node: DictConfig, folder: Path, *, title: str, summary: str = "metrics.json"
) -> list[Prediction]:
    """Predict with the checkpoint of a `model` node, or read what an equal evaluation left in `folder`.

    The file `summary` there has the key of a finished evaluation; call `drop_partial` when it is written.
    """
    key = key_of(plan, node)
    finished, known = folder / "predictions.jsonl", folder / summary
    if finished.is_file() and known.is_file() and json.loads(known.read_text()).get("key") == key:
        return prediction.read(finished)
    partial = runner.Partial(folder / PARTIAL, key)
    vlm = VLM.load(model_config(node), device="cuda" if torch.cuda.is_available() else "cpu", train=False)
    looked_at = [plan.template.ask(sample, vlm.frames) for sample in plan.samples()[: selfcheck.PROMPTS]]
    selfcheck.check_fast_path(vlm, looked_at, seed=0)
    evaluate = functools.partial(
        runner.evaluate,
        vlm,
        plan.template,
        score=plan.score,
        decoding=plan.decoding,
        answering=plan.answering,
        batch=plan.batch,
    )
    predictions = evaluate(
        plan.samples(), reward=plan.reward, types=plan.types, segmenter=plan.segmenter, partial=partial, title=title
    )
    known.unlink(missing_ok=True)  # it is of other predictions than those that are written now
    if plan.calibrate:
        chosen = evaluate(
            plan.choosing_samples(),
            partial=runner.Partial(folder / PARTIAL_THRESHOLD, key),
            title=f"{title}, threshold",
        )
        prediction.write(folder / "threshold.jsonl", chosen)
    true_masks.write(folder / true_masks.NAME, plan.samples())
    prediction.write(finished, predictions)
    return predictions


def drop_partial(folder: Path) -> None:
    """Drop what an evaluation kept to go on with; its predictions and its summary are written."""
    for name in (PARTIAL, PARTIAL_THRESHOLD):
        (folder / name).unlink(missing_ok=True)


def publish(
    plan: Plan,
    node: DictConfig,
    folder: Path,
    predictions: Sequence[Prediction],
    baselines: Mapping[str, Sequence[Prediction]],
    *,
    trained: str = "",
) -> dict[str, Any]:
    """Measure predictions and baselines, write `metrics.json` and return what it says.

    `trained` is what `training_label` says of the checkpoint and this data.
    """
    rows = dict(baselines)
    if plan.calibrate:
        chosen = prediction.read(folder / "threshold.jsonl")
        threshold = best_threshold([one.ranked_by for one in chosen], [one.anomalous for one in chosen])
        rows["score at val threshold"] = thresholded(predictions, threshold)
    measured = metrics.table(
        predictions, boxes=plan.asks_boxes, truth=truth_of(plan.samples()), resamples=plan.resamples
    )
    if "dataset" in measured:  # the attribute by which a mixture tells its data sets apart
        measured[MIXED] = measured.pop("dataset")
    found = {
        "dataset": plan.dataset.name,
        "synthetic": "synthetic" in plan.dataset.name,
        "split": plan.split,
        "score": plan.score.name,
        "trained": trained,
        "decoding": dict(plan.decoding.settings),
        "key": key_of(plan, node),
        **measured,
        "baselines": {
            name: metrics.table(row, boxes=False, resamples=plan.resamples)["overall"] for name, row in rows.items()
        },
    }
    write_whole(folder / "metrics.json", json.dumps(found, indent=2))
    return found
