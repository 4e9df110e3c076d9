"""Every shipped reward under every shipped template that serves it."""

from __future__ import annotations

import re
from random import Random

import numpy as np
import pytest
from reading_support import FRAMES, REWARDS, TEMPLATES, reward, sample, template

PAIRS = [
    (reward_option, reasoning)
    for reward_option in REWARDS
    for reasoning in TEMPLATES
    if reward(reward_option).needs <= template(reasoning).provides
]
SAMPLES = [
    sample(number, boxes=((20.0, 40.0, 120.0, 160.0), (170.0, 10.0, 220.0, 60.0))[: number % 3]) for number in range(30)
]


def test_boxes_are_all_that_keeps_a_reward_from_a_template():
    refused = {(one, other) for one in REWARDS for other in TEMPLATES} - set(PAIRS)
    assert refused == {(one, "single_stage") for one in REWARDS if one.startswith("fine_grained")}


def totals(option: str, reasoning: str, reading: str, change=lambda text, prompt: text) -> np.ndarray:
    """The share of the best total that changed reference completions earn, per sample."""
    made, judge = template(reasoning, reading=reading), reward(option)
    shares = []
    for subject in SAMPLES:
        prompt = made.ask(subject, FRAMES)
        text = change(made.reference(prompt, Random(subject.id)), prompt)
        shares.append(float(judge([made.read(text, prompt)], prompt).total[0]) / judge.best(prompt))
    return np.array(shares)


def answer_falsified(text: str, prompt) -> str:
    other = next(letter for letter in prompt.choices if letter != prompt.key)
    return text.replace(f">{prompt.key}<", f">{other}<")


def boxes_falsified(text: str, prompt) -> str:
    return re.sub(r"\[.*?\]", "[0, 104, 4, 108]", text)


@pytest.mark.parametrize("reading", ["strict", "released"])
@pytest.mark.parametrize(("option", "reasoning"), PAIRS)
def test_references_earn_nearly_the_most_and_lies_earn_less(option, reasoning, reading):
    true = totals(option, reasoning, reading)
    assert true.min() > 0.97
    assert (totals(option, reasoning, reading, answer_falsified) < true - 0.25).all()
    if "boxes" in reward(option).needs:
        boxed = np.array([bool(subject.boxes) for subject in SAMPLES])
        moved = totals(option, reasoning, reading, boxes_falsified)
        assert (moved[boxed] < true[boxed] - 0.15).all()
        assert (moved[~boxed] == true[~boxed]).all()


@pytest.mark.parametrize("option", ["roam", "roam_strict"])
def test_roam_under_three_stages_compares_the_conclusion_with_the_answer(option):
    made, judge = template("three_stage"), reward(option)
    prompt = made.ask(SAMPLES[1], FRAMES)
    text = "<think>Look at [1, 2, 3, 4].</think><rethink>It is real, so {}.</rethink><answer>a</answer>"
    right, contradicted = (made.read(text.format(letter), prompt) for letter in "ab")
    assert judge([right, contradicted], prompt).terms["roam"].tolist() == [1.0, 0.0]
