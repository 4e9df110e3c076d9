"""What the terminal shows while a run trains."""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from typing import Any

from tqdm import tqdm

from adfm.types import StepRecord


class Progress:
    """A progress bar with the time left; where the output is not a terminal, a plain line every `every` steps."""

    def __init__(self, every: int = 10) -> None:
        self.every = every
        self._bar: tqdm[Any] | None = None
        self._steps = 0
        self._resumed_at = 0
        self._started = 0.0
        self._shown = False

    def before_run(self, run: Any) -> None:
        """Start the clock at the run's resume point; only rank 0 shows anything."""
        self._shown = run.is_main
        self._steps = run.steps
        self._resumed_at = run.step
        self._started = time.monotonic()
        if self._shown and sys.stderr.isatty():
            self._bar = tqdm(total=run.steps, initial=run.step, desc="train", unit="step", dynamic_ncols=True)

    def after_step(self, record: StepRecord) -> None:
        """Show the step, its mean reward and the time left; step 0 is the validation before training."""
        if record.step == 0:
            return
        if self._bar is not None:
            self._bar.set_postfix(reward=f"{record.metrics['reward/total_mean']:.3f}", refresh=False)
            self._bar.update(record.step - self._bar.n)
        elif self._shown and (record.step % self.every == 0 or record.step == self._steps):
            print(self._line(record), file=sys.stderr, flush=True)

    def after_run(self) -> None:
        """Leave the finished bar on its own line."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _line(self, record: StepRecord) -> str:
        per_step = (time.monotonic() - self._started) / (record.step - self._resumed_at)
        left = timedelta(seconds=round(per_step * (self._steps - record.step)))
        reward = record.metrics["reward/total_mean"]
        return f"step {record.step}/{self._steps}  reward {reward:.3f}  {per_step:.2f} s/step  {left} left"
