from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluation_support import predicted, template

from adfm.config.compose import build, compose
from adfm.data.images import read_image
from adfm.evaluation import runner
from adfm.evaluation.decoding import Decoding, Draws, Greedy
from adfm.evaluation.inspection import Inspection
from adfm.evaluation.prediction import Prediction
from adfm.evaluation.score import AnswerScore, NoScore
from adfm.grpo.rollout import generate
from adfm.masks.rle import rle_mask
from adfm.masks.segmenter import BoxMasks
from adfm.models.vlm import VLM
from adfm.reasoning.three_stage import ThreeStage
from adfm.types import Box, Prompt, Sample, Template, Verdict


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


def test_the_size_of_a_batch_changes_no_draw(vlm: VLM, samples: list[Sample]) -> None:
    def found(batch: int, seed: int) -> list[Prediction]:
        draws = Draws(3, 1.0, seed)
        asked = template("three_stage")
        return runner.evaluate(vlm, asked, samples[:4], score=AnswerScore(), decoding=draws, batch=batch, title="")

    one = found(1, 0)
    assert untimed(one) == untimed(found(4, 0))
    assert all(len(of_image.draws) == 3 for of_image in one)
    assert [of_image.draws for of_image in one] != [of_image.draws for of_image in found(4, 1)]


class Written(ThreeStage):
    """Reads the same three texts one after another, whatever is written: two see a dent, one sees nothing."""

    def __init__(self) -> None:
        vars(self).update(vars(template("three_stage")))
        seen = "<think>A dent at [10, 20, 30, 40].</think><rethink>Real, so a.</rethink><answer>a</answer>"
        self.texts = cycle([seen, seen, "<think>even</think><rethink>so b.</rethink><answer>b</answer>"])

    def read(self, text: str, prompt: Prompt) -> Verdict:
        return super().read(next(self.texts), prompt)


def test_an_inspection_of_several_draws_is_their_consensus(vlm: VLM, samples: list[Sample]) -> None:
    asked, decoding = Written(), Draws(3)
    anomalous = next(sample for sample in samples if asked.ask(sample, vlm.frames).choices["a"])
    (found,) = runner.inspect(vlm, asked, [anomalous], score=AnswerScore(), decoding=decoding, types=("dent", "crack"))
    prompt = asked.ask(anomalous, vlm.frames)
    (group,) = decoding(vlm, [prompt], [vlm.encode(prompt)])
    assert found.tokens == sum(len(one.token_ids) for one in group)
    assert [draw.predicted for draw in found.draws] == [True, True, False]
    assert (found.predicted, found.answer_letter, found.named_type) == (True, "a", "dent")
    assert found.boxes_written == ((10.0, 20.0, 30.0, 40.0),)
    assert found.confidences == pytest.approx((2 / 3,))
    assert found.score is not None
    assert found.seconds > 0


def test_masks_are_the_union_of_those_of_the_boxes(vlm: VLM, samples: list[Sample]) -> None:
    seen: list[np.ndarray] = []

    class LeftHalf(BoxMasks):
        def __call__(self, image: np.ndarray, boxes: Sequence[Box]) -> np.ndarray:
            seen.append(image)
            return super().__call__(image, [(x0, y0, (x0 + x1) / 2, y1) for x0, y0, x1, y1 in boxes])

    def found(segmenter: BoxMasks | None, asked: Template, decoding: Decoding) -> list[Prediction]:
        return runner.evaluate(
            vlm, asked, samples[4:], score=NoScore(), decoding=decoding, segmenter=segmenter, batch=2, title=""
        )

    for one in found(LeftHalf(), Written(), Draws(3)):
        assert one.boxes == ((10.0, 20.0, 30.0, 40.0),)
        assert one.mask is not None
        mask = rle_mask(one.mask)
        assert mask.shape == (84, 112)
        assert mask.sum() == mask[20:40, 10:20].sum() == 200
        assert one.mask_iou == 0.0  # the true one begins at 30
    np.testing.assert_array_equal(seen[0], np.asarray(read_image(samples[4].image)))
    assert [one.mask for one in found(None, Written(), Draws(3))] == [None, None]
    unread = found(LeftHalf(), template("three_stage"), Greedy())
    assert [one.mask is not None and rle_mask(one.mask).sum() for one in unread] == [0, 0]


def whole_evaluation(vlm: VLM, samples: list[Sample], partial: runner.Partial | None) -> list[Prediction]:
    asked = template("three_stage")
    found = runner.evaluate(
        vlm, asked, samples, score=AnswerScore(), decoding=Draws(2), batch=2, partial=partial, title=""
    )
    return [replace(one, seconds=0.0) for one in found]


def test_an_interrupted_evaluation_goes_on(
    vlm: VLM, samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches that are whole are kept as they are, others are done again, the same as before: bit for bit."""
    whole = whole_evaluation(vlm, samples, None)
    path = tmp_path / "predictions.partial"
    kept = [replace(one, text="taken up") for one in whole[:3]]
    runner.Partial(path, "key").add(kept)
    with path.open("a") as file:
        file.write(whole[3].to_json()[:40])  # the process died here
    inspected: list[list[str]] = []
    inspect = runner.inspect

    def watched(vlm: VLM, template: Template, samples: Sequence[Sample], **settings: Any) -> list[Inspection]:
        inspected.append([sample.id for sample in samples])
        return inspect(vlm, template, samples, **settings)

    monkeypatch.setattr(runner, "inspect", watched)
    found = whole_evaluation(vlm, samples, runner.Partial(path, "key"))
    assert inspected == [["sample 2", "sample 3"], ["sample 4", "sample 5"]]
    assert found == [*kept[:2], *whole[2:]]
    assert whole_evaluation(vlm, samples, runner.Partial(path, "key")) == found
    assert len(inspected) == 2


def test_wherever_the_file_is_cut_the_same_comes_out(
    vlm: VLM, samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(vlm: VLM, template: Template, samples: Sequence[Sample], **_: Any) -> list[Inspection]:
        return [Inspection(predicted=True, score=float(len(one.id)), text=f"ein Riß: {one.id}") for one in samples]

    monkeypatch.setattr(runner, "inspect", said)
    path = tmp_path / "predictions.partial"
    whole = whole_evaluation(vlm, samples, runner.Partial(path, "key"))
    content = path.read_bytes()
    half_a_letter = content.index("ß".encode()) + 1
    for size in (half_a_letter, *range(0, len(content) + 1, 97), len(content) - 1, len(content)):
        path.write_bytes(content[:size])
        assert whole_evaluation(vlm, samples, runner.Partial(path, "key")) == whole
        assert whole_evaluation(vlm, samples, runner.Partial(path, "key")) == whole


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
