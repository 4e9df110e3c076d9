"""Slopes, laws and tables of a sweep, from what its cells measured."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fits import LAWS, fit, slope

from adfm.files import write_whole

Record = dict[str, Any]

PARTS = ("whole", "rollout", "rollout_attention", "rollout_else", "update", "update_attention", "update_else")
LAW_AXES = ("image", "group", "completion")
"""Cells of one rank, which one law must explain together."""


def of_axis(cells: Mapping[str, Record], axis: str) -> list[Record]:
    """Return the cells of an axis in the order of its values."""
    found = [record for record in cells.values() if record["sizes"]["axis"] == axis]
    return sorted(found, key=lambda record: record["sizes"][axis])


def slopes(cells: Mapping[str, Record]) -> dict[str, dict[str, float]]:
    """Fit every part's exponent along every axis with two cells or more."""
    table = {}
    for axis in dict.fromkeys(record["sizes"]["axis"] for record in cells.values()):
        records = of_axis(cells, axis)
        if len(records) > 1:
            values = [record["sizes"][axis] for record in records]
            table[axis] = {part: slope(values, [record["seconds"][part] for record in records]) for part in PARTS}
    return table


def laws(cells: Mapping[str, Record]) -> dict[str, dict[str, Record]]:
    """Fit every part by both laws over all cells of one rank; nothing while an axis is missing."""
    if any(len(of_axis(cells, axis)) < 2 for axis in LAW_AXES):
        return {}
    records = [record for axis in LAW_AXES for record in of_axis(cells, axis)]
    sizes = [record["sizes"] for record in records]
    return {
        part: {
            name: asdict(fit(terms, sizes, [one["seconds"][part] for one in records])) for name, terms in forms.items()
        }
        for part, forms in LAWS.items()
    }


def write(results: Record, folder: Path) -> None:
    """Write scaling.json with slopes and laws, scaling.csv and scaling.md."""
    cells = results["cells"]
    results = results | {"slopes": slopes(cells), "laws": laws(cells)}
    write_whole(folder / "scaling.json", json.dumps(results, indent=1))
    with (folder / "scaling.csv").open("w", newline="") as file:
        lines = list(map(_line, cells.values()))
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    text = markdown(results)
    write_whole(folder / "scaling.md", text)
    print(text)


def markdown(results: Record) -> str:
    """Say slopes, laws and floors as Markdown tables."""
    machine = results["machine"]
    parts = [
        f"Measured on {machine['processor']}, {machine['threads']} thread(s), torch {machine['torch']}. "
        "Written by `scaling.py`; do not edit.",
        "Exponents: seconds ~ value ^ exponent.",
        as_table(["axis", *PARTS], _slope_rows(results["slopes"])),
    ]
    if results["laws"]:
        parts += [
            "Laws, fitted to all cells of one rank; the better one of each part in bold.",
            as_table(["part", "law", "relative error", "seconds per unit of each term"], _law_rows(results["laws"])),
        ]
    parts += [
        "Share of the floor: the seconds that the counted operations take at the matrix rate measured beside each cell "
        "(1024^3), over the seconds of the step; in brackets at the rates of the model's own products.",
        as_table(
            ["cell", "P", "rollout s", "update s", "GFLOP/s", "rollout", "update"],
            map(_floor_row, results["cells"].items()),
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _slope_rows(table: Mapping[str, Mapping[str, float]]) -> Iterator[list[str]]:
    for axis, exponents in table.items():
        yield [axis, *(f"{exponents[part]:.2f}" for part in PARTS)]


def _law_rows(fitted: Mapping[str, Mapping[str, Record]]) -> Iterator[list[str]]:
    for part, forms in fitted.items():
        best = min(forms, key=lambda name: forms[name]["relative_error"])
        for name, found in forms.items():
            shares = ", ".join(f"{term}: {seconds:.2e}" for term, seconds in found["seconds"].items())
            yield [part, f"**{name}**" if name == best else name, f"{found['relative_error']:.1%}", shares]


def _floor_row(named: tuple[str, Record]) -> list[str]:
    key, record = named
    seconds = [f"{record['seconds'][part]:.2f}" for part in ("rollout", "update")]
    rate = f"{record['rates']['large'] / 1e9:.0f}"
    shares = [f"{record['share'][part]:.0%} ({record['share_of_products'][part]:.0%})" for part in record["share"]]
    return [key, str(record["sizes"]["prompt"]), *seconds, rate, *shares]


def as_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay out a Markdown table."""
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *rows])


def _line(record: Record) -> Record:
    """Flatten a cell for the CSV."""
    return {
        **record["sizes"],
        **{f"seconds_{part}": seconds for part, seconds in record["seconds"].items()},
        **{f"flops_{part}": count["total"] for part, count in record["flops"].items()},
        **{f"rate_{name}": rate for name, rate in record["rates"].items()},
        **{f"share_{part}": share for part, share in record["share"].items()},
        **{f"share_of_products_{part}": share for part, share in record["share_of_products"].items()},
    }
