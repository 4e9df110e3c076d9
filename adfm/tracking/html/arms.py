"""The tables of a study, for its page and as text: each arm against its start and its control, then arm against arm."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from adfm.evaluation import tables
from adfm.evaluation.pooled import TERM, Pooled
from adfm.tracking.arms import BETWEEN, MOMENTS, SIDES, VALIDATION, Row
from adfm.tracking.html.table import LOWER_IS_BETTER, MISSING, Cell, Table

CHANGES = tuple(f"{BETWEEN}{side}" for side in SIDES if side != "after")
LOOKED_AT = ("reward", "balanced_accuracy", "auroc", "box_iou", "parse_failure")
"""Metrics of the validation part that are shown."""


def tables_of(rows: Sequence[Row], metrics: Sequence[str]) -> list[Table]:
    """Make the tables of a study; of the test part they show the rewards and the named metrics."""
    found = [_of_arm(name, data, rows, metrics) for data, name in _pairs(rows) if data != VALIDATION]
    found += [_between(data, rows, metrics) for data in dict.fromkeys(row.data for row in rows if _is_between(row))]
    if any(row.data == VALIDATION for row in rows):
        found.append(_validation([row for row in rows if row.data == VALIDATION]))
    return found


def markdown(found: Sequence[Table]) -> str:
    """Write tables as Markdown that also reads well in a terminal."""
    parts = []
    for table in found:
        body = [[name, *(f"{cell.text} {cell.interval}".strip() for cell in cells)] for name, cells in table.rows]
        parts.append(f"{table.title} ({table.note})\n\n{tables.markdown(['', *table.columns], body)}\n")
    return "\n".join(parts)


def _of_arm(name: str, data: str, rows: Sequence[Row], metrics: Sequence[str]) -> Table:
    mine = {(row.quantity, row.metric): row.pooled for row in rows if row.arm == name and row.data == data}
    sides = [side for side in SIDES if any(quantity == side for quantity, _ in mine)]
    changes = [change for change in CHANGES if any(quantity == change for quantity, _ in mine)]
    shown = [metric for metric in _shown(rows, metrics) if any(known == metric for _, known in mine)]
    body = []
    for metric in shown:
        cells = [_value(mine.get((side, metric))) for side in sides]
        for change in changes:
            pooled = mine.get((change, metric))
            cells += [_change(metric, pooled), _spread(pooled)]
        body.append((metric, cells))
    columns = [*sides, *(column for change in changes for column in (change, "deviation over seeds"))]
    seeds = max(len(pooled.seeds) for pooled in mine.values())
    note = f"mean over {seeds} seed{'s' * (seeds > 1)}; brackets: 95% over images"
    note += _labels(row for row in rows if (row.arm, row.data, row.quantity) == (name, data, "after"))
    return Table(title=f"{name}, on {data}", note=note, columns=columns, rows=body)


def _between(data: str, rows: Sequence[Row], metrics: Sequence[str]) -> Table:
    mine = [row for row in rows if row.data == data and _is_between(row)]
    pairs = list(dict.fromkeys((row.arm, row.quantity) for row in mine))
    known = {(row.arm, row.quantity, row.metric): row.pooled for row in mine}
    body = []
    for metric in (metric for metric in _shown(rows, metrics) if any(row.metric == metric for row in mine)):
        pooled = [known.get((*pair, metric)) for pair in pairs]
        body.append((metric, [cell for one in pooled for cell in (_change(metric, one), _spread(one))]))
    columns = [
        column
        for arm, quantity in pairs
        for column in (f"{arm} - {quantity.removeprefix(BETWEEN)}", "deviation over seeds")
    ]
    note = f"after training, paired by image{_labels(mine)}"
    return Table(title=f"Between arms, on {data}", note=note, columns=columns, rows=body)


def _labels(rows: Iterable[Row]) -> str:
    """Say what the arms trained on, behind a note."""
    return "".join(f"; {label}" for label in dict.fromkeys(row.trained for row in rows) if label)


def _validation(rows: Sequence[Row]) -> Table:
    known = {(row.arm, row.quantity, row.metric): row.pooled for row in rows}
    shown = [metric for metric in LOOKED_AT if any(row.metric == metric for row in rows)]
    arms = dict.fromkeys(row.arm for row in rows)
    body = [
        (arm, [_looks({moment: known.get((arm, moment, metric)) for moment in MOMENTS}) for metric in shown])
        for arm in arms
    ]
    note = (
        f"{' → '.join(MOMENTS)}: each run's first look, the one that it chose (the best of many, so it flatters) "
        "and its last; mean over seeds, ± deviation over seeds of the last"
    )
    return Table(title="Validation part", note=note, columns=shown, rows=body)


def _looks(moments: Mapping[str, Pooled | None]) -> Cell:
    known = [pooled for pooled in moments.values() if pooled is not None]
    if not known:
        return MISSING
    spread = known[-1].spread
    text = " → ".join(f"{pooled.value:.3f}" for pooled in known)
    return Cell(text=text, interval="" if spread is None else f"± {spread:.3f}")


def _pairs(rows: Sequence[Row]) -> list[tuple[str, str]]:
    return list(dict.fromkeys((row.data, row.arm) for row in rows))


def _is_between(row: Row) -> bool:
    return row.quantity.startswith(BETWEEN) and row.quantity not in CHANGES


def _shown(rows: Sequence[Row], metrics: Sequence[str]) -> list[str]:
    terms = dict.fromkeys(row.metric for row in rows if row.metric.startswith(TERM))
    return ["reward", *terms, *metrics]


def _value(pooled: Pooled | None) -> Cell:
    if pooled is None:
        return MISSING
    interval = "" if pooled.low is None or pooled.high is None else f"[{pooled.low:.3f}, {pooled.high:.3f}]"
    return Cell(text=f"{pooled.value:.3f}", interval=interval)


def _change(metric: str, pooled: Pooled | None) -> Cell:
    if pooled is None:
        return MISSING
    interval = "" if pooled.low is None or pooled.high is None else f"[{pooled.low:+.3f}, {pooled.high:+.3f}]"
    better = pooled.value < 0 if metric in LOWER_IS_BETTER else pooled.value > 0
    direction = ("up" if better else "down") if pooled.is_sure else ""
    return Cell(text=f"{round(pooled.value, 3) + 0.0:+.3f}", interval=interval, direction=direction)


def _spread(pooled: Pooled | None) -> Cell:
    if pooled is None or pooled.spread is None:
        return MISSING
    own = ", ".join(f"seed {seed}: {value:+.3f}" for seed, value in pooled.seeds.items())
    return Cell(text=f"{pooled.spread:.3f}", hint=own)
