import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
from elements import Elements, columns, kinds
from fake_run import draw_sample, predict, write_evaluation

from adfm.errors import DataError
from adfm.evaluation import true_masks
from adfm.evaluation.prediction import Prediction
from adfm.evaluation.prediction import write as write_predictions
from adfm.tracking.html import charts, evaluation, thresholds
from adfm.types import Sample


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    rng = random.Random(0)
    return [draw_sample(tmp_path / "images", number, rng) for number in range(8)]


@pytest.fixture
def predictions(samples: list[Sample]) -> list[Prediction]:
    rng = random.Random(1)
    return [predict(sample, rng, 0.7) for sample in samples]


def page_of(folder: Path) -> str:
    return evaluation.write(folder).read_text(encoding="utf-8")


def test_an_evaluation_has_a_page_of_its_own(predictions: list[Prediction], tmp_path: Path) -> None:
    folder = tmp_path / "eval" / "synthetic"
    write_evaluation(folder, predictions, "in-domain: synthetic")
    page = page_of(folder)
    assert page.count("in-domain: synthetic") == 1
    elements = Elements(page)
    assert len(kinds(elements)) == 8
    assert columns(elements)[:2] == ["value", "always normal"]
    write_evaluation(tmp_path / "eval" / "before" / "synthetic", predictions)
    assert columns(Elements(page_of(folder)))[:4] == ["before", "after", "change", "always normal"]


def test_true_masks_are_a_layer(samples: list[Sample], predictions: list[Prediction], tmp_path: Path) -> None:
    folder = tmp_path / "eval" / "synthetic"
    write_evaluation(folder, predictions)
    assert not Elements(page_of(folder)).of("image", class_="true-mask")
    true_masks.write(folder / true_masks.NAME, samples)
    anomalous = sum(sample.anomalous for sample in samples)
    main_and_three_draws = 4
    assert len(Elements(page_of(folder)).of("image", class_="true-mask")) == anomalous * main_and_three_draws
    (folder / true_masks.NAME).write_text('{"id": "a"}\n')
    with pytest.raises(DataError, match=r"true_masks\.jsonl, line 1"):
        evaluation.write(folder)


def test_what_metrics_json_has_beside_the_metrics_is_shown(predictions: list[Prediction], tmp_path: Path) -> None:
    folder = tmp_path / "eval" / "synthetic"
    write_evaluation(folder, predictions)
    file = folder / "metrics.json"
    more = {
        "confusion": {"hole": {"hole": 7, "crack": 2}, "crack": {"crack": 5}},
        "parse_failures": {"no_answer": 0.0625},
        "agreement": {"value": 0.4375, "low": 0.25, "high": 0.5},
        "throughput": {"images_per_second": 12.25, "nested": {"a": {"b": 1}}},
    }
    file.write_text(json.dumps(json.loads(file.read_text()) | more))
    page = page_of(folder)
    cells = Elements(page).texts("td")
    assert {"7", "2", "5", "0.062", "0.438", "12.250", "1"} <= set(cells)
    for title in ("Confusion", "Parse failures", "Agreement", "Throughput"):
        assert f"<h2>{title}" in page


def test_mmad_has_its_tables_and_its_letters(samples: list[Sample], predictions: list[Prediction], tmp_path: Path):
    options = {"A": "a scratch", "B": "a hole"}
    asked = {"kind": "Defect Classification", "text": "Which one?", "options": options, "key": "B"}
    letters = ("A", "B", None, "B")
    rows = [
        replace(one, question=asked, predicted=None, answer_letter=letter, score=None)
        for one, letter in zip(predictions, letters, strict=False)
    ]
    folder = tmp_path / "eval" / "mmad"
    write_predictions(folder / "predictions.jsonl", rows)
    estimate = {"value": 60.625, "low": 50.0, "high": 70.25}
    scoring = {"strict": {"rows": {"DS-MVTec": {"Defect Classification": estimate}}, "counts": {"counted": 4}}}
    (folder / "mmad.json").write_text(json.dumps({"key": "k", "protocol": "p", "scoring": scoring, "detection": {}}))
    page = page_of(folder)
    assert sorted(kinds(Elements(page))) == ["right", "right", "unread", "wrong letter"]
    assert "60.6" in page
    assert "50.0–70.2" in page
    assert "Which one?" in page
    assert "of 4 questions shown" in page


def test_no_finished_evaluation_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"neither metrics\.json nor mmad\.json"):
        evaluation.write(tmp_path)


def test_overkill_and_miss_are_those_of_each_threshold() -> None:
    scores, truth = [3.0, 2.0, 2.0, 1.0], [True, True, False, False]
    assert thresholds.trade_off(scores, truth) == [(3.0, 0.0, 0.5), (2.0, 0.5, 0.0), (1.0, 1.0, 0.0)]


def test_the_plot_marks_the_verdicts_and_what_the_baselines_do(predictions: list[Prediction]) -> None:
    known = [
        *(replace(predictions[0], anomalous=True, predicted=called, score=1.0) for called in (True, None)),
        *(
            replace(predictions[0], anomalous=False, predicted=called, score=0.0)
            for called in (False, False, True, None)
        ),
    ]
    measured = {"baselines": {"always normal": {"overkill": {"value": 0.0}, "miss": {"value": 1.0}}}}
    plane, line = thresholds.panels(known, measured)
    axes = charts.Axes((0.0, 1.0), (-0.06, 1.06))
    verdicts = f'cx="{axes.across(0.5):.1f}" cy="{axes.down(0.5):.1f}"'  # an unread verdict is wrong on both sides
    assert verdicts in plane.svg
    assert "always normal" in plane.legend
    assert "even odds" in line.legend
    assert thresholds.panels(known[:2], measured) == []
    assert thresholds.panels([replace(one, score=None) for one in known], measured) == []
