"""JSONL, CSV and parquet files as rows, with errors that name file and row."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from adfm.errors import DataError

Row = dict[str, Any]
JSON_CELLS = frozenset(("boxes", "references", "options", "attributes"))
"""Columns whose cells in CSV hold JSON, always."""
_JSON_OR_TEXT = frozenset(("mask", "question"))
_BATCH = 8192


class RowError(DataError):
    """What is wrong with one row; the message names file and row."""

    def __init__(self, path: Path, where: str, reason: object) -> None:
        super().__init__(f"{path}, {where}: {reason}")


def rows(path: Path) -> Iterator[tuple[str, Row]]:
    """Yield where each row stands (`line 3`, `row 3`) and what it holds; empty cells are left out.

    Raises:
        DataError: The file cannot be read, has another suffix, or a row is none. The message gives file and row.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path}: is not one of {', '.join(READERS)}")
    try:
        yield from reader(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error})") from error


def parsed(text: str) -> Any:
    """Return what a JSON text says; DataError for every text that says nothing."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise DataError("not JSON (nested too deep)") from error
    except ValueError as error:
        raise DataError(f"not JSON ({error})") from error


def _jsonl(path: Path) -> Iterator[tuple[str, Row]]:
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            where = f"line {number}"
            try:
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
                row = parsed(text) if text else None
            except (DataError, UnicodeDecodeError) as error:
                raise RowError(path, where, error) from error
            if not text:
                continue
            if not isinstance(row, dict):
                raise RowError(path, where, "not a JSON object")
            yield where, {key: value for key, value in row.items() if value is not None}


def _csv(path: Path) -> Iterator[tuple[str, Row]]:
    limit = csv.field_size_limit(sys.maxsize)  # a cell may hold a whole run-length code
    done = 0
    try:
        with path.open("rb") as file:
            reader = csv.reader((line.decode() for line in file), strict=True)
            header = [name.removeprefix("\ufeff") for name in next(reader, [])]
            _check_header(path, header)
            done = reader.line_num
            for cells in reader:
                done, where = reader.line_num, f"line {reader.line_num}"
                if cells and len(cells) != len(header):
                    raise RowError(path, where, f"has {len(cells)} cells, and the header {len(header)}")
                if any(cells):
                    yield where, _cells(path, where, zip(header, cells, strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise RowError(path, f"line {done + 1}", f"not CSV in UTF-8 ({error})") from error
    finally:
        csv.field_size_limit(limit)


def _parquet(path: Path) -> Iterator[tuple[str, Row]]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise DataError(f"{path}: reading parquet needs pyarrow; pip install pyarrow, or save it as CSV") from error
    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            _check_header(path, file.schema_arrow.names)
            for batch in file.iter_batches(_BATCH):
                for values in batch.to_pylist(maps_as_pydicts="strict"):
                    number += 1
                    where = f"row {number}"
                    yield where, _cells(path, where, values.items())
    except (pyarrow.ArrowException, ValueError, KeyError, OverflowError) as error:
        raise RowError(path, f"after row {number}", f"not parquet that can be read ({error})") from error


def _check_header(path: Path, header: list[str]) -> None:
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise DataError(f"{path}: has the column {twice[0]!r} twice")


def _cells(path: Path, where: str, cells: Any) -> Row:
    """Leave out what is empty, and read the JSON in cells that are text."""
    row = {}
    for name, value in cells:
        if value is None or value == "" or value != value:  # NaN is pandas' empty cell
            continue
        holds_json = name in JSON_CELLS or (name in _JSON_OR_TEXT and str(value)[0] in "[{")
        try:
            row[name] = parsed(value) if isinstance(value, str) and holds_json else _without_none(value)
        except DataError as error:
            raise RowError(path, where, f"{name} {value!r} is {error}") from error
    return row


def _without_none(value: Any) -> Any:
    """Drop the keys that a parquet struct has only because another row has them."""
    if isinstance(value, Mapping):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    return value


READERS: Mapping[str, Callable[[Path], Iterator[tuple[str, Row]]]] = {
    ".jsonl": _jsonl,
    ".csv": _csv,
    ".parquet": _parquet,
}
"""Suffix to what reads it."""
