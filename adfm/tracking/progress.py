"""What the terminal shows while a run trains."""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from typing import Any

from tqdm import tqdm

from adfm.types import StepRecord


class Progress:
    """A progress bar with the time left; where the output is not a terminal, a plain line every `every` steps.

    It shows the mean reward, and the validation metric that chooses the best checkpoint whenever it is measured.
    """

    def __init__(self, every: int = 10) -> None:
        self.every = every
        self._bar: tqdm[Any] | None = None
        self._run: Any = None
        self._started = 0.0

    def before_run(self, run: Any) -> None:
        """Start the clock at the run's resume point; only rank 0 shows anything."""
        if not run.is_main:
            return
        self._run = run
        self._started = time.monotonic()
        if sys.stderr.isatty():
            self._bar = tqdm(total=run.steps, initial=run.step, desc="train", unit="step", dynamic_ncols=True)

    def after_step(self, record: StepRecord) -> None:
        """Show the step, its mean reward and the time left."""
        if self._run is None:
            return
        validation = self._validation(record)
        if self._bar is not None:
            if validation:
                self._bar.write(f"step {record.step}: {validation}", file=sys.stderr)
            self._bar.set_postfix_str(_reward(record), refresh=False)
            self._bar.update(record.step - self._bar.n)
        elif validation or record.step % self.every == 0 or record.step == self._run.steps:
            parts = [f"step {record.step}/{self._run.steps}", _reward(record), validation, self._pace(record)]
            print("  ".join(part for part in parts if part), file=sys.stderr, flush=True)

    def after_run(self) -> None:
        """Leave the finished bar on its own line."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _validation(self, record: StepRecord) -> str:
        metric = self._run.config["evaluate"]["metric"]
        value = record.metrics.get(f"val/{metric}")
        return "" if value is None else f"val {metric} {value:.3f}"

    def _pace(self, record: StepRecord) -> str:
        """Say how long a step takes and how long the rest will; nothing before the first step."""
        made = record.step - self._run.step
        if made == 0:
            return ""
        per_step = (time.monotonic() - self._started) / made
        left = timedelta(seconds=round(per_step * (self._run.steps - record.step)))
        return f"{per_step:.2f} s/step  {left} left"


def _reward(record: StepRecord) -> str:
    value = record.metrics.get("reward/total_mean")
    return "" if value is None else f"reward {value:.3f}"
