import json
from pathlib import Path

import pytest
from fake_run import FakeRun

from adfm.errors import DataError
from adfm.tracking import jsonl
from adfm.tracking.jsonl import JsonLines
from adfm.types import StepRecord


def record(step: int, **metrics: float) -> StepRecord:
    return StepRecord(step=step, groups=(), metrics={"loss": 0.5, **metrics})


def log(run: FakeRun, steps: range) -> None:
    logger = JsonLines()
    logger.before_run(run)
    for step in steps:
        logger.after_step(record(step))
    logger.after_run()


def test_one_line_a_step_with_step_time_and_every_metric(run_folder: Path) -> None:
    logger = JsonLines()
    logger.before_run(FakeRun(run_folder))
    logger.after_step(record(1, **{"val/box_iou": 0.25}))
    lines = (run_folder / "metrics.jsonl").read_text().splitlines()  # before the run ends: every line is flushed
    logger.after_run()
    (line,) = [json.loads(text) for text in lines]
    assert line["time"] > 1_700_000_000
    assert {name: value for name, value in line.items() if name != "time"} == {
        "step": 1,
        "loss": 0.5,
        "val/box_iou": 0.25,
    }


def test_a_resumed_run_has_every_step_once(run_folder: Path) -> None:
    log(FakeRun(run_folder), range(8))
    with (run_folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "lo')  # killed while writing
    log(FakeRun(run_folder, step=4), range(5, 11))
    assert [line["step"] for line in jsonl.read(run_folder / "metrics.jsonl")] == list(range(11))


def test_a_run_that_starts_again_leaves_nothing_behind(run_folder: Path) -> None:
    log(FakeRun(run_folder), range(4))
    log(FakeRun(run_folder), range(2))
    assert [line["step"] for line in jsonl.read(run_folder / "metrics.jsonl")] == [0, 1]
    assert not list(run_folder.glob("*.cut"))


def test_only_rank_0_writes(run_folder: Path) -> None:
    log(FakeRun(run_folder, is_main=False), range(1, 4))
    assert not (run_folder / "metrics.jsonl").exists()


def test_numbers_that_json_cannot_say_are_null(run_folder: Path) -> None:
    logger = JsonLines()
    logger.before_run(FakeRun(run_folder))
    logger.after_step(record(1, kl=float("nan"), grad_norm=float("inf")))
    logger.after_run()
    (line,) = jsonl.read(run_folder / "metrics.jsonl")
    assert line["kl"] is None
    assert line["grad_norm"] is None


@pytest.mark.parametrize("broken", ['{"step": 2, "lo', "[1, 2]", "NaN"])
def test_a_broken_line_in_the_middle_is_named(run_folder: Path, broken: str) -> None:
    path = run_folder / "metrics.jsonl"
    path.write_text(f'{{"step": 1}}\n{broken}\n{{"step": 3}}\n')
    with pytest.raises(DataError, match=r"metrics.jsonl:2 is not a"):
        jsonl.read(path)
