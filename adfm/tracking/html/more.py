"""Tables of what `metrics.json` and `mmad.json` say beyond the metrics: matrices, shares, and whatever is new."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from adfm.tracking.html.table import MISSING, Cell, Table, cell


def of_unknown(name: str, value: Any) -> list[Table]:
    """Make tables of a value that no other table shows, by its shape; a nested one becomes several."""
    if not isinstance(value, Mapping) or not value:
        return [] if value is None or value in ({}, []) else [_table(name, {"": {"value": value}})]
    if is_estimate(value):
        return [_table(name, {"": {"value": value}})]
    rows = list(value.values())
    if all(isinstance(row, Mapping) and row and not is_estimate(row) for row in rows):
        if all(_is_leaf(leaf) for row in rows for leaf in row.values()):
            return [_table(name, value)]
        return [table for key, row in value.items() for table in of_unknown(f"{name}: {key}", row)]
    leaves = {key: row for key, row in value.items() if _is_leaf(row)}
    nested = [table for key, row in value.items() if key not in leaves for table in of_unknown(f"{name}: {key}", row)]
    own = [_table(name, {key: {"value": leaf} for key, leaf in leaves.items()})] if leaves else []
    return own + nested


def of_mmad(found: Mapping[str, Any]) -> list[Table]:
    """Make the tables of `mmad.json`: each scoring with the data sets as rows, then detection by probability."""
    about = ", ".join(str(found[name]) for name in ("protocol", "read_by", "trained") if found.get(name))
    tables = []
    for scoring, table in found.get("scoring", {}).items():
        counts = ", ".join(f"{count} {what}" for what, count in table.get("counts", {}).items())
        tables.append(
            _table(f"{scoring} scoring", table["rows"], note=f"percent; answers: {counts}; {about}", digits=1)
        )
    if found.get("detection"):
        tables.append(_table("Detection by probability", found["detection"], note="percent", digits=1))
    return tables


def is_estimate(value: Any) -> bool:
    """Whether this is a number with its interval, or the reason why there is none."""
    return isinstance(value, Mapping) and "value" in value and not isinstance(value["value"], Mapping)


def _is_leaf(value: Any) -> bool:
    return not isinstance(value, Mapping) or is_estimate(value)


def _table(name: str, rows: Mapping[str, Mapping[str, Any]], *, note: str = "", digits: int = 3) -> Table:
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    body = [
        (row, [_cell(cells[column], digits) if column in cells else MISSING for column in columns])
        for row, cells in rows.items()
    ]
    return Table(title=_title(name), note=note, columns=columns, rows=body)


def _title(name: str) -> str:
    words = name.replace("_", " ")
    return words[:1].upper() + words[1:]


def _cell(value: Any, digits: int) -> Cell:
    if is_estimate(value):
        return cell(value, digits=digits)
    if isinstance(value, float):
        return Cell(text=f"{value:.{digits}f}")
    return MISSING if value is None else Cell(text=_words(value))


def _words(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else str(value)
