import contextlib
import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from fake_run import FakeRun
from rich.console import Console

from adfm.tracking.live import LiveTable
from adfm.tracking.progress import Progress
from adfm.types import StepRecord


def run_steps(run: FakeRun, steps: range) -> None:
    progress = Progress(every=5)
    progress.before_run(run)
    for step in steps:
        metrics = {"reward/total_mean": 1.25} if step else {}
        metrics |= {"val/box_iou": 0.375} if step % 6 == 0 else {}
        progress.after_step(StepRecord(step=step, groups=(), metrics=metrics))
    progress.after_run()


def test_plain_lines_where_there_is_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_steps(FakeRun(tmp_path, step=3, steps=12), range(4, 13))
    lines = capsys.readouterr().err.splitlines()
    assert [re.sub(r"0\.\d\d s", "0 s", line) for line in lines] == [
        "step 5/12  reward 1.250  0 s/step  0:00:00 left",
        "step 6/12  reward 1.250  val box_iou 0.375  0 s/step  0:00:00 left",
        "step 10/12  reward 1.250  0 s/step  0:00:00 left",
        "step 12/12  reward 1.250  val box_iou 0.375  0 s/step  0:00:00 left",
    ]


def test_the_look_before_the_first_step_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_steps(FakeRun(tmp_path, steps=12), range(2))
    assert capsys.readouterr().err.splitlines() == ["step 0/12  val box_iou 0.375"]


def test_a_live_table_in_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    run_steps(FakeRun(tmp_path, step=3, steps=12), range(4, 13))
    last = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err).rpartition("step ")[0]
    shown = [line.split() for line in last.splitlines()]
    assert ["step", "reward", "val", "box", "iou"] in shown
    assert ["6", "1.250", "0.375"] in shown
    assert ["11", "1.250", "0.375"] in shown


def test_the_table_shows_terms_and_the_last_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    table = live_table(monkeypatch)
    looked = {"val/balanced_accuracy": 0.75, "val/box_iou": 0.5, "val/miss": 0.1}
    earned = {"reward/format_mean": 1.0, "reward/total_mean": 1.5, "reward/total_std": 9.0, "tokens_per_second": 2345.6}
    table.after_step(StepRecord(step=0, groups=(), metrics=looked))
    for step in range(1, 12):
        table.after_step(StepRecord(step=step, groups=(), metrics=earned))
    table.stop()
    lines = [line.split() for line in drawn(table).splitlines()]
    assert ["step", "reward", "format", "val", "balanced", "accuracy", "val", "box", "iou", "tokens/s"] in lines
    rows = [line for line in lines if line and line[0].isdigit()]
    assert rows == [[str(step), "1.500", "1.000", "0.750", "0.500", "2,346"] for step in range(4, 12)]
    assert lines[-1][:2] == ["step", "11/40"]
    assert lines[-1][-3:] == ["after", "step", "11"]


def test_the_table_fits_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    table = live_table(monkeypatch)
    terms = {f"reward/{name}_mean": 1.0 for name in ("total", "classification", "localization", "format", "stages")}
    looked = {"val/balanced_accuracy": 0.75, "val/box_iou": 0.5, "tokens_per_second": 12345.0}
    table.after_step(StepRecord(step=1000, groups=(), metrics=terms | looked))
    table.stop()
    lines = drawn(table, width=80).splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.split() == ["1000", *["1.000"] * 5, "0.750", "0.500", "12,345"] for line in lines)


def test_an_interrupted_run_gives_the_cursor_back() -> None:
    """In a real terminal."""
    code = """if True:
        from adfm.tracking.live import LiveTable
        LiveTable(title="run", steps=3, chosen_by="box_iou", pace=str, done=0)
        print("in between", flush=True)
        raise KeyboardInterrupt
    """
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=theirs, stderr=theirs, env=os.environ | {"TERM": "xterm"}
    ) as process:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # how a terminal says that nobody writes any more
            while chunk := os.read(ours, 4096):
                shown += chunk
    os.close(ours)
    assert process.returncode != 0
    assert b"in between" in shown
    assert b"KeyboardInterrupt" in shown
    assert 0 <= shown.index(b"\x1b[?25l") < shown.rindex(b"\x1b[?25h")


def live_table(monkeypatch: pytest.MonkeyPatch) -> LiveTable:
    monkeypatch.setattr("sys.stderr", io.StringIO())
    return LiveTable(title="run", steps=40, chosen_by="box_iou", pace=lambda step: f"after step {step}", done=0)


def drawn(table: LiveTable, width: int = 120) -> str:
    console = Console(file=io.StringIO(), width=width)
    with console.capture() as captured:
        console.print(table)
    return captured.get().rstrip()


def test_other_ranks_are_silent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_steps(FakeRun(tmp_path, is_main=False), range(1, 41))
    assert capsys.readouterr().err == ""
