"""The folders of a run and of an evaluation as pages read them: whatever is there already."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from adfm.config.run_folder import RunFolder
from adfm.errors import DataError
from adfm.evaluation import prediction, true_masks
from adfm.evaluation.prediction import Prediction
from adfm.tracking import jsonl
from adfm.tracking.gallery import step_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """One data set's `eval/<dataset>` folder."""

    metrics: Mapping[str, Any]
    """Empty where the data set has tables of its own."""
    mmad: Mapping[str, Any]
    """Of `mmad.json`; empty for any other data set."""
    predictions: list[Prediction]
    masks: Mapping[str, Mapping[str, Any]]
    """The true masks that there are, by sample id, as COCO RLE."""

    @classmethod
    def read(cls, folder: Path) -> Evaluated:
        """Read the folder of a finished evaluation; DataError if one of its files cannot be read."""
        return cls(
            metrics=_json(folder / "metrics.json"),
            mmad=_json(folder / "mmad.json"),
            predictions=prediction.read(folder / "predictions.jsonl"),
            masks=true_masks.read(folder / true_masks.NAME),
        )


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
    events: list[dict[str, Any]]
    """The lines of `events.jsonl`: alarms that rang or recovered, the earliest first."""
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
        newest = max(run.samples.glob("step_*.jsonl"), key=step_of, default=None)
        return cls(
            path=run.path,
            config=config,
            environment=_json(run.path / "env.json"),
            completed_steps=run.completed_steps,
            records=_lines(run.metrics_path),
            events=_lines(run.path / "events.jsonl"),
            samples=jsonl.read(newest) if newest else [],
            before=evaluations(run.evaluation("before")),
            after=evaluations(run.path / "eval"),
        )


def evaluations(folder: Path) -> dict[str, Evaluated]:
    """Read every finished evaluation below a folder, by the name of its data set."""
    finished = sorted({path.parent for name in ("metrics.json", "mmad.json") for path in folder.glob(f"*/{name}")})
    return {path.name: Evaluated.read(path) for path in finished}


def _lines(path: Path) -> list[dict[str, Any]]:
    return jsonl.read(path) if path.is_file() else []


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: is no JSON ({error}); evaluate again, or remove it") from error
