"""A checkpoint on a data set: predictions and tables into one folder, and one checkpoint beside another.

    eval/<dataset>/           metrics.json   predictions.jsonl     of what is evaluated
    eval/before/<dataset>/    metrics.json   predictions.jsonl     of the checkpoint that the run started from

MMAD has tables of its own, `mmad.json` and `answers.json` in the place of `metrics.json`: see `mmad.results`. A data
set that mixes MMAD with others has both, MMAD's in `eval/<dataset>-mmad/`: see `Plan.parts`.
An evaluation that is there already is not made again, one that was interrupted goes on, whenever that was: both are
known by a key of the weights, the prompts, the data, the decoding and the score.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from omegaconf import DictConfig

from adfm.data.leaks import guard_evaluation, training_label
from adfm.evaluation import prediction, runner, true_masks
from adfm.evaluation.measured import Measured
from adfm.evaluation.mmad.answered import Answered
from adfm.evaluation.plan import Plan, key_of, model_config
from adfm.evaluation.prediction import Prediction
from adfm.evaluation.training import trained_on, training_of
from adfm.grpo import selfcheck
from adfm.models.vlm import VLM
from adfm.team import Team

PARTIAL, PARTIAL_THRESHOLD = "predictions.partial", "threshold.partial"
"""What an evaluation under way has of its samples, and of those that a threshold is chosen on."""


@runtime_checkable
class Tables(Protocol):
    """The tables of one part of a plan, for each side of a comparison: `after`, and `before` where there is one."""

    plan: Plan
    """Of the part, with what of it counts for these tables."""
    summary: str
    """The file that has the key of a finished evaluation."""

    def publish(self, side: str, folder: Path, predictions: list[Prediction], *, key: str, trained: str) -> None:
        """Measure the predictions of a side and write what was found into `folder`, the summary last.

        `trained` is what `training_label` says of the checkpoint and these samples.
        """
        ...

    def text(self) -> str:
        """Show what was published."""
        ...


def compare(plan: Plan, *, after: DictConfig, before: DictConfig | None, folder: Path, leaks: str = "off") -> str:
    """Evaluate a checkpoint into `folder/<dataset>`, one into `folder/before/<dataset>`; return the tables.

    `after` and `before` are `model` config nodes; `leaks` says what becomes of evaluated images that `after` was
    trained on, as far as that is known: `error`, `warn` or `off`.

    Raises:
        DataError: There are such images and `leaks` is `error`, or the part has no sample.
    """
    parts: list[Tables] = [Answered(part) if part.asks_mmad else Measured(part) for part in plan.parts()]
    training = training_of(after.path)
    leaked = [
        guard_evaluation(plan.dataset, plan.split, part.plan.samples(), training=training, mode=leaks) for part in parts
    ]
    for side, node in {"before": before, "after": after}.items():
        if node is None:
            continue
        names = trained_on(node.path)
        with Team(plan.nproc, functools.partial(_load, node)) as team:
            for part, found in zip(parts, leaked, strict=True):
                target = (folder / "before" if side == "before" else folder) / part.plan.folder_name
                title = part.plan.split if before is None else f"{part.plan.split}, {side}"
                key = key_of(part.plan, node)
                predictions = predict(part, target, key=key, team=team, title=title)
                trained = training_label(names, part.plan.data_sets, found if side == "after" else None)
                part.publish(side, target, predictions, key=key, trained=trained)
                drop_partial(target)
    return "\n\n".join(part.text() for part in parts)


def predict(part: Tables, folder: Path, *, key: str, team: Team[VLM], title: str) -> list[Prediction]:
    """Predict with the checkpoint that the team loads, or read what an evaluation of the same key left in `folder`.

    Call `drop_partial` when the summary is written.
    """
    plan = part.plan
    finished, known = folder / "predictions.jsonl", folder / part.summary
    if finished.is_file() and known.is_file() and json.loads(known.read_text()).get("key") == key:
        return prediction.read(finished)
    partial = runner.Partial(folder / PARTIAL, key)
    vlm = team.state
    samples = plan.samples()
    looked_at = [plan.template.ask(sample, vlm.frames) for sample in samples[: selfcheck.PROMPTS]]
    selfcheck.check_fast_path(vlm, looked_at, seed=0)
    evaluate = functools.partial(
        runner.evaluate,
        vlm,
        plan.template,
        score=plan.score,
        decoding=plan.decoding,
        answering=plan.answering,
        batch=plan.batch,
        team=team,
    )
    predictions = evaluate(
        samples, reward=plan.reward, types=plan.types, segmenter=plan.segmenter, partial=partial, title=title
    )
    known.unlink(missing_ok=True)  # it is of other predictions than those that are written now
    if plan.calibrate:
        chosen = evaluate(
            plan.choosing_samples(),
            partial=runner.Partial(folder / PARTIAL_THRESHOLD, key),
            title=f"{title}, threshold",
        )
        prediction.write(folder / "threshold.jsonl", chosen)
    true_masks.write(folder / true_masks.NAME, samples)
    prediction.write(finished, predictions)
    return predictions


def drop_partial(folder: Path) -> None:
    """Drop what an evaluation kept to go on with; its predictions and its summary are written."""
    for name in (PARTIAL, PARTIAL_THRESHOLD):
        (folder / name).unlink(missing_ok=True)


def _load(node: DictConfig) -> VLM:
    return VLM.load(model_config(node), device="cuda" if torch.cuda.is_available() else "cpu", train=False)
