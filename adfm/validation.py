"""Looks at the validation part while a run trains, and the export of the checkpoint that did best there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from adfm.config.schema import METRICS
from adfm.errors import ConfigError
from adfm.evaluation import metrics, runner
from adfm.evaluation.score import Score
from adfm.grpo.engine import Engine
from adfm.models.card import Card
from adfm.models.vlm import VLM
from adfm.types import Reward, Sample, Template


class Validation:
    """Greedy verdicts on the same validation samples every `every` steps, shared out over the ranks.

    They are those of the mean of the weights where the engine keeps one; see `Engine.averaged`.
    """

    def __init__(
        self,
        vlm: VLM,
        template: Template,
        reward: Reward,
        score: Score,
        samples: Sequence[Sample],
        engine: Engine,
        *,
        every: int,
        steps: int,
        metric: str,
        best: Path,
        card: Card | None = None,
    ) -> None:
        """Look at `samples` every `every` steps and at the last.

        When `metric` beats all before, the weights are exported to `best`, with the `card` beside them.
        """
        self.vlm = vlm
        self.template = template
        self.reward = reward
        self.score = score
        self.samples = samples
        self.engine = engine
        self.every = every
        self.steps = steps
        self.metric = metric
        self.sign = METRICS[metric]
        self.best = best
        self.card = card
        self.best_metrics: dict[str, float] = {}
        """Of the look that was best; empty before the first."""

    def __call__(self, step: int) -> Mapping[str, float]:
        """Return the metrics as `val/<name>`; nothing where it is not time to look."""
        if step % self.every and step != self.steps:
            return {}
        with self.engine.averaged():
            mine = runner.evaluate(
                self.vlm,
                self.template,
                self.samples[self.engine.rank :: self.engine.world_size],
                score=self.score,
                reward=self.reward,
                title="",
            )
            predictions = [one for part in self.engine.gather(mine) for one in part]
            found = metrics.summary(predictions, boxes="boxes" in self.template.provides)
            if self._improves(found) and self.engine.rank == 0:
                self.vlm.save(self.best, card=self.card)
        return {f"val/{name}": value for name, value in found.items()}

    def _improves(self, found: dict[str, float]) -> bool:
        if self.metric not in found:
            raise ConfigError(
                f"evaluate.metric={self.metric} is not defined on the validation samples; use one of {', '.join(found)}"
            )
        if self.best_metrics and self.sign * found[self.metric] <= self.sign * self.best_metrics[self.metric]:
            return False
        self.best_metrics = found
        return True

    def state(self) -> dict[str, Any]:
        """Return what a resumed run must know."""
        return {"best_metrics": self.best_metrics}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` returned."""
        self.best_metrics = state["best_metrics"]
