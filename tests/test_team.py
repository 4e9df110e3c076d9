"""Processes that do the same work side by side."""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from pathlib import Path

import pytest
import torch

from adfm.errors import AdfmError, DataError
from adfm.team import Team

SUBJECTS = ["a", "b", "c", "d", "e"]


def load(folder: Path) -> str:
    """Leave a file that says which process has loaded, and with how many threads it works."""
    (folder / str(os.getpid())).write_text(str(torch.get_num_threads()))
    return "there"


def told(state: str, subject: str) -> tuple[str, int]:
    if subject == "a":
        time.sleep(0.5)  # the first one is done last
    return f"{subject} {state}", os.getpid()


def failing(state: str, subject: str) -> str:
    if subject == "d":
        raise DataError(f"{subject} is broken")
    return f"{subject} {state}"


def dying(state: str) -> None:
    if state == "there":
        os.kill(os.getpid(), signal.SIGKILL)


def test_results_come_in_order_and_each_other_process_loads_once(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        with Team(2, partial(load, tmp_path)) as team:
            found = list(team.map([partial(told, subject=subject) for subject in SUBJECTS], "here"))
            again = list(team.map([partial(told, subject=subject) for subject in SUBJECTS], "here"))
            assert torch.get_num_threads() == 2
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(threads)
    assert [text for text, _ in found] == ["a here", "b there", "c here", "d there", "e here"]
    assert found == again
    here, other = found[0][1], found[1][1]
    assert here == os.getpid() != other
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {str(other): "2"}


def test_one_process_starts_no_other(tmp_path: Path) -> None:
    with Team(1, partial(load, tmp_path)) as team:
        found = list(team.map([partial(told, subject=subject) for subject in SUBJECTS], "here"))
    assert found == [(f"{subject} here", os.getpid()) for subject in SUBJECTS]
    assert not list(tmp_path.iterdir())


def test_what_a_task_raises_is_raised_where_its_result_is_due(tmp_path: Path) -> None:
    with Team(2, partial(load, tmp_path)) as team:
        results = team.map([partial(failing, subject=subject) for subject in SUBJECTS], "here")
        assert [next(results), next(results), next(results)] == ["a here", "b there", "c here"]
        with pytest.raises(DataError, match="d is broken"):
            next(results)


def test_a_process_that_is_ended_from_outside_is_told(tmp_path: Path) -> None:
    with Team(2, partial(load, tmp_path)) as team, pytest.raises(AdfmError, match="one of 2 processes ended before"):
        list(team.map([dying, dying], "here"))
