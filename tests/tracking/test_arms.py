from __future__ import annotations

import csv
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from fake_run import CONFIG, write_evaluation

from adfm import report
from adfm.config.run_folder import RunFolder
from adfm.errors import DataError
from adfm.evaluation.prediction import Prediction
from adfm.tracking import arms, jsonl, study
from adfm.tracking.arms import Arm
from adfm.tracking.html import study as page
from adfm.tracking.html.arms import markdown, tables_of
from adfm.tracking.study import Cell

SIZE = {"width": 20, "height": 10}


def predictions(reward: float, right: int, count: int = 8) -> list[Prediction]:
    """Predictions about `count` images, every second anomalous, the first `right` of them called as they are."""
    return [
        Prediction(
            id=f"{n}",
            image=f"{n}.png",
            category="tile",
            anomalous=n % 2 == 0,
            defect_type="crack" if n % 2 == 0 else None,
            predicted=(n % 2 == 0) == (n < right),
            score=float(n),
            rewards={"classification": reward / 2, "total": reward + n / 100},
            **SIZE,
        )
        for n in range(count)
    ]


def make_run(path: Path, *, after: float, control: float | None = None, steps: int = 4) -> RunFolder:
    """Make the folder of a run whose rewards rise from 1 to `after` on the test part."""
    path.mkdir(parents=True)
    (path / "config.yaml").write_text(CONFIG + "evaluate: {metric: box_iou}\n")
    write_evaluation(path / "eval" / "before" / "tiles", predictions(1.0, 4), "not known")
    write_evaluation(path / "eval" / "tiles", predictions(after, 6), f"in-domain: {path.name[0]}")
    if control is not None:
        write_evaluation(path / "eval" / "control" / "tiles", predictions(control, 5))
    lines = []
    for step in range(steps + 1):
        line = {
            "step": step,
            "val/balanced_accuracy": 0.8 + 0.01 * step,
            "val/box_iou": 0.3 + after * step * (3 - step),
        }
        terms = {f"reward/{term}_mean": 0.5 + 0.1 * step for term in ("localization", "classification", "format")}
        lines.append(jsonl.line(line | (terms if step else {})))
    (path / "metrics.jsonl").write_text("".join(lines))
    return RunFolder(path)


@pytest.fixture
def two_arms(tmp_path: Path) -> list[Arm]:
    """Two seeds of one arm, one seed of another, and a cell that is missing."""
    runs = {
        ("strict", "0"): make_run(tmp_path / "a0", after=2.0, control=1.5),
        ("strict", "1"): make_run(tmp_path / "a1", after=4.0, control=1.5),
        ("plain", "0"): make_run(tmp_path / "b0", after=1.0),
        ("plain", "1"): RunFolder(tmp_path / "missing"),
    }
    cells = [
        Cell(choices={"reward": reward, "seed": seed}, folder=run, dataset="", metrics={})
        for (reward, seed), run in runs.items()
    ]
    return arms.arms(cells)


def test_arms_are_cells_without_their_seed(two_arms: list[Arm]) -> None:
    assert [(arm.name, list(arm.folders)) for arm in two_arms] == [("strict", ["0", "1"]), ("plain", ["0", "1"])]
    assert [arm.datasets() for arm in two_arms] == [["tiles"], ["tiles"]]
    assert [list(arm.records()) for arm in two_arms] == [["0", "1"], ["0"]]
    (alone,) = arms.arms([Cell(choices={"reasoning": "x"}, folder=RunFolder(Path("gone")), dataset="", metrics={})])
    assert (alone.name, list(alone.folders), alone.datasets()) == ("x", ["-"], [])


def test_every_side_is_compared(two_arms: list[Arm]) -> None:
    found = {(row.arm, row.quantity, row.metric): row.pooled for row in arms.evaluated(two_arms, resamples=50)}
    mean = sum(range(8)) / 800
    assert found["strict", "before", "reward"].value == pytest.approx(1 + mean)
    change = found["strict", "after - before", "reward"]
    assert (change.value, dict(change.seeds)) == (pytest.approx(2.0), {"0": pytest.approx(1), "1": pytest.approx(3)})
    assert found["strict", "after - control", "reward"].value == pytest.approx(1.5)
    assert found["strict", "after - before", "reward/classification"].value == pytest.approx(1.0)
    assert found["strict", "after - before", "balanced_accuracy"].value == pytest.approx(0.25)
    assert ("plain", "after - control", "reward") not in found
    assert found["plain", "after - strict", "balanced_accuracy"].value == 0.0
    assert ("plain", "after - strict", "reward") not in found  # other rewards pay for other things


def test_runs_on_other_samples_are_refused_in_one_arm(two_arms: list[Arm], tmp_path: Path) -> None:
    write_evaluation(tmp_path / "a1" / "eval" / "tiles", predictions(2.0, 6, count=6))
    with pytest.raises(DataError, match=r"evaluate\.test_samples"):
        arms.evaluated(two_arms)


def test_looks_at_the_validation_part(two_arms: list[Arm]) -> None:
    found = {(row.arm, row.quantity, row.metric): row.pooled.value for row in arms.validated(two_arms)}
    # box_iou = 0.3 + after * step * (3 - step): the chosen look is that of step 1, the first of two equals.
    assert found["strict", "start", "box_iou"] == pytest.approx(0.3)
    assert found["strict", "best", "box_iou"] == pytest.approx(0.3 + 3.0 * 2)
    assert found["strict", "best - start", "balanced_accuracy"] == pytest.approx(0.01)
    assert found["strict", "last - start", "balanced_accuracy"] == pytest.approx(0.04)
    assert found["plain", "last", "box_iou"] == pytest.approx(0.3 - 4)


def test_the_tables_say_what_was_found(two_arms: list[Arm], tmp_path: Path) -> None:
    rows = [*arms.evaluated(two_arms, resamples=50), *arms.validated(two_arms)]
    text = markdown(tables_of(rows, ["balanced_accuracy", "box_iou"]))
    assert "strict, on tiles (mean over 2 seeds; brackets: 95% over images; in-domain: a)" in text
    assert "Between arms, on tiles (after training, paired by image; in-domain: b / in-domain: a)" in text
    (reward,) = [line for line in text.splitlines() if line.startswith("| reward ")][:1]
    assert "| +2.000 [+2.000, +2.000]" in reward
    assert "| 1.414 " in reward
    assert "plain - strict" in text
    assert "0.800 → 0.810 → 0.840 ± 0.000" in text
    arms.write_csv(tmp_path / "pooled.csv", rows)
    with (tmp_path / "pooled.csv").open() as file:
        written = list(csv.DictReader(file))
    labels = {(line["arm"], line["quantity"]): line["trained"] for line in written}
    assert (labels["strict", "before"], labels["strict", "after"]) == ("not known", "in-domain: a")
    assert (labels["strict", "control"], labels["strict", "after - control"]) == ("", "in-domain: a")
    assert labels["plain", "after - strict"] == "in-domain: b / in-domain: a"
    lines = [line for line in written if line["quantity"] == "after - before"]
    (reward,) = [line for line in lines if (line["arm"], line["metric"]) == ("strict", "reward")]
    assert (reward["value"], reward["seeds"], reward["seed_deviation"]) == ("2.0", "0:1.0 1:3.0", "1.414214")


def test_curves_are_means_over_seeds(two_arms: list[Arm], tmp_path: Path) -> None:
    drawn = dict(page.drawings(two_arms))
    assert list(drawn) == [
        *("strict: validation, 2 seeds", "strict: training, 2 seeds"),
        *("plain: validation, 1 seed", "plain: training, 1 seed"),
    ]
    accuracy, iou = drawn["strict: validation, 2 seeds"]
    assert accuracy.name == "balanced accuracy (from 0.8)"
    assert [step for step, _ in iou.points] == [0, 1, 2, 3, 4]
    assert [y for _, y in iou.points] == pytest.approx([0, 6, 6, 0, -12])
    assert iou.spread == pytest.approx([0, 2 * 2**0.5, 2 * 2**0.5, 0, 4 * 2**0.5])
    classification, localization = drawn["plain: training, 1 seed"]
    assert (classification.name, localization.name) == ("classification (from 0.6)", "localization (from 0.6)")
    assert localization.spread is None
    assert page.write_figure(tmp_path / "study.svg", two_arms)
    figure = ElementTree.parse(tmp_path / "study.svg").getroot()
    assert len(figure.findall(".//{*}polyline")) == 8
    assert not page.write_figure(tmp_path / "none.svg", [])


def test_the_command_writes_tables_page_and_figure(
    two_arms: list[Arm], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = [
        Cell(choices={"reward": arm.name, "seed": seed}, folder=folder, dataset="", metrics={})
        for arm in two_arms
        for seed, folder in arm.folders.items()
    ]
    monkeypatch.setattr(study, "cells", lambda _: cells)
    (tmp_path / "tune.yaml").write_text("defaults: [train]\n")
    monkeypatch.setattr(sys, "argv", ["report", f"study={tmp_path / 'tune.yaml'}"])
    report.main()
    out = capsys.readouterr().out
    assert "Between arms, on tiles" in out
    for name in ("tune-results.csv", "tune-pooled.csv", "tune-study.html", "tune-study.svg"):
        assert str(tmp_path / name) in out
        assert (tmp_path / name).stat().st_size > 0
    html = (tmp_path / "tune-study.html").read_text()
    assert html.count('<svg class="chart"') == 4
    assert 'class="up"' in html
