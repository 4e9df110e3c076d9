import csv
import random
import sys
from pathlib import Path

import pytest
from elements import Elements
from fake_run import draw_sample, predict, write_evaluation

from adfm import report
from adfm.config.compose import build, compose
from adfm.config.run_folder import RunFolder, prepare
from adfm.errors import ConfigError
from adfm.tracking import study

SWEEP = """\
# Does the place of the reasoning matter?
defaults: [train, _self_]
study: places
hydra:
  mode: MULTIRUN
  sweeper:
    params:
      reasoning: three_stage,single_stage_boxes
      seed: range(0,2)
"""


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    """What keeps a run small and in a folder of its own."""
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    (checkpoint / "model.safetensors").write_bytes(b"weights")
    sizes = {f"dataset.{part}": "2" for part in ("train", "val", "test")}
    return {
        "runs": str(tmp_path / "runs"),
        "model.path": str(checkpoint),
        "dataset.root": str(tmp_path / "data"),
        **sizes,
    }


@pytest.fixture
def folder(tmp_path: Path, settings: dict[str, str]) -> Path:
    """A study of four cells."""
    made = tmp_path / "experiments" / "places"
    made.mkdir(parents=True)
    fixed = "".join(f"      {key}: {value}\n" for key, value in settings.items())
    (made / "sweep.yaml").write_text(SWEEP + fixed)
    return made


def run_cell(settings: dict[str, str], images: Path, **choices: str) -> RunFolder:
    """Prepare a cell's run as `adfm.train` does and evaluate it on ten images."""
    config = compose("train", [f"{key}={value}" for key, value in {**settings, **choices}.items()])
    run = prepare(config, build(config.dataset))
    rng = random.Random(0)
    samples = [draw_sample(images, number, rng) for number in range(10)]
    said = [predict(sample, rng, 0.9) for sample in samples]
    write_evaluation(run.evaluation("synthetic"), said, "in-domain: synthetic")
    return run


def test_cells_find_their_runs_and_missing_ones_are_shown(
    folder: Path, settings: dict[str, str], tmp_path: Path
) -> None:
    done = run_cell(settings, tmp_path / "images", reasoning="single_stage_boxes", seed="1")
    cells = study.cells(folder)
    assert [(cell.choices["reasoning"], cell.choices["seed"]) for cell in cells] == [
        *(("three_stage", "0"), ("three_stage", "1")),
        *(("single_stage_boxes", "0"), ("single_stage_boxes", "1")),
    ]
    assert [cell.dataset for cell in cells] == ["", "", "", "synthetic"]
    assert cells[3].run == done.path.name
    assert len({cell.run for cell in cells}) == 4

    lines = study.markdown(cells, ["balanced_accuracy", "box_iou"]).splitlines()
    assert lines[0].endswith("| run | dataset | trained | balanced_accuracy | box_iou |")
    assert lines[2].endswith("| — | — | — | — |")
    value = cells[3].metrics["balanced_accuracy"]["value"]
    assert f"| synthetic | in-domain: synthetic | {value:.3f} (" in lines[5]


def test_the_command_writes_results_csv(
    folder: Path,
    settings: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    run_cell(settings, tmp_path / "images", reasoning="three_stage", seed="0")
    monkeypatch.setattr(sys, "argv", ["report", f"study={folder}"])
    report.main()
    assert "| three_stage | 0 |" in capsys.readouterr().out
    with (folder / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["balanced_accuracy"] != "" for row in rows] == [True, False, False, False]
    assert [row["trained"] for row in rows] == ["in-domain: synthetic", "", "", ""]
    shown = Elements((folder / "study.html").read_text(encoding="utf-8")).texts("td")
    assert shown.count("in-domain: synthetic") == 1
    assert float(rows[0]["balanced_accuracy_low"]) <= float(rows[0]["balanced_accuracy"])


def test_a_folder_without_a_sweep_is_no_study(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no sweep\.yaml"):
        study.cells(tmp_path)


def test_a_sweep_without_choices_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text("defaults: [train, _self_]\n")
    with pytest.raises(ConfigError, match="sweeps nothing"):
        study.cells(tmp_path)


def test_the_command_writes_the_page_of_the_newest_run(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["report", f"runs={finished.parent}"])
    report.main()
    assert capsys.readouterr().out.strip() == str(finished / "report.html")
    assert (finished / "report.html").stat().st_size > 50_000
