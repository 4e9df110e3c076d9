"""From MMAD's questions to predictions and tables: every question is answered as if it were asked alone."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import grpo_support
import numpy as np
import pytest
import torch
from data_support import opened
from evaluation_support import template
from mmad_tree import BAD, BROKEN, ENTRIES, FINE, write_mmad
from torchmetrics.functional.classification import binary_auroc, binary_calibration_error

from adfm.data.mixture import Mixture
from adfm.data.mmad import is_mmad
from adfm.evaluation import metrics, runner
from adfm.evaluation.bootstrap import BINS
from adfm.evaluation.letters import letter_logprobs, log_odds_of
from adfm.evaluation.mmad import results
from adfm.evaluation.mmad.answers import read_answers
from adfm.evaluation.mmad.scoring import tables
from adfm.evaluation.prediction import Prediction
from adfm.evaluation.score import AnswerScore, NoScore, log_odds
from adfm.models.vlm import VLM
from adfm.types import Sample

ABOUT = results.About(key="k", protocol="reasoning=mmad", read_by="mmad, strict reading", trained="in-domain: visa")


@pytest.fixture(scope="module")
def vlm(checkpoint: Path) -> VLM:
    """The tokenizer of the random checkpoint makes many tokens of MMAD's words."""
    return VLM.load(grpo_support.model_config(checkpoint, prompt_tokens=2048, completion_tokens=12), train=False)


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Sequence[Sample]:
    return opened("mmad", write_mmad(tmp_path_factory.mktemp("mmad"), size=(84, 84))).split("test")


def evaluated(vlm: VLM, asked: str, samples: Sequence[Sample], answering: str, batch: int = 32) -> list[Prediction]:
    found = runner.evaluate(vlm, template(asked), samples, score=NoScore(), answering=answering, batch=batch, title="")
    return [replace(one, seconds=0.0) for one in found]


@pytest.mark.parametrize("asked", ["mmad", "single_stage", "three_stage"])
def test_written_answers_are_those_to_each_question_alone(vlm: VLM, questions: Sequence[Sample], asked: str):
    together = evaluated(vlm, asked, questions, "text", batch=4)
    assert together == [one for sample in questions for one in evaluated(vlm, asked, [sample], "text")]
    assert [one.score for one in together] == [None] * len(questions)
    first = together[0]
    assert first.question is not None
    assert (first.id, first.question["key"], first.question["kind"]) == (f"{BROKEN}#0", "A", "detection")
    assert Prediction.from_json(first.to_json()) == first


@pytest.mark.parametrize("asked", ["mmad", "single_stage", "three_stage"])
def test_letters_are_as_likely_as_for_each_question_alone(vlm: VLM, questions: Sequence[Sample], asked: str):
    made = template(asked)
    prompts = [made.ask(sample, vlm.frames) for sample in questions]
    encoded = [vlm.encode(prompt) for prompt in prompts]
    together = letter_logprobs(vlm, made, prompts, encoded)
    for prompt, prefix, found in zip(prompts, encoded, together, strict=True):
        assert found == pytest.approx(letter_logprobs(vlm, made, [prompt], [prefix])[0], abs=1e-5)
        assert set(found) == set(prompt.options)
        assert sum(map(math.exp, found.values())) == pytest.approx(1.0)
    assert log_odds_of(together[1], prompts[1]) is None


@pytest.mark.parametrize("asked", ["mmad", "single_stage", "three_stage"])
def test_the_log_odds_of_letters_are_the_direct_score(vlm: VLM, questions: Sequence[Sample], asked: str):
    made = template(asked)
    prompt = made.ask(questions[0], vlm.frames)
    encoded = [vlm.encode(prompt)]
    (found,) = letter_logprobs(vlm, made, [prompt], encoded)
    (direct,) = log_odds(vlm, made, [prompt], encoded, [[made.opening()]])
    assert [log_odds_of(found, prompt)] == pytest.approx(direct, abs=1e-5)


def test_probable_letters_are_predictions(vlm: VLM, questions: Sequence[Sample]):
    found = evaluated(vlm, "mmad", questions, "logits", batch=3)
    for one in found:
        assert one.answer_letter == max(one.letters, key=lambda letter: one.letters[letter])
        assert one.decides == (one.score is not None) == (one.predicted is not None)
    first = found[0]
    assert first.score == pytest.approx(first.letters["A"] - first.letters["B"])
    assert first.predicted is (first.answer_letter == "A")
    assert Prediction.from_json(first.to_json()) == first


def test_the_questions_of_an_image_stay_in_one_batch(questions: Sequence[Sample]):
    counts = [[sample.image.name for sample in batch] for batch in runner.batches(questions, 4)]
    assert [len(batch) for batch in counts] == [3, 3, 4, 4]
    assert [len(batch) for batch in runner.batches(questions, 1)] == [3, 2, 1, 2, 2, 1, 2, 1]
    apart = [replace(sample, image=Path(sample.id)) for sample in questions]
    assert [len(batch) for batch in runner.batches(apart, 4)] == [4, 4, 4, 2]
    assert [one for batch in runner.batches(apart, 4) for one in batch] == apart


def test_training_on_mmad_can_be_watched(vlm: VLM, questions: Sequence[Sample]):
    found = runner.evaluate(vlm, template("single_stage"), questions[:4], score=AnswerScore(), title="")
    assert [one.score is None for one in found] == [False, True, True, False]
    right = [replace(one, answer_letter=one.question["key"]) for one in found if one.question]
    watched = metrics.summary([right[0], *found[1:3], right[3]], boxes=False)
    assert watched["choice_accuracy"] == 0.5 + sum(one.answer_letter == one.question["key"] for one in found[1:3]) / 4
    assert metrics.summary(found[1:3], boxes=False).keys() == {"choice_accuracy"}
    assert "auroc" in watched
    assert metrics.table(found, boxes=False, resamples=0)["samples"] == 2


def predictions(questions: Sequence[Sample], seed: int = 0) -> list[Prediction]:
    """Answers by a coin, scores that are mostly right."""
    rng, found = np.random.default_rng(seed), []
    for sample in questions:
        assert sample.question is not None
        asked = sample.question
        decides = asked.kind == "detection"
        score = float(rng.normal(1.0 if sample.anomalous else -1.0, 1.5)) if decides else None
        shown = {"kind": asked.kind, "text": asked.text, "options": dict(asked.options), "key": asked.answer}
        found.append(
            Prediction(
                id=sample.id,
                image=str(sample.image),
                category=sample.category,
                anomalous=sample.anomalous,
                defect_type=sample.defect_type,
                attributes=sample.attributes,
                width=84,
                height=84,
                predicted=None if score is None else score > 0,
                score=score,
                answer_letter=str(rng.choice([*asked.options])) if rng.random() < 0.8 else None,
                question=shown,
                letters=dict.fromkeys(asked.options, -1.0),
            )
        )
    return found


def test_the_folder_holds_answers_and_both_tables(questions: Sequence[Sample], tmp_path: Path):
    found = predictions(questions)
    text = results.publish(tmp_path, found, ABOUT, resamples=20)
    answers = read_answers(tmp_path / "answers.json")
    assert [answer.image for answer in answers[:4]] == [BROKEN] * 3 + [answers[3].image]
    written = json.loads((tmp_path / "mmad.json").read_text())
    assert (written["key"], written["trained"]) == ("k", "in-domain: visa")
    for name, table in tables(answers, resamples=20).items():
        values = {
            row: {column: cell["value"] for column, cell in cells.items()}
            for row, cells in written["scoring"][name]["rows"].items()
        }
        assert values == table.percent()
    entry = json.loads((tmp_path / "answers.json").read_text())[1]
    assert entry["question"]["options"]["C"] == "Crack."
    assert entry["question_type"] == "Defect Classification"
    for expected in ("| official scoring", "| strict scoring", "| detection by probability", "in-domain: visa"):
        assert expected in text
    assert "Qwen2.5-VL-7B-Instruct" in text
    assert "[" in text.split("| AUROC")[1].splitlines()[0]


def test_the_answers_of_mixed_questions_have_mmads_keys(questions: Sequence[Sample], tmp_path: Path):
    mmad = opened("mmad", write_mmad(tmp_path / "data"))
    mixed = Mixture({"outer": Mixture({"VisA": mmad})}).split("test")
    assert mixed[0].id == f"outer/VisA/{BROKEN}#0"
    assert all(map(is_mmad, mixed))
    read = {}
    for name, samples in (("mixed", mixed), ("alone", questions)):
        (tmp_path / name).mkdir()
        results.publish(tmp_path / name, predictions(samples), ABOUT, resamples=0)
        read[name] = read_answers(tmp_path / name / "answers.json")
    assert read["mixed"] == read["alone"]
    assert {answer.image for answer in read["mixed"]} == set(ENTRIES)


def test_without_probabilities_nothing_ranks(questions: Sequence[Sample], tmp_path: Path):
    found = [replace(one, letters={}, score=None) for one in predictions(questions)]
    text = results.publish(tmp_path, found, replace(ABOUT, trained=""), resamples=0)
    assert "use answering=logits" in text
    assert json.loads((tmp_path / "mmad.json").read_text())["detection"] == {}


def test_ranking_and_calibration_are_torchmetrics(questions: Sequence[Sample]):
    only = [sample for sample in questions if sample.question and sample.question.kind == "detection"]
    many = [
        replace(one, id=f"{repeat}{one.id}", image=f"{repeat}{one.image}")
        for repeat in range(40)
        for one in predictions(only, seed=repeat)
    ]
    found = results.detection(many, resamples=50)
    assert found["VisA"]["AUROC"]["value"] is None  # no detection question about its anomalous image
    of_goods = [one for one in many if one.attributes["mmad_dataset"] == "GoodsAD"]
    probability = torch.tensor([one.score for one in of_goods], dtype=torch.float64).sigmoid()
    truth = torch.tensor([one.anomalous for one in of_goods]).int()
    goods = found["GoodsAD"]
    assert goods["AUROC"]["value"] == pytest.approx(100 * float(binary_auroc(probability, truth)), abs=1e-4)
    expected = binary_calibration_error(probability, truth, n_bins=BINS)
    assert goods["Calibration error"]["value"] == pytest.approx(100 * float(expected), abs=1e-3)
    assert goods["AUROC"]["low"] < goods["AUROC"]["value"] < goods["AUROC"]["high"]
    errors = [row["Calibration error"]["value"] for name, row in found.items() if name != "Average"]
    assert found["Average"]["Calibration error"]["value"] == pytest.approx(np.mean(errors))
    assert found["Average"]["AUROC"]["value"] is None


def test_only_mmads_samples_are_mmads(questions: Sequence[Sample]):
    assert all(map(is_mmad, questions))
    assert not is_mmad(replace(questions[0], question=None))
    assert not is_mmad(replace(questions[0], attributes={}))
    assert {BAD, FINE} <= {sample.id.rpartition("#")[0] for sample in questions}
