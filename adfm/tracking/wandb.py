"""Weights & Biases: curves, tables of completions with boxes and masks, alerts; offline unless asked otherwise."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from adfm.config.schema import METRICS
from adfm.errors import ConfigError
from adfm.tracking.gallery import rows
from adfm.tracking.watch import Event
from adfm.types import Box, Group, Sample, StepRecord


class WandB:
    """Log to W&B under the run's own id, so that a resumed run goes on in the same curves.

    Offline (the default) needs neither account nor network and keeps everything in the run folder's `wandb/`;
    `wandb sync <run folder>/wandb/offline-run-*` uploads it later. Runs of a study form a W&B group.

    Tables of one key replace each other in the workspace, which shows the summary's, so every step's table has a key
    of its own, `completions/step_000020`. The summary has the best and the last of each validation metric and of the
    reward.
    """

    def __init__(
        self,
        project: str = "adfm",
        mode: Literal["offline", "online"] = "offline",
        entity: str | None = None,
        table_every: int = 20,
        groups: int = 4,
    ) -> None:
        """Log the completions of a step's first `groups` prompts every `table_every` steps."""
        self.project = project
        self.mode: Literal["offline", "online"] = mode
        self.entity = entity
        self.table_every = table_every
        self.groups = groups
        self._run: Any = None

    def before_run(self, run: Any) -> None:
        """Open the W&B run; only rank 0 logs.

        Raises:
            ConfigError: W&B could not start: not logged in, no network, no right to the project.
        """
        if not run.is_main:
            return
        import wandb

        os.environ.setdefault("WANDB_DATA_DIR", str(run.folder.path / "wandb"))  # pictures of tables, before upload
        try:
            self._run = wandb.init(
                project=self.project,
                entity=self.entity,
                id=run.id,
                name=run.folder.path.name,
                group=run.study,
                dir=run.folder.path,
                config=dict(run.config),
                resume="allow",
                mode=self.mode,
                settings=wandb.Settings(console="off", silent=self.mode == "offline"),
            )
        except wandb.Error as error:
            raise ConfigError(
                f"logger.wandb: W&B did not start ({error}). Log in by `wandb login`, or keep the run on this machine: "
                "logger.wandb.mode=offline"
            ) from error
        for name, sign in METRICS.items():
            self._run.define_metric(f"val/{name}", summary="max,last" if sign > 0 else "min,last")
        self._run.define_metric("reward/total_mean", summary="max,last")

    def after_step(self, record: StepRecord) -> None:
        """Log the step's metrics, and its table of completions when it is due."""
        if self._run is None:
            return
        logged: dict[str, Any] = dict(record.metrics)
        if record.groups and (record.step == 1 or record.step % self.table_every == 0):
            logged[f"completions/step_{record.step:06d}"] = table(record.step, record.groups[: self.groups])
        self._run.log(logged, step=record.step)

    def after_run(self) -> None:
        """Close the W&B run, waiting for what is still to be written or uploaded."""
        if self._run is not None:
            self._run.finish()
            self._run = None


class Alert:
    """A listener of `adfm.tracking.alarms.Alarms`: every event becomes an alert of the run that `WandB` opened."""

    def __call__(self, event: Event) -> None:
        """Send the alert, or leave it in the files of an offline run, whose sync sends it."""
        import wandb

        if wandb.run is None:
            return
        level = "WARN" if event.state == "ringing" else "INFO"
        wandb.run.alert(title=f"{event.alarm} {event.state}", text=event.line(), level=level)


def table(step: int, groups: Sequence[Group]) -> Any:
    """Make a `wandb.Table` with one row a completion; its image carries true and predicted boxes and the true mask."""
    import wandb

    terms = sorted({name for group in groups for name in group.rewards.terms})
    columns: list[Any] = ["step", "prompt", "image", "label", "verdict", *terms, "total"]
    made = wandb.Table(columns=[*columns, "completion", "truncated", "reasons"])
    for group in groups:
        masks = _masks(group.prompt.sample)
        for row in rows(step, group):
            made.add_data(*_cells(row, terms, masks))
    return made


def _masks(sample: Sample) -> dict[str, Any] | None:
    """Say the true mask as W&B wants it; None for a sample that has none, or an empty one."""
    pixels = None if sample.mask is None else sample.mask.read(sample.size)
    if pixels is None or not pixels.any():
        return None
    return {"true": {"mask_data": pixels.astype(np.uint8), "class_labels": {1: sample.defect_type or "defect"}}}


def _cells(row: dict[str, Any], terms: list[str], masks: dict[str, Any] | None) -> list[Any]:
    import wandb

    boxes = {"true": _overlay(row["true_boxes"], "true"), "predicted": _overlay(row["boxes"], "predicted")}
    return [
        row["step"],
        row["prompt"],
        wandb.Image(row["image"], boxes=boxes, masks=masks),
        _label(row["anomalous"]),
        _label(row["verdict"]),
        *(row["rewards"].get(name) for name in terms),
        row["total"],
        row["completion"],
        row["truncated"],
        " ".join(row["reasons"]),
    ]


def _label(anomalous: bool | None) -> str:
    return {True: "anomalous", False: "normal", None: "unread"}[anomalous]


def _overlay(boxes: tuple[Box, ...], name: str) -> dict[str, Any]:
    """Say boxes as W&B wants them, in pixels of the original image."""
    return {
        "box_data": [
            {
                "position": {"minX": x0, "minY": y0, "maxX": x1, "maxY": y1},
                "domain": "pixel",
                "class_id": 0,
                "box_caption": name,
            }
            for x0, y0, x1, y1 in boxes
        ],
        "class_labels": {0: name},
    }
