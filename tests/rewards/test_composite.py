from __future__ import annotations

import math
from functools import partial
from inspect import signature
from random import Random

import numpy as np
import pytest
from hydra.utils import get_object
from omegaconf import OmegaConf
from reading_support import REWARDS, asked, node, reward

from adfm.rewards.composite import Composite, RewardError
from adfm.rewards.examples import judged


def constant(verdict, prompt, value):
    return value


def test_terms_are_kept_apart_and_added_by_weight():
    composite = Composite(
        {
            "one": {"term": partial(constant, value=0.5), "weight": 2.0},
            "other": {"term": lambda verdict, prompt: float(verdict.answer_letter == "a")},
        }
    )
    (right, prompt), (wrong, _) = judged(answer="a"), judged(answer="b")
    earned = composite([right, wrong, right], prompt)
    assert earned.terms["one"].tolist() == [0.5, 0.5, 0.5]
    assert earned.terms["other"].tolist() == [1.0, 0.0, 1.0]
    assert earned.total.tolist() == [2.0, 1.0, 2.0]
    assert earned.total.dtype == np.float64
    assert composite.needs == frozenset()


def test_a_term_is_settled_with_the_last_of_what_it_needs():
    made, prompt = asked("three_stage")
    text = made.reference(prompt, Random(0))
    cut = text[: text.index("<answer>")]
    earned = reward("fine_grained_explained")([made.read(text, prompt), made.read(cut, prompt)], prompt)
    ends = {name: list(settled.characters) for name, settled in earned.settled.items()}
    rethought, boxes = len(cut), text.index("</think>") + len("</think>")
    assert ends == {
        "classification": [len(text), len(cut)],
        "localization": [boxes, len(cut)],
        "format": [len(text), len(cut)],
        "defect_type": [rethought, len(cut)],
        "place": [rethought, len(cut)],
    }
    assert earned.settled["localization"].weighted.tolist() == (2 * earned.terms["localization"]).tolist()


def test_no_verdicts_and_no_terms_are_no_special_cases():
    _, prompt = judged()
    assert Composite({})([judged()[0]], prompt).total.tolist() == [0.0]
    assert reward("roam")([], prompt).total.shape == (0,)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_names_term_and_prompt(value):
    verdict, prompt = judged()
    with pytest.raises(RewardError, match=r"reward\.terms\.mine gave .* for prompt example"):
        Composite({"mine": {"term": partial(constant, value=value)}})([verdict], prompt)


def test_an_exception_names_term_prompt_and_place():
    verdict, prompt = judged()
    with pytest.raises(RewardError, match=r"reward\.terms\.mine failed on prompt example: ZeroDivisionError.*line \d+"):
        Composite({"mine": {"term": lambda verdict, prompt: 1 / 0}})([verdict], prompt)
    with pytest.raises(RewardError, match=r"reward\.terms\.mine failed on prompt example: TypeError"):
        Composite({"mine": {"term": partial(constant, value=None)}})([verdict], prompt)


def test_the_best_is_that_of_the_terms_that_say_it():
    composite = reward("fine_grained")
    _, anomalous = judged(true=[(1.0, 2.0, 3.0, 4.0)])
    _, normal = judged(anomalous=False)
    assert composite.best(anomalous) == pytest.approx(3.2)
    assert composite.best(normal) == pytest.approx(1.9)
    composite.terms["mine"], composite.weights["mine"] = partial(constant, value=1.0), 1.0
    assert composite.best(normal) == pytest.approx(1.9)


@pytest.mark.parametrize("option", REWARDS)
def test_shipped_rewards_know_what_they_need_and_read(option):
    composite = reward(option)
    assert composite.released_with in ("single_stage", "three_stage")
    assert composite.needs <= {"answer", "reasoning_letter", "explanation", "boxes", "think"}


@pytest.mark.parametrize("option", ["roam", "fine_grained"])
def test_the_released_values_in_conf_are_the_defaults_of_the_terms(option):
    for entry in OmegaConf.to_container(node("reward", option))["terms"].values():
        target = entry["term"].pop("_target_")
        defaults = {name: parameter.default for name, parameter in signature(get_object(target)).parameters.items()}
        assert entry["term"] == defaults
        assert entry["weight"] == 1.0
