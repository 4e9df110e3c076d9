"""The same work in several processes, each with what it has loaded for it: one GPU each, or a share of the cores."""

from __future__ import annotations

import functools
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from multiprocessing.sharedctypes import Synchronized
from threading import Thread
from typing import Any, Generic, TypeVar

import torch

from adfm.errors import AdfmError

State = TypeVar("State")
Result = TypeVar("Result")

_own: Any = None
"""In a helping process: its state."""


class Team(Generic[State]):
    """This process and `size - 1` others like it; use it in a `with` block.

    The others start when there is work for them. Each process has its part of the threads that this one had, and a GPU
    of its own where there are as many. The others end with this process, however that ends.

    Args:
        size: Processes, this one counted.
        load: Makes the state of a process, in that process; can be pickled.
    """

    def __init__(self, size: int, load: Callable[[], State]) -> None:
        self.size = size
        self.load = load

    @functools.cached_property
    def state(self) -> State:
        """This process's own, loaded when it is first asked for."""
        return self.load()

    def __enter__(self) -> Team[State]:
        """Divide the threads."""
        self._threads = torch.get_num_threads()
        share = max(1, self._threads // self.size)
        torch.set_num_threads(share)
        context = get_context("spawn")
        begin = (self.load, share, context.Value("i", 1))
        self._others = ProcessPoolExecutor(max(1, self.size - 1), context, initializer=_begin, initargs=begin)
        return self

    def __exit__(self, *_: object) -> None:
        """End the others: what they are at is waited for, what waits is dropped."""
        self._others.shutdown(cancel_futures=True)
        torch.set_num_threads(self._threads)

    def map(self, tasks: Sequence[Callable[[State], Result]], state: State) -> Iterator[Result]:
        """Yield what each task makes of a state, in order; this process does every `size`-th one, with `state`.

        Tasks and results can be pickled. A task must not depend on which process does it, nor on tasks before it.

        Raises:
            AdfmError: another process was ended from outside, by a lack of memory for example.
            Exception: what a task raised.
        """
        given = {at: self._others.submit(_do, task) for at, task in enumerate(tasks) if at % self.size}
        try:
            for at, task in enumerate(tasks):
                yield given[at].result() if at in given else task(state)
        except BrokenProcessPool as error:
            raise AdfmError(
                f"one of {self.size} processes ended before its work was done, perhaps for lack of memory; the same "
                "command with a smaller nproc goes on with what is missing"
            ) from error


def _begin(load: Callable[[], Any], threads: int, counter: Synchronized[int]) -> None:
    """Make this process a helping one."""
    global _own
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process says what an interrupted command leaves
    Thread(target=_end_with_parent, daemon=True).start()
    with counter:
        place = counter.value
        counter.value += 1
    torch.set_num_threads(threads)
    if (devices := torch.cuda.device_count()) > 0:
        torch.cuda.set_device(place % devices)
    _own = load()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _do(task: Callable[[Any], Result]) -> Result:
    return task(_own)
