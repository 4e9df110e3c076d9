"""MMAD's tables of an evaluation, in the place of the ordinary ones; see `comparison.Tables` and `results`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from adfm.evaluation.mmad import results
from adfm.evaluation.plan import Plan
from adfm.evaluation.prediction import Prediction
from adfm.evaluation.score import NoScore


class Answered:
    """The answers to MMAD's questions of a plan.

    Nothing is scored or rewarded beside the answers, and no detector without a model is compared.
    """

    summary = results.SUMMARY

    def __init__(self, plan: Plan) -> None:
        """Take the part of a plan that asks MMAD."""
        self.plan = replace(plan, score=NoScore(), reward=None, calibrate=False)
        self._texts: dict[str, str] = {}

    def publish(self, side: str, folder: Path, predictions: list[Prediction], *, key: str, trained: str) -> None:
        """Score the answers and write `answers.json` and `mmad.json`."""
        template, answering = self.plan.template, self.plan.answering
        written = f"{template.name}, {getattr(template, 'reading', 'own')} reading"
        about = results.About(
            key=key,
            protocol=f"reasoning={template.name}, answering={answering}",
            read_by="letter probability" if answering == "logits" else written,
            trained=trained,
        )
        self._texts[side] = results.publish(folder, predictions, about, resamples=self.plan.resamples)

    def text(self) -> str:
        """Show the tables of each side, under its name where there are two."""
        if len(self._texts) == 1:
            return self._texts["after"]
        return "\n\n".join(f"# {side}\n\n{text}" for side, text in self._texts.items())
