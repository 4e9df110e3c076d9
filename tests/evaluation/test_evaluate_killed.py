"""An evaluation in its own process, with the embedded model, killed and started again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from killed_process import finish, kill_when, lines_of, start

from adfm.config.run_folder import checkpoint_hash

pytestmark = pytest.mark.slow

IMAGES = 32
BATCH = 2


def content(folder: Path) -> dict[str, Any]:
    """Every file of an evaluation but its page, without what the clock said."""
    found: dict[str, Any] = {
        file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()
    }
    del found["report.html"]
    for name in ("predictions.jsonl", "threshold.jsonl"):
        found[name] = [{**json.loads(line), "seconds": 0} for line in lines_of(folder / name)]
    return found


@pytest.mark.parametrize("draws", [1, 2])
def test_killed_and_started_again_it_ends_with_the_same_files(
    draws: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADFM_CACHE", str(tmp_path / "cache"))
    data = ["dataset=synthetic", "dataset.train=16", "dataset.val=8", f"dataset.test={IMAGES}"]
    asked = ["checkpoint=tiny", "model=tiny", "reasoning=three_stage", "masks=box", "calibrate=true", f"draws={draws}"]

    def folder(runs: str) -> Path:
        return tmp_path / runs / "checkpoints" / checkpoint_hash("tiny", None) / "eval" / "synthetic"

    def evaluation(runs: str) -> list[str]:
        processes = {"whole": 1, "killed": 2}[runs]  # two share the batches, in the same order
        return ["adfm.evaluate", *data, *asked, f"batch={BATCH}", f"nproc={processes}", f"runs={tmp_path / runs}"]

    printed = finish(start(*evaluation("whole")))
    assert f"{IMAGES} images" in printed
    assert "score at val threshold" in printed

    killed = folder("killed")
    partial = killed / "predictions.partial"
    kept: set[str] = set()
    for least in (1, 9):
        kill_when(start(*evaluation("killed")), lambda least=least: len(lines_of(partial)) > least)
        rows = lines_of(partial)[1:]
        assert least <= len(rows) < IMAGES
        kept |= set(rows[: len(rows) // BATCH * BATCH])
    kill_when(start(*evaluation("killed")), lambda: bool(lines_of(killed / "threshold.partial")[1:]))
    kill_when(start(*evaluation("killed")), (killed / "predictions.jsonl").exists)
    assert not (killed / "metrics.json").exists()
    resumed = finish(start(*evaluation("killed")))
    assert resumed.splitlines()[:-1] == printed.splitlines()[:-1]  # the last line says where the page lies
    assert content(killed) == content(folder("whole"))
    assert not partial.exists()
    assert len(kept) >= 9 // BATCH * BATCH
    assert kept <= set(lines_of(killed / "predictions.jsonl"))  # with the seconds that they took when they were made
