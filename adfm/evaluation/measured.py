"""The ordinary tables of an evaluation: detection, boxes, masks and texts, and detectors without a model beside them.

predictions.jsonl   metrics.json (metrics with intervals, by category and attribute; baselines)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adfm.evaluation import metrics, prediction, tables
from adfm.evaluation.baselines import baseline_predictions, best_threshold, thresholded
from adfm.evaluation.estimates import Estimate
from adfm.evaluation.plan import Plan
from adfm.evaluation.prediction import Prediction
from adfm.evaluation.truth import truth_of
from adfm.files import write_whole

MIXED = "data set"
"""The group of a table that has a row for each data set of a mixture."""


class Measured:
    """The ordinary tables of a part of a plan; see `comparison.Tables`."""

    summary = "metrics.json"

    def __init__(self, plan: Plan) -> None:
        """Take the part; nothing is read before it is needed."""
        self.plan = plan
        self.notes: list[str] = []
        self._truth = truth_of(plan.samples())
        self._baselines: Mapping[str, Mapping[str, Estimate]] | None = None
        self._predictions: dict[str, list[Prediction]] = {}
        self._found: dict[str, dict[str, Any]] = {}

    def publish(self, side: str, folder: Path, predictions: list[Prediction], *, key: str, trained: str) -> None:
        """Measure predictions and baselines and write `metrics.json`."""
        plan = self.plan
        measured = metrics.table(predictions, boxes=plan.asks_boxes, truth=self._truth, resamples=plan.resamples)
        if "dataset" in measured:  # the attribute by which a mixture tells its data sets apart
            measured[MIXED] = measured.pop("dataset")
        found = {
            "dataset": plan.dataset.name,
            "synthetic": "synthetic" in plan.dataset.name,
            "split": plan.split,
            "score": plan.score.name,
            "trained": trained,
            "decoding": dict(plan.decoding.settings),
            "key": key,
            **measured,
            "resamples": plan.resamples,
            "baselines": {**self._measured_baselines(folder), **self._at_threshold(folder, predictions)},
        }
        write_whole(folder / self.summary, json.dumps(found, indent=2))
        self._predictions[side], self._found[side] = predictions, found

    def text(self) -> str:
        """Show the sides beside each other, then the baselines and the groups of `after`."""
        found = self._found["after"]
        columns = {side: one["overall"] for side, one in self._found.items()}
        if len(columns) == 1:
            columns = {"model": found["overall"]}
        else:
            columns["change"] = metrics.difference(
                self._predictions["before"],
                self._predictions["after"],
                boxes=self.plan.asks_boxes,
                truth=self._truth,
                resamples=self.plan.resamples,
            )
        caption = f"{tables.caption(found)}\n{found['trained']}"
        text = [caption, tables.comparison(columns), tables.baselines(found["baselines"]), *self.notes]
        text += [
            tables.groups(name, found[name]) for name in (MIXED, "category", "bin") if len(found.get(name, {})) > 1
        ]
        text += [tables.confusion(found["confusion"])] if "confusion" in found else []
        return "\n\n".join(text)

    def _measured_baselines(self, folder: Path) -> Mapping[str, Mapping[str, Estimate]]:
        """Measure the detectors without a model, once for all sides; what an equal evaluation has measured is taken."""
        if self._baselines is None:
            plan, known = self.plan, folder / self.summary  # if it is there, it has the same key
            written = json.loads(known.read_text(encoding="utf-8")) if known.is_file() else {}
            kept = written["baselines"] if written.get("resamples") == plan.resamples else {}
            missing = [name for name in plan.baselines if name not in kept]
            rows, self.notes = baseline_predictions(
                missing, plan.samples(), plan.choosing_samples(), plan.normal_samples()
            )
            measured = {**kept, **{name: self._overall(row) for name, row in rows.items()}}
            self._baselines = {name: measured[name] for name in plan.baselines if name in measured}
        return self._baselines

    def _at_threshold(self, folder: Path, predictions: list[Prediction]) -> dict[str, Mapping[str, Estimate]]:
        """Measure what the score alone decides, where a threshold was chosen for it."""
        if not self.plan.calibrate:
            return {}
        chosen = prediction.read(folder / "threshold.jsonl")
        threshold = best_threshold([one.ranked_by for one in chosen], [one.anomalous for one in chosen])
        return {"score at val threshold": self._overall(thresholded(predictions, threshold))}

    def _overall(self, predictions: list[Prediction]) -> Mapping[str, Estimate]:
        return metrics.table(predictions, boxes=False, resamples=self.plan.resamples)["overall"]
