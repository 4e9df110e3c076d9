import random
from pathlib import Path

from fake_run import FakeRun, make_group, read_verdict

from adfm.tracking import jsonl
from adfm.tracking.gallery import Gallery
from adfm.types import Sample, StepRecord


def run_steps(run: FakeRun, sample: Sample, steps: range, **options: int) -> list[str]:
    gallery = Gallery(**options)
    gallery.before_run(run)
    group = make_group(sample, [read_verdict(sample, random.Random(seed), 1.0) for seed in range(3)])
    gallery.after_step(StepRecord(step=0, groups=(), metrics={}))
    for step in steps:
        gallery.after_step(StepRecord(step=step, groups=[group, group], metrics={}))
    gallery.after_run()
    return sorted(path.name for path in (run.path / "samples").glob("*"))


def test_files_of_the_first_step_and_of_every_tenth(run_folder: Path, sample: Sample) -> None:
    names = run_steps(FakeRun(run_folder), sample, range(1, 25))
    assert names == ["step_000001.jsonl", "step_000010.jsonl", "step_000020.jsonl"]


def test_a_resumed_run_drops_the_files_it_makes_again(run_folder: Path, sample: Sample) -> None:
    run_steps(FakeRun(run_folder), sample, range(1, 31))
    names = run_steps(FakeRun(run_folder, step=20), sample, range(21, 23))
    assert names == ["step_000001.jsonl", "step_000010.jsonl", "step_000020.jsonl"]


def test_a_line_says_all_about_a_completion(run_folder: Path, sample: Sample) -> None:
    run_steps(FakeRun(run_folder), sample, range(1, 2), groups=1)
    rows = jsonl.read(run_folder / "samples" / "step_000001.jsonl")
    assert len(rows) == 3
    row = rows[0]
    assert row["prompt"] == sample.id
    assert row["true_boxes"] == [list(sample.boxes[0])]
    assert row["verdict"] is True
    assert row["rewards"] == {"classification": 1.0, "localization": 0.5, "format": 1.0}
    assert row["total"] == 1.6
    assert set(row["stages"]) == {"think", "rethink", "answer"}


def test_other_ranks_write_nothing(run_folder: Path, sample: Sample) -> None:
    assert run_steps(FakeRun(run_folder, is_main=False), sample, range(1, 11)) == []
