"""What the terminal shows while a run trains."""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from typing import Any

from rich.console import Console

from adfm.tracking.live import LiveTable
from adfm.types import StepRecord


class Progress:
    """A live table of the newest steps; where the output is not a terminal, a plain line every `every` steps.

    A line has the mean reward, and the validation metric that chooses the best checkpoint whenever it is measured.
    """

    def __init__(self, every: int = 10) -> None:
        self.every = every
        self._table: LiveTable | None = None
        self._run: Any = None
        self._started = 0.0

    def before_run(self, run: Any) -> None:
        """Start the clock at the run's resume point; only rank 0 shows anything."""
        if not run.is_main:
            return
        self._run = run
        self._started = time.monotonic()
        if sys.stderr.isatty() and not Console(stderr=True).is_dumb_terminal:
            self._table = LiveTable(
                title=run.folder.path.name,
                steps=run.steps,
                chosen_by=run.config["evaluate"]["metric"],
                pace=self._pace,
                done=run.step,
            )

    def after_step(self, record: StepRecord) -> None:
        """Show the step."""
        if self._run is None:
            return
        if self._table is not None:
            self._table.after_step(record)
            return
        validation = self._validation(record)
        if validation or record.step % self.every == 0 or record.step == self._run.steps:
            parts = [f"step {record.step}/{self._run.steps}", _reward(record), validation, self._pace(record.step)]
            print("  ".join(part for part in parts if part), file=sys.stderr, flush=True)

    def after_run(self) -> None:
        """Leave the finished table where it is."""
        if self._table is not None:
            self._table.stop()
            self._table = None

    def _validation(self, record: StepRecord) -> str:
        metric = self._run.config["evaluate"]["metric"]
        value = record.metrics.get(f"val/{metric}")
        return "" if value is None else f"val {metric} {value:.3f}"

    def _pace(self, step: int) -> str:
        """Say how long a step takes and how long the rest will; nothing before the first step."""
        made = step - self._run.step
        if made == 0:
            return ""
        per_step = (time.monotonic() - self._started) / made
        left = timedelta(seconds=round(per_step * (self._run.steps - step)))
        return f"{per_step:.2f} s/step  {left} left"


def _reward(record: StepRecord) -> str:
    value = record.metrics.get("reward/total_mean")
    return "" if value is None else f"reward {value:.3f}"
