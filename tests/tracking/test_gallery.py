import random
from dataclasses import replace
from pathlib import Path

import numpy as np
from fake_run import FakeRun, make_group, read_verdict
from PIL import Image

from adfm.tracking import drawing, jsonl
from adfm.tracking.gallery import Gallery, snapshot
from adfm.types import Sample, StepRecord


def run_steps(run: FakeRun, sample: Sample, steps: range, **options: int) -> list[str]:
    gallery = Gallery(**options)
    gallery.before_run(run)
    group = make_group(sample, [read_verdict(sample, random.Random(seed), 1.0) for seed in range(3)])
    gallery.after_step(StepRecord(step=0, groups=(), metrics={}))
    for step in steps:
        gallery.after_step(StepRecord(step=step, groups=[group, group], metrics={}))
    gallery.after_run()
    return sorted(path.name for path in (run.path / "samples").glob("*.jsonl"))


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


def test_a_picture_beside_each_file(run_folder: Path, sample: Sample) -> None:
    run_steps(FakeRun(run_folder), sample, range(1, 25))
    run_steps(FakeRun(run_folder, step=10), sample, range(11, 13))
    names = sorted(path.name for path in (run_folder / "samples").glob("*.png"))
    assert names == ["step_000001.png", "step_000010.png"]


def test_the_picture_shows_true_and_predicted_boxes_of_the_first_defective_image(sample: Sample) -> None:
    """64 x 48 pixels are enlarged four times."""
    sample = replace(sample, stated_boxes=((10.0, 5.0, 30.0, 20.0),))
    verdict = replace(read_verdict(sample, random.Random(0), 1.0), boxes=((40.0, 25.0, 60.0, 45.0),))
    shown = np.asarray(snapshot(10, make_group(sample, [verdict])))
    assert shown.shape[1] == 256
    assert shown.shape[0] > 48 * 4
    for colour, (x0, y0, x1, y1) in (
        (drawing.TRUE, (40, 20, 120, 80)),
        (drawing.PREDICTED, (160, 100, 240, 180)),
    ):
        rows, columns = np.nonzero((shown[: 48 * 4] == colour).all(-1))
        assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (x0, y0, x1, y1)


def test_a_step_without_a_defect_shows_its_first_image(run_folder: Path, sample: Sample) -> None:
    gallery = Gallery(every=1)
    gallery.before_run(FakeRun(run_folder))
    normal = replace(sample, anomalous=False, stated_boxes=(), defect_type=None)
    group = make_group(normal, [read_verdict(normal, random.Random(0), 1.0)])
    gallery.after_step(StepRecord(step=3, groups=[group], metrics={}))
    assert (run_folder / "samples" / "step_000003.png").stat().st_size < 100_000


def test_a_large_image_is_made_smaller() -> None:
    boxes = {"true": ([(0.0, 0.0, 1500.0, 3000.0)], drawing.TRUE)}
    shown = drawing.picture(Image.new("RGB", (1500, 3000)), boxes, ["a line " * 20])
    assert shown.width == 256
    assert 512 + 3 * drawing.LINE < shown.height < 700
    assert shown.getpixel((0, 0)) == drawing.TRUE


def test_other_ranks_write_nothing(run_folder: Path, sample: Sample) -> None:
    assert run_steps(FakeRun(run_folder, is_main=False), sample, range(1, 11)) == []
