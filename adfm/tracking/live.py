"""What a terminal shows while a run trains: a table of its newest steps that is redrawn in place."""

from __future__ import annotations

import atexit
import sys
from collections import deque
from collections.abc import Callable, Mapping

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from adfm.types import StepRecord

STEPS = 8
"""Newest steps in the table."""
DETECTION = "val/balanced_accuracy"


class LiveTable:
    """One row a step: total reward and its terms, the last validation's numbers, tokens a second; below, the time left.

    Numbers of the validation part are bright in the step that measured them, and dim until the next look.
    """

    def __init__(self, *, title: str, steps: int, chosen_by: str, pace: Callable[[int], str], done: int) -> None:
        """Begin to draw on stderr.

        Args:
            title: Of the table.
            steps: Of the whole run.
            chosen_by: The validation metric that chooses the best checkpoint, shown beside the balanced accuracy.
            pace: Says for a step how long one takes and how long the rest will.
            done: Steps that the run has behind it.
        """
        self.title = title
        self.steps = steps
        self.validation = tuple(dict.fromkeys((DETECTION, f"val/{chosen_by}")))
        self.pace = pace
        self._step = done
        self._rows: deque[tuple[int, dict[str, float], bool]] = deque(maxlen=STEPS)
        self._looked: dict[str, float] = {}
        self._live = Live(self, console=Console(stderr=True), refresh_per_second=1, redirect_stdout=sys.stdout.isatty())
        self._live.start()
        atexit.register(self.stop)  # a run that is interrupted gives the cursor back

    def after_step(self, record: StepRecord) -> None:
        """Add the step."""
        looked = {name: record.metrics[name] for name in self.validation if name in record.metrics}
        self._looked |= looked
        self._rows.append((record.step, {**record.metrics, **self._looked}, bool(looked)))
        self._step = record.step

    def stop(self) -> None:
        """Leave the table as it is and give the terminal back; a second call does nothing."""
        self._live.stop()
        atexit.unregister(self.stop)

    def __rich__(self) -> Group:
        """Draw table and progress."""
        rows = list(self._rows)
        columns = columns_of([metrics for _, metrics, _ in rows], self.validation)
        table = Table(title=self.title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("step", justify="right", no_wrap=True)
        for title in columns.values():
            table.add_column(title, justify="right", overflow="fold")
        for step, metrics, looked in rows:
            cells = [
                Text(number(name, metrics.get(name)), style="" if looked or name not in self.validation else "dim")
                for name in columns
            ]
            table.add_row(str(step), *cells)
        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            f"step {self._step}/{self.steps}",
            ProgressBar(total=self.steps, completed=self._step, width=24),
            self.pace(self._step),
        )
        return Group(table, bar) if rows else Group(bar)


def columns_of(shown: list[dict[str, float]], validation: tuple[str, ...]) -> Mapping[str, str]:
    """Name the columns of what was logged: metric to title; the total reward first, then its terms.

    >>> columns_of([{"reward/format_mean": 1.0, "reward/total_mean": 1.1, "entropy": 0.3, "val/auroc": 0.9}], ())
    {'reward/total_mean': 'reward', 'reward/format_mean': 'format'}
    """
    logged = {name for metrics in shown for name in metrics}
    rewards = sorted(name for name in logged if name.startswith("reward/") and name.endswith("_mean"))
    terms = {name: name.removeprefix("reward/").removesuffix("_mean") for name in rewards}
    total = {name: "reward" for name in terms if name == "reward/total_mean"}
    looks = {name: name.replace("/", " ").replace("_", " ") for name in validation if name in logged}
    pace = {"tokens_per_second": "tokens/s"} if "tokens_per_second" in logged else {}
    return total | {name: title for name, title in terms.items() if name not in total} | looks | pace


def number(name: str, value: float | None) -> str:
    """Write a cell; empty where the step did not measure it."""
    if value is None:
        return ""
    return f"{value:,.0f}" if name == "tokens_per_second" else f"{value:.3f}"
