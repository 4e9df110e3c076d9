"""What a user types, on the embedded model: train, interrupt, resume, extend, sweep, evaluate, report."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SMALL = [
    "dataset.train=48",
    "dataset.val=8",
    "dataset.test=8",
    "prompts_per_step=4",
    "rollout.group_size=4",
    "evaluate.every=2",
    "checkpoint.every=2",
    "logger=jsonl",
    "optimizer.schedule.warmup_steps=0",
]
ASKED = """
import os
from pathlib import Path


class Asked:
    def before_run(self, run): ...

    def after_step(self, record):
        samples = [group.prompt.sample for group in record.groups]
        asked = "\\n".join(f"{sample.id} {sample.anomalous}" for sample in samples)
        Path(f"step{record.step}-rank{os.environ.get('RANK', '0')}").write_text(asked)

    def after_run(self): ...
"""
TIMES = {"time", "tokens_per_second", "peak_memory_mb"}


def adfm(module: str, *arguments: str, cwd: Path, status: int = 0) -> str:
    """Run an entry point in a folder of its own and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], cwd=cwd, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def only_run(cwd: Path) -> Path:
    (config,) = (cwd / "runs").glob("*/config.yaml")
    return config.parent


def steps(run: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in TIMES and not k.startswith("seconds/")} for line in lines]


def test_train_says_complete_extends_and_starts_again(tmp_path: Path) -> None:
    first = adfm("adfm.train", *SMALL, "steps=2", cwd=tmp_path)
    run = only_run(tmp_path)
    assert "before" in first
    assert f"Report: {Path('runs') / run.name}/report.html" in first
    assert {"best", "last"} <= {path.name for path in (run / "export").iterdir()}
    assert "is complete (2 steps)" in adfm("adfm.train", *SMALL, "steps=2", cwd=tmp_path)
    extended = adfm("adfm.train", *SMALL, "steps=4", cwd=tmp_path)
    assert "after step 2 of 4" in extended
    assert [line["step"] for line in steps(run)] == [0, 1, 2, 3, 4]
    adfm("adfm.train", *SMALL, "steps=2", "fresh=true", cwd=tmp_path)
    assert len(list((tmp_path / "runs").glob("*/config.yaml"))) == 2
    assert [line["step"] for line in steps(run)] == [0, 1, 2]


@pytest.mark.parametrize("choices", [(), ("optimizer/average=polynomial",)])
def test_a_killed_run_resumes_to_the_same_numbers_and_weights(tmp_path: Path, choices: tuple[str, ...]) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    command = [*SMALL, "steps=6", "evaluate.at_end=false", *choices]
    adfm("adfm.train", *command, cwd=whole)
    process = subprocess.Popen([sys.executable, "-m", "adfm.train", *command], cwd=killed, start_new_session=True)
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        found = list(killed.glob("runs/*/metrics.jsonl"))
        if found and found[0].read_text().count("\n") >= 4:
            break
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    said = adfm("adfm.train", *command, cwd=killed)
    assert "resuming" in said
    assert steps(only_run(killed)) == steps(only_run(whole))
    exported = [(only_run(cwd) / "export" / "last" / "model.safetensors").read_bytes() for cwd in (whole, killed)]
    assert exported[0] == exported[1]


def test_two_methods_sweep_into_four_cells_and_a_table(tmp_path: Path, repository: Path) -> None:
    study = repository / "experiments" / "reasoning_x_reward"
    small = [*SMALL, "steps=1", "evaluate.at_end=false", "evaluate.every=1", f"runs={tmp_path / 'runs'}"]
    adfm("adfm.train", "-cd", str(study), "-cn", "sweep", *small, cwd=tmp_path)
    runs = [json.loads(path.read_text()) for path in tmp_path.glob("runs/*/metrics.json")]
    assert len(runs) == 4
    assert all("balanced_accuracy" in run for run in runs)


@pytest.mark.parametrize("experiment", ["ad_fm", "anomalyr1"])
def test_both_methods_train_on_the_tiny_model_and_are_evaluated(tmp_path: Path, experiment: str) -> None:
    adfm("adfm.train", f"experiment={experiment}", "model=tiny", *SMALL, "steps=2", cwd=tmp_path)
    printed = adfm("adfm.evaluate", "samples=8", "score=direct", cwd=tmp_path)
    assert "balanced accuracy" in printed
    run = only_run(tmp_path)
    metrics = json.loads((run / "eval" / "synthetic" / "metrics.json").read_text())
    assert metrics["samples"] == 8
    page = adfm("adfm.report", cwd=tmp_path).strip().splitlines()[-1]
    assert (tmp_path / page).read_text().startswith("<!doctype html>")


def test_two_ranks_train_under_torchrun(tmp_path: Path) -> None:
    adfm("adfm.train", *SMALL, "steps=2", "engine.nproc=2", "engine=zero2", "evaluate.at_end=false", cwd=tmp_path)
    assert [line["step"] for line in steps(only_run(tmp_path))] == [0, 1, 2]


def test_two_ranks_ask_together_what_one_asks_alone_in_a_balanced_order(tmp_path: Path) -> None:
    command = [*SMALL, "dataset.train=64", "sampling=balanced", "steps=2", "evaluate.at_end=false"]
    for ranks in (1, 2):
        (tmp_path / f"{ranks}").mkdir()
        (tmp_path / f"{ranks}" / "asked.py").write_text(ASKED)
        more = [f"engine.nproc={ranks}", "+callbacks.asked._target_=asked.Asked"]
        adfm("adfm.train", *command, *more, cwd=tmp_path / f"{ranks}")
    for step in (1, 2):
        alone = (tmp_path / "1" / f"step{step}-rank0").read_text().splitlines()
        shares = [(tmp_path / "2" / f"step{step}-rank{rank}").read_text().splitlines() for rank in (0, 1)]
        assert [asked for pair in zip(*shares, strict=True) for asked in pair] == alone
        assert len(set(alone)) == 4
        labels = [asked.rpartition(" ")[2] for asked in alone]
        assert [set(labels[:2]), set(labels[2:])] == [{"True", "False"}] * 2


def test_a_lora_run_exports_an_adapter_and_merged_weights(tmp_path: Path) -> None:
    lora = ["model/lora=all_linear", "model.lora.rank=4", "checkpoint.merged=true"]
    adfm("adfm.train", *SMALL, *lora, "steps=2", "objective.beta=0.04", cwd=tmp_path)
    run = only_run(tmp_path)
    assert (run / "export" / "last" / "adapter_config.json").is_file()
    assert (run / "export" / "last-merged" / "model.safetensors").is_file()
    assert "balanced accuracy" in adfm("adfm.evaluate", f"run={run}", "which=best", "samples=4", cwd=tmp_path)
