"""Lines of JSON: how a run's numbers are kept, and how they are read again while the run still writes them."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from adfm.errors import DataError
from adfm.types import StepRecord


def read(path: Path) -> list[dict[str, Any]]:
    """Read a file of JSON lines; a last line that was not finished (a killed run, a run that is writing) is left out.

    Raises:
        DataError: another line is not a JSON object; the message gives file and line.
    """
    *lines, _unfinished = path.read_text(encoding="utf-8").split("\n")
    records: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}:{number} is not a line of JSON ({error}); remove the line or the file") from error
        if not isinstance(record, dict):
            raise DataError(f"{path}:{number} is not a JSON object; remove the line or the file")
        records.append(record)
    return records


def line(record: Mapping[str, Any]) -> str:
    r"""Write a record as one line with its newline; numbers that JSON cannot say (NaN, infinity) become null.

    >>> line({"step": 1, "kl": float("nan")})
    '{"step": 1, "kl": null}\n'
    """
    return json.dumps(_sayable(record), ensure_ascii=False, allow_nan=False) + "\n"


def _sayable(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _sayable(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_sayable(inner) for inner in value]
    return value


class JsonLines:
    """`metrics.jsonl`: one line a step with `step`, `time` (Unix seconds) and every metric, readable at any moment.

    A resumed run goes on after its checkpoint: lines of later steps, which it makes again, are cut off first.
    """

    def __init__(self) -> None:
        self._file: IO[str] | None = None

    def before_run(self, run: Any) -> None:
        """Cut the file to the steps that `run` has behind it and open it; only rank 0 writes."""
        if not run.is_main:
            return
        path: Path = run.folder.metrics_path
        cut(path, run.step)
        self._file = path.open("a", encoding="utf-8")

    def after_step(self, record: StepRecord) -> None:
        """Append the step's line and flush it."""
        if self._file is None:
            return
        metrics = {name: float(value) for name, value in record.metrics.items()}
        self._file.write(line({"step": record.step, "time": round(time.time(), 3), **metrics}))
        self._file.flush()

    def after_run(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def cut(path: Path, step: int) -> None:
    """Keep the finished lines of steps up to `step` (of a run that starts, none); the file is replaced in one move."""
    if not path.exists():
        return
    kept = [record for record in read(path) if record["step"] <= step] if step else []
    shorter = path.with_suffix(".cut")
    shorter.write_text("".join(line(record) for record in kept), encoding="utf-8")
    shorter.replace(path)
