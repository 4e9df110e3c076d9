"""What two runs were asked to do differently: every key of the config, and of the environment, that is not equal."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from adfm.tracking.html.folder import RunFiles
from adfm.tracking.html.table import MISSING, Cell, Table


def tables(run: RunFiles, other: RunFiles) -> list[Table]:
    """Set the keys side by side whose values differ; a dash where a run does not have one."""
    pairs = {"Config": (run.config, other.config), "Environment": (run.environment, other.environment)}
    return [
        Table(
            title=f"{name}: difference from {other.path.name}",
            note="" if found else "none",
            columns=["this run", other.path.name],
            rows=found,
            verbatim=True,
        )
        for name, (mine, theirs) in pairs.items()
        for found in [_rows(dict(flat(mine)), dict(flat(theirs)))]
    ]


def flat(tree: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Name every leaf of a tree by its path.

    >>> list(flat({"model": {"path": "tiny", "ids": [1]}}))
    [('model.path', '"tiny"'), ('model.ids', '[1]')]
    """
    if isinstance(tree, Mapping) and tree:
        for key, value in tree.items():
            yield from flat(value, f"{path}.{key}" if path else str(key))
    elif path:
        yield path, json.dumps(tree, ensure_ascii=False)


def _rows(mine: Mapping[str, str], theirs: Mapping[str, str]) -> list[tuple[str, list[Cell]]]:
    keys = [key for key in dict.fromkeys([*mine, *theirs]) if mine.get(key) != theirs.get(key)]
    return [(key, [Cell(text=side[key]) if key in side else MISSING for side in (mine, theirs)]) for key in keys]
