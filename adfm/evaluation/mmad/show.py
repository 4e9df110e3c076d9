"""MMAD's tables as text that also reads well in a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from adfm.evaluation.mmad.published import COLUMNS, Published
from adfm.evaluation.mmad.scoring import AVERAGE, Estimate, Table
from adfm.evaluation.tables import markdown

_SHORT = dict(zip(COLUMNS, ("AD", "DC", "DL", "DD", "DA", "OC", "OA", "average", "overkill", "miss"), strict=True))


def shown(scoring: str, table: Table) -> str:
    """Show one table, the data sets side by side, then what became of the answers and why cells are empty."""
    cells = [[column, *(_cell(row[column]) for row in table.rows.values())] for column in table.rows[AVERAGE]]
    counts = ", ".join(f"{count} {what}" for what, count in table.counts.items())
    readers = ", ".join(f"{reader} ({count})" for reader, count in table.read_by.items())
    lines = [markdown([f"{scoring} scoring", *table.rows], cells), f"answers: {counts}; read by: {readers}"]
    for name, row in table.rows.items():
        lines += [f"no value: {name}, {column}: {cell['reason']}" for column, cell in row.items() if "reason" in cell]
    return "\n".join(lines)


def ranking(found: Mapping[str, Mapping[str, Estimate]]) -> str:
    """Show how detection by probability ranks and how far its probabilities are off, the data sets side by side."""
    cells = [[measure, *(_cell(row[measure]) for row in found.values())] for measure in found[AVERAGE]]
    return markdown(["detection by probability", *found], cells)


def comparison(
    found: Mapping[str, Table], others: Sequence[Published], *, protocol: str = "", trained: str = ""
) -> str:
    """Set the averages over data sets above those that others have published; say how the own answers came about."""
    own = {f"these answers, {scoring}": table.percent()[AVERAGE] for scoring, table in found.items()}
    header = ["mean over data sets", *_SHORT.values(), "protocol", "trained on MMAD images", "source"]
    rows = [
        [name, *(_number(row.get(column)) for column in COLUMNS), protocol, trained, ""] for name, row in own.items()
    ]
    rows += [
        [
            other.method,
            *(_number(other.percent.get(column)) for column in COLUMNS),
            *(other.protocol, other.trained, other.source),
        ]
        for other in others
    ]
    return markdown(header, rows)


def _cell(estimate: Estimate) -> str:
    text = _number(estimate["value"])
    return f"{text} [{estimate['low']:.1f}, {estimate['high']:.1f}]" if "low" in estimate else text


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
