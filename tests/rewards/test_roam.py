from __future__ import annotations

import pytest

from adfm.rewards.examples import judged
from adfm.rewards.roam import Choice, Roam


@pytest.mark.parametrize(
    ("reasoning", "answer", "roam", "choice"),
    [
        (None, None, 0.0, 0.0),
        (None, "a", 0.8, 1.0),
        (None, "b", 0.05, 0.0),
        ("a", "a", 1.0, 1.0),
        ("b", "b", 0.1, 0.0),
        ("b", "c", 0.0, 0.0),
        ("b", None, 0.0, 0.0),
        ("b", "a", 0.0, 1.0),
        ("a", "b", 0.0, 0.0),
        ("a", None, 0.0, 0.0),
    ],
)
def test_the_whole_truth_table(reasoning, answer, roam, choice):
    verdict, prompt = judged(reasoning=reasoning, answer=answer, key="a")
    assert Roam()(verdict, prompt) == roam
    assert Choice()(verdict, prompt) == choice


def test_every_value_is_a_parameter():
    term = Roam(agree_right=5, agree_wrong=4, silent_right=3, silent_wrong=2)
    found = [
        term(*judged(reasoning=reasoning, answer=answer, key="a"))
        for reasoning, answer in (("a", "a"), ("b", "b"), (None, "a"), (None, "b"))
    ]
    assert found == [5, 4, 3, 2]
