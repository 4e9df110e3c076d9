"""A run folder as the page reads it: whatever is there already, of a run that may still be going."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from adfm.config.run_folder import RunFolder
from adfm.evaluation import prediction
from adfm.evaluation.prediction import Prediction
from adfm.tracking import jsonl
from adfm.tracking.gallery import step_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """One data set's `eval/<dataset>` folder."""

    metrics: Mapping[str, Any]
    predictions: list[Prediction]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFiles:
    """Everything the page shows; parts that a run has not written yet are empty."""

    path: Path
    config: dict[str, Any]
    environment: dict[str, Any]
    completed_steps: int
    """How many steps the run had when it last finished; 0 if it never did."""
    records: list[dict[str, Any]]
    """The lines of `metrics.jsonl`."""
    samples: list[dict[str, Any]]
    """The lines of the newest sample file."""
    before: dict[str, Evaluated]
    after: dict[str, Evaluated]

    @classmethod
    def read(cls, folder: Path) -> RunFiles:
        """Read a run folder.

        Raises:
            ConfigError: there is no `config.yaml`, so this is no run folder.
            DataError: a file in it cannot be read.
        """
        run = RunFolder(folder.resolve())
        config: Any = OmegaConf.to_container(run.config, resolve=True)
        environment = run.path / "env.json"
        newest = max(run.samples.glob("step_*.jsonl"), key=step_of, default=None)
        return cls(
            path=run.path,
            config=config,
            environment=json.loads(environment.read_text(encoding="utf-8")) if environment.is_file() else {},
            completed_steps=run.completed_steps,
            records=jsonl.read(run.metrics_path) if run.metrics_path.is_file() else [],
            samples=jsonl.read(newest) if newest else [],
            before=_evaluations(run.evaluation("before")),
            after=_evaluations(run.path / "eval"),
        )


def _evaluations(folder: Path) -> dict[str, Evaluated]:
    return {
        path.parent.name: Evaluated(
            metrics=json.loads(path.read_text(encoding="utf-8")),
            predictions=prediction.read(path.with_name("predictions.jsonl")),
        )
        for path in sorted(folder.glob("*/metrics.json"))
    }
