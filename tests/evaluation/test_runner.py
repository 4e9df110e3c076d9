from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from evaluation_support import predicted, template

from adfm.config.compose import build, compose
from adfm.evaluation import runner
from adfm.evaluation.prediction import Prediction
from adfm.evaluation.score import AnswerScore
from adfm.grpo.rollout import generate
from adfm.models.vlm import VLM
from adfm.types import Sample


def untimed(predictions: list[Prediction]) -> list[Prediction]:
    """Predictions without what the clock said; scores as far as batches of other sizes agree."""
    return [replace(one, seconds=0.0, score=round(one.score, 3)) for one in predictions]


def test_a_model_predicts_every_sample_in_order(vlm: VLM, samples: list[Sample]) -> None:
    asked = template("three_stage")
    found = runner.evaluate(vlm, asked, samples, score=AnswerScore(), batch=4, title="")
    assert [one.id for one in found] == [sample.id for sample in samples]
    assert [one.anomalous for one in found] == [False] * 3 + [True] * 3
    prompt = asked.ask(samples[5], vlm.frames)
    ((alone,),) = generate(vlm, [vlm.encode(prompt)], group_size=1, temperature=0, completion_tokens=24)
    verdict = asked.read(alone.text, prompt)
    last = found[5]
    assert (last.text, last.predicted, last.boxes, last.reasons) == (
        alone.text,
        verdict.anomalous,
        verdict.boxes,
        verdict.reasons,
    )
    assert last.tokens == len(alone.token_ids)
    assert last.true_boxes == samples[5].boxes
    assert last.mask_iou == 0.0
    assert last.seconds > 0


def test_the_size_of_a_batch_changes_no_prediction(vlm: VLM, samples: list[Sample]) -> None:
    asked = template("single_stage")
    one, all_at_once = (
        runner.evaluate(vlm, asked, samples, score=AnswerScore(), batch=batch, title="") for batch in (1, 6)
    )
    assert untimed(one) == untimed(all_at_once)


def test_an_interrupted_evaluation_goes_on(vlm: VLM, samples: list[Sample], tmp_path: Path) -> None:
    asked = template("three_stage")
    whole = runner.evaluate(vlm, asked, samples, score=AnswerScore(), batch=2, title="")
    path = tmp_path / "predictions.partial"
    runner.Partial(path, "key").add([replace(one, text="taken up") for one in whole[:2]])
    with path.open("a") as file:
        file.write(whole[2].to_json()[:40])  # the process died here
    partial = runner.Partial(path, "key")
    found = runner.evaluate(vlm, asked, samples, score=AnswerScore(), batch=2, partial=partial, title="")
    assert [one.text for one in found[:2]] == ["taken up"] * 2
    assert untimed(found[2:]) == untimed(whole[2:])


def test_what_another_key_began_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "predictions.partial"
    runner.Partial(path, "old").add([predicted(0, True, True)])
    assert len(runner.Partial(path, "old").done) == 1
    assert runner.Partial(path, "new").done == []
    assert runner.Partial(path, "old").done == []


def test_a_reward_is_kept_by_term(vlm: VLM, samples: list[Sample]) -> None:
    reward = build(compose("rewards", ["reward=fine_grained"]).reward)
    found = runner.evaluate(vlm, template("three_stage"), samples[:2], score=AnswerScore(), reward=reward, title="")
    assert set(found[0].rewards) == {"classification", "localization", "format", "total"}
    assert found[0].rewards["total"] == pytest.approx(sum(v for k, v in found[0].rewards.items() if k != "total"))


def test_a_subset_is_always_the_same_and_in_order(samples: list[Sample]) -> None:
    chosen = runner.subset(samples, 3)
    assert chosen == runner.subset(samples, 3)
    assert len(chosen) == 3
    assert [sample.id for sample in chosen] == sorted(sample.id for sample in chosen)
    assert runner.subset(samples, None) == runner.subset(samples, 60) == samples
