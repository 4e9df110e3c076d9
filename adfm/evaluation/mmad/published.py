"""Rows that others have published for MMAD, each with its protocol and whether the method trained on MMAD's images.

The shipped table, `published.csv`, holds figures only. `jam-cc/MMAD` is that repository's README and `all_result`, as
the mean over the four data sets, by the official scoring. `papers of the methods` are figures gathered from the papers
and READMEs of Anomaly-LR, SiGMA, HyCo-IAD, JUDO, EMIT, AD-Copilot and Pixel-Reasoner; other sources name where another
method's figure is printed. How papers score and what they train on differ, so rows compare only roughly: averages of
one base model differ by 6 points. They are as printed; that of OmniAD 3B is not the mean of its columns (77.81).
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path

from adfm.errors import DataError
from adfm.evaluation.mmad.answers import TYPES

COLUMNS = (*TYPES, "Average", "Overkill", "Miss")
SHIPPED = Path(__file__).with_name("published.csv")
UNKNOWN = "not said"

_NAME = re.compile(r"answers_(?P<shots>\d+)_shot_(?P<method>.+?)_accuracy\w*", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One method's mean over the data sets."""

    method: str
    protocol: str
    """Such as `1-shot`: how many normal references a question comes with."""
    trained: str
    """Whether it trained on MMAD's images: `no`, `yes` with details, or `not said`."""
    source: str
    percent: dict[str, float]
    """Those of `COLUMNS` that were published."""


def published(folder: Path | None = None) -> list[Published]:
    """Return the shipped rows, best average first; those in a folder replace shipped ones of the same name.

    Args:
        folder: holds CSV files as `all_result` of MMAD's repository, `answers_<k>_shot_<method>_accuracy.csv`.

    Raises:
        DataError: the folder or a file cannot be used; names it.
    """
    rows = {row.method: row for row in _shipped()}
    for file in _files(folder) if folder is not None else ():
        name = _NAME.fullmatch(file.stem)
        if name is None:
            raise DataError(f"{file}: must be named answers_<k>_shot_<method>_accuracy.csv")
        same = rows.get(name["method"])
        rows[name["method"]] = Published(
            method=name["method"],
            protocol=f"{name['shots']}-shot",
            trained=UNKNOWN if same is None else same.trained,
            source=file.name if same is None else same.source,
            percent=_averages(file),
        )
    return sorted(rows.values(), key=lambda row: -row.percent.get("Average", -1.0))


def _shipped() -> list[Published]:
    return [
        Published(
            method=line["method"],
            protocol=line["protocol"],
            trained=line["trained on MMAD images"],
            source=line["source"],
            percent=_percent(line, str(SHIPPED)),
        )
        for line in _lines(SHIPPED)
    ]


def _files(folder: Path) -> list[Path]:
    files = sorted(folder.glob("*.csv"))
    if not files:
        raise DataError(f"{folder}: is no folder with CSV files of published results")
    return files


def _averages(file: Path) -> dict[str, float]:
    """Read the last row, which is the mean over the data sets."""
    for line in _lines(file):
        if line.get("") == "Average":
            return _percent(line, f"{file}, row Average")
    raise DataError(f"{file}: has no row Average")


def _percent(line: dict[str, str], place: str) -> dict[str, float]:
    try:
        return {column: float(line[column]) for column in COLUMNS if line.get(column)}
    except (TypeError, ValueError) as error:
        raise DataError(f"{place}: {error}") from error


def _lines(file: Path) -> list[dict[str, str]]:
    try:
        with file.open(encoding="utf-8", newline="") as stream:
            return list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: {error}") from error
