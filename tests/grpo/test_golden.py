"""The loop's arithmetic over ten steps is what it was; a change of these numbers needs a reason in its commit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import golden_run
import pytest


def check(found: dict[str, Any], golden: Path) -> None:
    expected = json.loads((golden / "trajectory.json").read_text())
    assert len(found["steps"]) == len(expected["steps"]) == golden_run.STEPS
    for number, (step, wanted) in enumerate(zip(found["steps"], expected["steps"], strict=True), start=1):
        for name, value in wanted.items():
            assert step[name] == pytest.approx(value, rel=1e-4, abs=1e-5), f"step {number}, {name}"
    assert found["norms"] == pytest.approx(expected["norms"], rel=1e-4)


def test_golden_trajectory(golden: Path) -> None:
    found = golden_run.trajectory()
    assert found is not None
    check(found, golden)


@pytest.mark.slow
def test_two_ranks_follow_the_golden_trajectory(golden: Path, tmp_path: Path) -> None:
    output = tmp_path / "two_ranks.json"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run([*launcher, golden_run.__file__, str(output)], check=True, timeout=300)
    check(json.loads(output.read_text()), golden)
