from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from grpo_support import FAMILIES


@pytest.mark.slow
@pytest.mark.parametrize("family", list(FAMILIES))
def test_two_ranks_train_alike_at_every_zero_stage(family, tmp_path):
    worker = Path(__file__).with_name("loop_on_two_ranks.py")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(str(folder) for folder in worker.parents[:3])}
    command = [*torchrun, str(worker), family, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert (tmp_path / "found.json").exists(), done.stderr[-4000:]
    for one in json.loads((tmp_path / "found.json").read_text()):
        assert one["sharded_norms"] == pytest.approx(one["norms"], rel=1e-4)
        assert one["difference"] < 5e-4
        assert one["agree"]
