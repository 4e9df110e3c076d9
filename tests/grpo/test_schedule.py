from __future__ import annotations

import math

import pytest

from adfm.grpo.schedule import Constant, Cosine, Linear


@pytest.mark.parametrize("schedule", [Constant(warmup_steps=4), Linear(warmup_steps=4), Cosine(warmup_steps=4)])
def test_warm_up_climbs_in_a_line_and_the_first_step_already_learns(schedule):
    assert [schedule.factor(step, 10) for step in (1, 2, 3, 4, 5)] == [0.25, 0.5, 0.75, 1.0, 1.0]


def test_hand_computed_factors_after_the_warm_up():
    steps = (3, 4, 5, 6)
    assert [Constant(warmup_steps=2).factor(step, 6) for step in steps] == [1.0, 1.0, 1.0, 1.0]
    assert [Linear(warmup_steps=2).factor(step, 6) for step in steps] == [1.0, 0.75, 0.5, 0.25]
    expected = [(1 + math.cos(math.pi * share)) / 2 for share in (0.0, 0.25, 0.5, 0.75)]
    assert [Cosine(warmup_steps=2).factor(step, 6) for step in steps] == pytest.approx(expected)


@pytest.mark.parametrize("schedule", [Linear(warmup_steps=2), Cosine(warmup_steps=2)])
def test_beyond_the_last_step_the_rate_is_zero_not_negative(schedule):
    assert schedule.factor(7, 6) == pytest.approx(0.0)
    assert schedule.factor(60, 6) == pytest.approx(0.0)


def test_a_run_shorter_than_its_warm_up_only_climbs():
    assert [Linear(warmup_steps=10).factor(step, 3) for step in (1, 2, 3)] == pytest.approx([0.1, 0.2, 0.3])


def test_wrong_numbers_are_refused():
    with pytest.raises(ValueError, match="warmup_steps is -1"):
        Linear(warmup_steps=-1)
    with pytest.raises(ValueError, match="counted from 1"):
        Constant().factor(0, 10)
