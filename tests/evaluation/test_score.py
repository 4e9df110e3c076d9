from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from evaluation_support import template

from adfm.errors import ConfigError
from adfm.evaluation.decoding import Decoding, Draws, Greedy
from adfm.evaluation.score import (
    SCORES,
    AnswerScore,
    DirectScore,
    Score,
    log_odds,
    mean_log_odds,
    reasoning_of,
    shared_prefix,
)
from adfm.grpo.logprob import forced
from adfm.grpo.packing import PackItem
from adfm.grpo.written import Written
from adfm.models.vlm import VLM, EncodedPrompt
from adfm.types import Completion, Question, Sample

ANSWERS = {"a": "<answer>a</answer>", "b": "<answer>b</answer>"}


def completion(text: str) -> Completion:
    return Completion(
        token_ids=np.zeros(1, dtype=np.int64), sampler_logprob=np.zeros(1, dtype=np.float32), text=text, truncated=False
    )


@pytest.mark.parametrize(
    ("text", "reasoning"),
    [
        ("<think>x</think><answer>a</answer>", "<think>x</think>"),
        ("<think>x</think>\n<Answer> anything", "<think>x</think>\n"),
        ("<think>x</think>", "<think>x</think>"),
        ("<think>it was cut o", "<think>it was cut o"),
        ("<answer>a</answer><answer>b</answer>", ""),
        ("", ""),
    ],
)
def test_the_reasoning_ends_where_the_answer_begins(text: str, reasoning: str) -> None:
    assert reasoning_of(text, ANSWERS) == reasoning


def test_answers_that_begin_differently_stand_at_the_start() -> None:
    assert reasoning_of("so: yes", {"a": "yes", "b": "no"}) == ""


def test_shared_prefix() -> None:
    assert shared_prefix([[1, 2, 3], [1, 2], [1, 2, 4]]) == [1, 2]
    assert shared_prefix(["abc", "xbc"]) == ""


def test_the_mean_of_log_odds_is_of_probabilities_and_does_not_saturate() -> None:
    assert mean_log_odds([0.0, math.log(3)]) == pytest.approx(math.log(0.625 / 0.375))
    assert mean_log_odds([2.5]) == pytest.approx(2.5)
    assert mean_log_odds([-900.0, -800.0]) == pytest.approx(-800 - math.log(2))
    assert mean_log_odds([900.0, 800.0]) == pytest.approx(800 + math.log(2))


def item(encoded: EncodedPrompt, *token_ids: list[int]) -> PackItem:
    return PackItem(encoded=encoded, completions=tuple(torch.tensor(ids) for ids in token_ids))


@pytest.mark.parametrize("option", ["three_stage", "single_stage", "single_stage_boxes"])
def test_log_odds_are_of_the_whole_answer_strings(vlm: VLM, samples: list[Sample], option: str) -> None:
    asked = template(option)
    prompt = asked.ask(samples[4], vlm.frames)
    encoded = vlm.encode(prompt)
    before = "<think>a dark spot.</think>"
    whole = {letter: vlm.tokenize(before + answer) for letter, answer in asked.answers(prompt).items()}
    logprob = dict(zip(whole, forced(vlm, [item(encoded, *whole.values())])[0], strict=True))
    anomalous, normal = sorted(prompt.choices, key=lambda letter: not prompt.choices[letter])
    found = log_odds(vlm, asked, [prompt], [encoded], [[before]])
    assert found[0][0] == pytest.approx(logprob[anomalous] - logprob[normal], abs=1e-4)


def test_log_odds_sum_over_letters_of_one_meaning(vlm: VLM, samples: list[Sample]) -> None:
    asked = template("single_stage")
    question = Question(text="Which?", options={"A": "crack", "B": "none", "C": "hole"}, answer="B")
    sample = replace(samples[0], question=question)
    prompt = replace(asked.ask(sample, vlm.frames), choices={"A": True, "B": False, "C": True})
    encoded = vlm.encode(prompt)
    answers = (vlm.tokenize(answer) for answer in asked.answers(prompt).values())
    ((a, b, c),) = forced(vlm, [item(encoded, *answers)])
    found = log_odds(vlm, asked, [prompt], [encoded], [[""]])
    assert found[0][0] == pytest.approx(np.logaddexp(a, c) - b, abs=1e-4)


def test_prompts_that_share_a_row_do_not_see_each_other(vlm: VLM, samples: list[Sample]) -> None:
    asked = template("three_stage")
    prompts = [asked.ask(sample, vlm.frames) for sample in samples[:3]]
    encoded = [vlm.encode(prompt) for prompt in prompts]
    texts = [[""], ["<think>a long look at all of it</think>"], ["<think>x"]]
    alone = [
        log_odds(vlm, asked, [one], [prefix], [text])[0][0]
        for one, prefix, text in zip(prompts, encoded, texts, strict=True)
    ]
    together = log_odds(vlm, asked, prompts, encoded, texts)
    assert [odds for (odds,) in together] == pytest.approx(alone, abs=1e-4)


def test_letters_that_decide_nothing_have_no_score(vlm: VLM, samples: list[Sample]) -> None:
    asked = template("single_stage")
    question = Question(text="Which?", options={"A": "crack", "B": "hole"}, answer="A", kind="defect type")
    prompt = asked.ask(replace(samples[4], question=question), vlm.frames)
    deciding = asked.ask(samples[4], vlm.frames)
    encoded = [vlm.encode(one) for one in (prompt, deciding)]
    (none,), (found,) = log_odds(vlm, asked, [prompt, deciding], encoded, [[""], [""]])
    assert none is None
    assert found == pytest.approx(log_odds(vlm, asked, [deciding], encoded[1:], [[""]])[0][0], abs=1e-4)
    assert log_odds(vlm, asked, [prompt], encoded[:1], [[""]]) == [[None]]
    with pytest.raises(ConfigError, match="do not decide"):
        log_odds(vlm, asked, [replace(deciding, choices={"A": True, "B": True})], encoded[1:], [[""]])


@pytest.mark.parametrize("decoding", [Greedy(), Draws(3, temperature=1.5)])
@pytest.mark.parametrize("score", [AnswerScore(), DirectScore()])
def test_what_was_written_is_not_read_again_and_the_score_is_the_same(
    vlm: VLM, samples: list[Sample], decoding: Decoding, score: Score, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = template("three_stage")
    prompts = [asked.ask(sample, vlm.frames) for sample in samples]
    encoded = [vlm.encode(prompt) for prompt in prompts]
    monkeypatch.setattr("adfm.evaluation.decoding.ROWS", 9)
    written: list[Written] = []
    groups = decoding(vlm, prompts, encoded, written)
    assert sum(len(part.encoded) for part in written) == sum(map(len, groups))
    expected = score(vlm, asked, prompts, encoded, groups)
    monkeypatch.setattr("adfm.evaluation.score.only_read", lambda *_: pytest.fail("read again"))
    found = score(vlm, asked, prompts, encoded, groups, written)
    assert found == pytest.approx(expected, abs=1e-5)
    assert len({round(odds or 0, 6) for odds in found}) == len(samples)


def test_every_score_is_defined_for_any_text(vlm: VLM, samples: list[Sample]) -> None:
    asked = template("three_stage")
    texts = ["", "<think>", "no tags at all é", "<think>x</think><answer>neither</answer>", "<|image_pad|><answer>"]
    prompts = [asked.ask(sample, vlm.frames) for sample in samples[: len(texts)]]
    encoded = [vlm.encode(prompt) for prompt in prompts]
    for score in (AnswerScore(), DirectScore()):
        found = score(vlm, asked, prompts, encoded, [(completion(text),) for text in texts])
        assert len(found) == len(texts)
        assert np.isfinite(found).all()
        assert SCORES[score.name] is type(score)


def test_the_answer_score_depends_on_the_reasoning_and_the_direct_one_does_not(vlm: VLM, samples: list[Sample]) -> None:
    asked = template("three_stage")
    prompt = asked.ask(samples[0], vlm.frames)
    texts = ["<think>a crack</think><answer>a</answer>", "<think>none</think><answer>a</answer>"]
    for score, same in ((AnswerScore(), False), (DirectScore(), True)):
        one, other = (score(vlm, asked, [prompt], [vlm.encode(prompt)], [(completion(text),)])[0] for text in texts)
        assert (one == other) is same
    (expected,) = log_odds(vlm, asked, [prompt], [vlm.encode(prompt)], [[asked.opening()]])
    assert DirectScore()(vlm, asked, [prompt], [vlm.encode(prompt)], [(completion(""),)]) == expected


def test_the_answer_itself_does_not_change_the_answer_score(vlm: VLM, samples: list[Sample]) -> None:
    asked = template("three_stage")
    prompt = asked.ask(samples[0], vlm.frames)
    texts = ["<think>x</think><answer>a</answer>", "<think>x</think><answer>b</answer>", "<think>x</think>"]
    found = {AnswerScore()(vlm, asked, [prompt], [vlm.encode(prompt)], [(completion(text),)])[0] for text in texts}
    assert len(found) == 1


def test_the_score_of_several_reasonings_is_the_odds_of_the_mean_probability(vlm: VLM, samples: list[Sample]) -> None:
    asked = template("three_stage")
    prompts = [asked.ask(sample, vlm.frames) for sample in samples[:2]]
    encoded = [vlm.encode(prompt) for prompt in prompts]
    texts = ["<think>a crack</think>", "<think>none", ""]
    alone = [AnswerScore()(vlm, asked, prompts, encoded, [(completion(text),)] * 2) for text in texts]
    together = AnswerScore()(vlm, asked, prompts, encoded, [tuple(map(completion, texts))] * 2)
    for found, odds in zip(together, zip(*alone, strict=True), strict=True):
        mean = np.mean([1 / (1 + math.exp(-value)) for value in odds])
        assert found == pytest.approx(math.log(mean / (1 - mean)), abs=1e-6)
