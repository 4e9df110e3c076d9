"""A command of adfm in a process of its own, as a line of production runs it, and killed in its middle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

LONGEST = 600
"""Seconds that a process may take."""
REPOSITORY = Path(__file__).resolve().parents[1]


def start(module: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a command."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finish(process: subprocess.Popen[str], *, status: int = 0) -> str:
    """Wait for a process, check its exit status and return what it printed."""
    said, errors = process.communicate(timeout=LONGEST)
    assert process.returncode == status, said + errors
    return said


def kill_when(process: subprocess.Popen[str], reached: Callable[[], bool]) -> None:
    """Kill a process (SIGKILL: it can do nothing more) as soon as it has come so far; it must not have ended."""
    deadline = time.monotonic() + LONGEST
    while not reached():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def lines_of(file: Path) -> list[str]:
    """Return the whole lines of a file that is being written; none where it is not there yet."""
    whole = file.read_bytes().split(b"\n")[:-1] if file.exists() else []
    return [line.decode() for line in whole]
