"""The study of first_light at toy size: runs, their controls, the comparison."""

from __future__ import annotations

import csv
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from adfm import report
from adfm.errors import ConfigError
from adfm.tracking import study

FIRST_LIGHT = Path(__file__).parents[2] / "experiments" / "first_light"
SWEEP = """\
defaults: [train, _self_]
study: toy
name: toy
steps: 2
prompts_per_step: 4
dataset: {train: 48, val: 8, test: 12}
rollout: {group_size: 4}
evaluate: {every: 2, val_samples: 8, test_samples: 8}
optimizer: {schedule: {warmup_steps: 0}}
hydra:
  mode: MULTIRUN
  sweeper:
    params:
      seed: 0,1
"""


@pytest.fixture
def control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, for a toy study in a folder of its own."""
    spec = importlib.util.spec_from_file_location("first_light_control", FIRST_LIGHT / "control.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    (tmp_path / "control.yaml").write_text((FIRST_LIGHT / "control.yaml").read_text())
    monkeypatch.setattr(module, "HERE", tmp_path)
    monkeypatch.setattr(module, "WARM_UP", 1)
    monkeypatch.setattr(module, "TIMED", 2)
    monkeypatch.chdir(tmp_path)
    return module


def test_tuning_never_looks_at_the_test_part() -> None:
    assert study.composed(FIRST_LIGHT / "tune.yaml").evaluate.at_end is False


def test_without_a_finished_run_there_is_no_control(control: ModuleType) -> None:
    with pytest.raises(ConfigError, match="2 cells with any choice, none of them finished"):
        control.main([])
    with pytest.raises(ConfigError, match="1 cells with seed=1"):
        control.main(["seed=1"])


def test_the_clock_reads_the_newest_try(control: ModuleType, tmp_path: Path) -> None:
    tries = [(10, 5.0), (20, 9.0), (10, 4.0), (20, 8.0), (30, 12.0)]
    lines = [{"stage": "supervised", "step": step, "seconds": seconds} for step, seconds in tries]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in [*lines, {"step": 30}]))
    assert [line["seconds"] for line in control.clock(tmp_path)] == [4.0, 8.0, 12.0]


@pytest.mark.slow
def test_a_study_with_its_controls(
    control: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train = [sys.executable, "-m", "adfm.train", "-cd", str(tmp_path), "-cn", "sweep", "logger=jsonl"]
    done = subprocess.run(train, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    control.main(["seed=0"])
    assert "1 of 1 controls done" in capsys.readouterr().out
    control.main([])
    (first, second) = [cell.folder for cell in study.cells(tmp_path)]
    told = json.loads((first.path / "control" / "control.json").read_text())
    assert told["control_steps"] % 10 == 0
    assert told["ratio"] > 0
    written = (second.path / "eval" / "control" / "synthetic" / "predictions.jsonl").stat().st_mtime_ns
    control.main([])  # finished: nothing is trained or written again
    assert (second.path / "eval" / "control" / "synthetic" / "predictions.jsonl").stat().st_mtime_ns == written
    monkeypatch.setattr(sys, "argv", ["report", f"study={tmp_path}"])
    report.main()
    assert "after - control" in capsys.readouterr().out
    with (tmp_path / "pooled.csv").open() as file:
        rows = {(row["quantity"], row["metric"]): row for row in csv.DictReader(file)}
    assert rows["after - control", "reward"]["seeds"].startswith("0:")
    assert float(rows["control", "reward"]["value"]) > 0
