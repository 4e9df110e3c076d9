"""A table of numbers as pages show it, and how an estimate is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

Estimate = Mapping[str, Any]
LOWER_IS_BETTER = frozenset({"overkill", "miss", "calibration_error", "brier", "unreadable", "parse_failure"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One number as shown; `text` is a dash, and `hint` says why, where it is not defined."""

    text: str
    interval: str = ""
    hint: str = ""
    direction: str = ""
    """`up` for a change for the better, `down` for the worse, empty where the interval of the change holds 0."""


MISSING = Cell(text="—")


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of cells under named columns."""

    title: str
    note: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Cell]]]
    verbatim: bool = False
    """Names of rows and columns are keys, whose underscores stay."""


def cell(estimate: Estimate, *, digits: int = 3) -> Cell:
    """Write an estimate with its interval.

    >>> cell({"value": 0.8125, "low": 0.75, "high": 0.9})
    Cell(text='0.812', interval='0.750–0.900', hint='', direction='')
    >>> cell({"value": None, "reason": "no normal sample"}).hint
    'no normal sample'
    """
    if estimate["value"] is None:
        return replace(MISSING, hint=estimate.get("reason", ""))
    interval = f"{estimate['low']:.{digits}f}–{estimate['high']:.{digits}f}" if "low" in estimate else ""
    return Cell(text=f"{estimate['value']:.{digits}f}", interval=interval)


def changed(metric: str, estimate: Estimate) -> Cell:
    """Write a difference, and whether it is surely for the better or the worse.

    >>> changed("miss", {"value": -0.1, "low": -0.2, "high": -0.05})
    Cell(text='-0.100', interval='-0.200 to -0.050', hint='', direction='up')
    """
    value = estimate["value"]
    if "low" not in estimate:
        return Cell(text=f"{value:+.3f}")
    low, high = estimate["low"], estimate["high"]
    better = (-value if metric in LOWER_IS_BETTER else value) > 0
    sure = low > 0 or high < 0
    return Cell(
        text=f"{value:+.3f}",
        interval=f"{low:+.3f} to {high:+.3f}",
        direction=("up" if better else "down") if sure else "",
    )
