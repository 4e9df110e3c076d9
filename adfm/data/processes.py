"""A function over many files at once, one process for each core, with a bar that shows how far it is."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from tqdm import tqdm

from adfm.errors import DataError

CHUNK = 32
"""Items that a process takes at once."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def mapped(
    function: Callable[[Item], Result], items: Sequence[Item], *, doing: str, processes: int | None = None
) -> Iterator[Result]:
    """Yield the function's result for each item, in order, from as many processes as there are cores or as asked for.

    A bar says what is being done; where the output is not a terminal, there is none. Few items stay in this process.

    Raises:
        DataError: A process was killed, as the system does where memory runs out.
    """
    count = min(processes or _cores(), -(-len(items) // CHUNK))
    results = map(function, items) if count < 2 else _over_processes(function, items, count)
    yield from tqdm(results, total=len(items), desc=doing, unit="image", leave=False, disable=None)


def _over_processes(function: Callable[[Item], Result], items: Sequence[Item], count: int) -> Iterator[Result]:
    with ProcessPoolExecutor(count) as pool:
        try:
            yield from pool.map(function, items, chunksize=CHUNK)
        except BrokenProcessPool as error:
            message = "a process that read images was killed, perhaps for want of memory; processes=1 needs the least"
            raise DataError(message) from error


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
