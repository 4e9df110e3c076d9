"""Slopes, laws and tables of a sweep, from what its cells measured."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import plots
from fits import LAWS, fit, slope

from adfm.config.run_folder import write_whole

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
    """Fit every part by the packed and by the padded law, over all cells of one rank; nothing if they are too few."""
    records = [record for axis in LAW_AXES for record in of_axis(cells, axis)]
    most_terms = max(len(terms) for forms in LAWS.values() for terms in forms.values())
    if len(records) <= most_terms:
        return {}
    sizes = [record["sizes"] for record in records]
    return {
        part: {
            name: asdict(fit(terms, sizes, [one["seconds"][part] for one in records])) for name, terms in forms.items()
        }
        for part, forms in LAWS.items()
    }


def write(results: Record, folder: Path) -> None:
    """Write scaling.json with slopes and laws, scaling.csv, scaling.md and scaling.png."""
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
    plots.draw(cells, folder / "scaling.png")
    print(text)


def markdown(results: Record) -> str:
    """Say slopes, laws and floors as Markdown tables."""
    machine = results["machine"]
    lines = [
        f"Measured on {machine['processor']}, {machine['threads']} thread(s), torch {machine['torch']}. "
        "Written by `scaling.py`; do not edit.",
        "",
        *_table(
            ["axis", *PARTS], ([axis, *(f"{of[part]:.2f}" for part in PARTS)] for axis, of in results["slopes"].items())
        ),
        "",
        "Exponents: seconds ~ value ^ exponent.",
        "",
        *_table(["part", "law", "root mean square error", "seconds per unit of each term"], _law_rows(results["laws"])),
        "",
        *_table(
            [
                "cell",
                "P",
                "rollout s",
                "update s",
                "rate GFLOP/s",
                "share of the rate: rollout",
                "update",
                "of its own products: rollout",
                "update",
            ],
            map(_floor_row, results["cells"].items()),
        ),
        "",
    ]
    return "\n".join(lines)


def _law_rows(fitted: Mapping[str, Mapping[str, Record]]) -> Iterator[list[str]]:
    for part, forms in fitted.items():
        best = min(forms, key=lambda name: forms[name]["relative_error"])
        for name, found in forms.items():
            shares = ", ".join(f"{term}: {seconds:.2e}" for term, seconds in found["seconds"].items())
            yield [part, f"**{name}**" if name == best else name, f"{found['relative_error']:.1%}", shares]


def _floor_row(named: tuple[str, Record]) -> list[str]:
    key, record = named
    shares = [record[kind][part] for kind in ("share", "share_of_products") for part in ("rollout", "update")]
    seconds = [f"{record['seconds'][part]:.2f}" for part in ("rollout", "update")]
    rate = f"{record['rates']['large'] / 1e9:.0f}"
    return [key, str(record["sizes"]["prompt"]), *seconds, rate, *(f"{share:.0%}" for share in shares)]


def _table(head: list[str], rows: Any) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


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
