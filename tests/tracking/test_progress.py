import re
from pathlib import Path

import pytest
from fake_run import FakeRun

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


def test_a_bar_in_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    run_steps(FakeRun(tmp_path, step=3, steps=12), range(4, 13))
    shown = capsys.readouterr().err
    assert "12/12" in shown
    assert "reward 1.250" in shown
    assert "step 6: val box_iou 0.375" in shown


def test_other_ranks_are_silent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_steps(FakeRun(tmp_path, is_main=False), range(1, 41))
    assert capsys.readouterr().err == ""
