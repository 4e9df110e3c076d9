"""Alarms on collapse: what was seen, since which step and what to try; one rings once, until it recovers."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from adfm.tracking import jsonl
from adfm.tracking.watch import Event, watches
from adfm.types import StepRecord

Listener = Callable[[Event], None]
"""What is told of every event, such as W&B."""


class Alarms:
    """`events.jsonl`: one line when an alarm rings and one when it recovers; the same on the terminal.

    A resumed run takes up what its earlier steps left behind, and does not announce again what it had announced.
    Bounds that are null switch their alarm off.
    """

    def __init__(
        self,
        without_spread: float | None = 1.0,
        entropy: float | None = 0.05,
        parse_rise: float | None = 0.2,
        steps: int = 5,
        metric: str = "balanced_accuracy",
        fall: float | None = 0.05,
        looks: int = 2,
        listeners: Mapping[str, Listener] | None = None,
    ) -> None:
        """Ring after `steps` bad training steps in a row, or `looks` bad looks at the validation part in a row.

        A step is bad if the share of groups without spread is at least `without_spread`, the entropy (nats a token) is
        below `entropy`, or the share of completions with some parse failure is `parse_rise` above its lowest so far; a
        look is bad if `metric` is worse than its best so far by `fall` or more.

        Raises:
            ConfigError: there is no such metric.
        """
        self.listeners = dict(listeners or {})
        self._watches = watches(without_spread, entropy, parse_rise, steps, metric=metric, fall=fall, looks=looks)
        self._path: Path | None = None
        self._announced: set[tuple[str, str]] = set()

    def before_run(self, run: Any) -> None:
        """Take up the watch at the run's resume point; only rank 0 writes and announces."""
        if not run.is_main:
            return
        path: Path = run.folder.path / "events.jsonl"
        told = jsonl.read(path) if path.exists() else []
        self._announced = {(one["alarm"], one["state"]) for one in told if one["step"] > run.step}
        jsonl.cut(path, run.step)
        self._path = path
        self._catch_up(run, [one for one in told if one["step"] <= run.step])

    def _catch_up(self, run: Any, told: list[dict[str, Any]]) -> None:
        """Show the steps that the run has behind it to every watch; what rings is what the file says."""
        steps = jsonl.read(run.folder.metrics_path) if run.step and run.folder.metrics_path.exists() else []
        for record in steps:
            if record["step"] <= run.step:
                self._look(record["step"], record)
        ringing = {one["alarm"]: one["state"] == "ringing" for one in told}
        for watch in self._watches:
            watch.ringing = ringing.get(watch.name, False)

    def after_step(self, record: StepRecord) -> None:
        """Write and announce what the step's metrics changed."""
        if self._path is None:
            return
        for event in self._look(record.step, record.metrics):
            with self._path.open("a", encoding="utf-8") as file:
                file.write(jsonl.line({"time": round(time.time(), 3), **event.fields()}))
            if (event.alarm, event.state) in self._announced:
                self._announced.remove((event.alarm, event.state))
            else:
                self._announce(event)

    def after_run(self) -> None:
        """Do nothing: the file is already whole."""

    def _look(self, step: int, metrics: Mapping[str, Any]) -> list[Event]:
        return [event for watch in self._watches if (event := watch.look(step, metrics)) is not None]

    def _announce(self, event: Event) -> None:
        print(event.line(), file=sys.stderr, flush=True)
        for listener in self.listeners.values():
            listener(event)
