import json
import random
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from fake_run import CONFIG, draw_sample, predict, write_evaluation

from adfm import report
from adfm.errors import ConfigError, DataError
from adfm.evaluation.prediction import Prediction
from adfm.tracking.compare import compare, config_difference, evaluations
from adfm.tracking.html import compare as page


def perfect(folder: Path, count: int) -> list[Prediction]:
    rng = random.Random(0)
    made = [predict(draw_sample(folder, number, rng), rng, 1.0) for number in range(count)]
    return [replace(one, predicted=one.anomalous, boxes=one.true_boxes, reasons=()) for one in made]


def write_run(folder: Path, config: str, *datasets: tuple[str, list[Prediction]]) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(config, encoding="utf-8")
    for name, predictions in datasets:
        write_evaluation(folder / "eval" / name, predictions, f"no: {folder.parent.name}")
    return folder


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run that calls images 0 to 5 wrongly and cannot read 6, and one that is wrong on 0, 6 and 7."""
    root = tmp_path_factory.mktemp("runs of two, and more")  # a comma, which Hydra takes for a border
    right = perfect(root / "images", 12)
    wrong = [replace(one, predicted=not one.predicted, boxes=()) for one in right]
    before = [*wrong[:6], replace(right[6], predicted=None, boxes=(), reasons=("no_answer",)), *right[7:]]
    after = [wrong[0], *right[1:6], *wrong[6:8], *right[8:]]
    other = CONFIG.replace("3.0e-05", "1.0e-04").replace("study: null", "train_samples: 5\nstudy: null")
    return (
        write_run(root / "old" / "adfm-1", CONFIG, ("synthetic", before), ("mpdd", before), ("visa", before)),
        write_run(root / "new" / "adfm-1", other, ("btad", after), ("mpdd", after), ("synthetic", after)),
    )


def test_what_two_runs_differ_in(two_runs: tuple[Path, Path]) -> None:
    found = compare(*two_runs, resamples=50)
    assert (found.first, found.second) == ("old/adfm-1", "new/adfm-1")
    assert [one.dataset for one in found.datasets] == ["mpdd", "synthetic"]
    one = found.datasets[1]
    assert (one.test.only_first, one.test.only_second) == (1, 5)
    assert (one.test.right_in_both, one.test.wrong_in_both) == (4, 2)
    assert one.test.p_value == pytest.approx(14 / 64)  # 2 x (1 + 6) / 2^6
    assert {pair.first.id: pair.change for pair in one.pairs if pair.flipped} == {
        "grass/0001": "fixed",
        "gravel/0002": "fixed",
        "brick/0003": "fixed",
        "grass/0004": "fixed",
        "gravel/0005": "fixed",
        "brick/0006": "wrong in both",
        "grass/0007": "broken",
    }
    estimate = one.difference["balanced_accuracy"]
    assert estimate["value"] == pytest.approx((4 / 6 + 5 / 6) / 2 - (2 / 6 + 3 / 6) / 2, abs=1e-6)
    assert estimate["low"] <= estimate["value"] <= estimate["high"]
    assert found.config == {
        "model.learning_rate": ("3e-05", "0.0001"),
        "train_samples": (None, "5"),
    }


def test_the_command_takes_two_words(
    two_runs: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = two_runs
    monkeypatch.setattr(sys, "argv", ["adfm.report", "compare", str(old), str(new), "dataset=mpdd"])
    report.main()
    shown = capsys.readouterr().out
    assert "# mpdd, 12 samples; old/adfm-1: no: old; new/adfm-1: no: new\n" in shown
    assert "# synthetic" not in shown
    assert "5 fixed, 1 broken, 4 right in both, 2 wrong in both; exact McNemar test: p = 0.22" in shown
    assert "| model.learning_rate | 3e-05" in shown
    folder = new / "compare" / "old-adfm-1"
    assert shown.splitlines()[-2:] == [str(folder / "compare.json"), str(folder / "compare.html")]
    numbers = json.loads((folder / "compare.json").read_text())
    assert numbers["datasets"]["mpdd"]["mcnemar"]["only_second"] == 5
    assert numbers["datasets"]["mpdd"]["flipped"]["grass/0007"] == "broken"
    text = (folder / "compare.html").read_text(encoding="utf-8")
    assert [text.count(f'id="mpdd-{name}"') for name in ("broken", "fixed", "wrong-in-both")] == [1, 1, 1]
    assert text.count("<article") == 7
    assert "old/adfm-1 said unread, new/adfm-1 said normal" in text
    assert "model.learning_rate" in text


def test_hydra_s_own_words_do_the_same(
    two_runs: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    old, new = two_runs
    said = f"compare=['{old}','{new}']"
    monkeypatch.setattr(sys, "argv", ["adfm.report", said, "dataset=mpdd", f"out={tmp_path / 'out'}"])
    report.main()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["compare.html", "compare.json"]


@pytest.mark.parametrize("words", [["compare"], ["compare", "runs/one"]])
def test_one_run_is_too_few(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["adfm.report", *words])
    with pytest.raises(SystemExit) as left:
        report.main()
    assert left.value.code == 2
    assert "compare takes two runs: python -m adfm.report compare RUN_A RUN_B" in capsys.readouterr().err


def test_a_page_without_flips_says_so(two_runs: tuple[Path, Path], tmp_path: Path) -> None:
    old, _ = two_runs
    found = compare(old / "eval" / "..", old.parent / "adfm-1" / "eval", dataset="mpdd", resamples=0)
    assert found.config is None  # the second is no run folder
    text = page.write(tmp_path / "compare.html", found).read_text(encoding="utf-8")
    assert "No verdict flipped on mpdd." in text
    assert "<article" not in text


def test_errors_name_what_is_wrong(two_runs: tuple[Path, Path], tmp_path: Path) -> None:
    old, new = two_runs
    with pytest.raises(
        ConfigError, match=r"dataset=visa was not evaluated in both runs \(.*mpdd, synthetic, visa; .*bt"
    ):
        compare(old, new, dataset="visa")
    with pytest.raises(ConfigError, match=r"holds no evaluation .*use python -m adfm\.evaluate run="):
        evaluations(tmp_path)
    alone = write_run(tmp_path / "alone", CONFIG, ("dagm", perfect(tmp_path / "images", 3)))
    with pytest.raises(ConfigError, match="no common data set"):
        compare(old, alone)
    with pytest.raises(ConfigError, match="compared with itself"):
        compare(old, old)
    shorter = write_run(tmp_path / "shorter", CONFIG, ("mpdd", perfect(tmp_path / "images", 11)))
    with pytest.raises(DataError, match="cannot be compared: gravel/0011 is in the first run alone"):
        compare(old, shorter)


def test_configs_that_say_the_same_do_not_differ(two_runs: tuple[Path, Path]) -> None:
    assert config_difference(two_runs[0], two_runs[0]) == {}
