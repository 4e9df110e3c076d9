from __future__ import annotations

import pytest
import torch
from engine_toy import AVERAGE, TOKENS, Toy, engine, mean_weights, update, weights

from adfm.grpo.average import PolynomialDecay

SHARED = [(0, {}), (1, {}), (2, {}), (3, {}), (3, {"stage3_param_persistence_threshold": 10_000})]


def test_power_0_is_the_plain_mean_and_3_is_centred_at_four_fifths():
    plain, late = 0.0, 0.0
    for step in range(1, 1001):
        plain += PolynomialDecay(power=0).share(step) * (step - plain)
        late += PolynomialDecay(power=3).share(step) * (step - late)
    assert plain == pytest.approx(500.5)
    assert late == pytest.approx(800, abs=1)


def test_a_power_below_0_is_refused():
    with pytest.raises(ValueError, match=r"optimizer\.average\.power is -1; it must be 0 or more"):
        PolynomialDecay(power=-1)


@pytest.mark.parametrize(("stage", "options"), SHARED)
def test_the_mean_is_that_of_the_weights_after_each_update(stage, options):
    scorer = Toy()
    it = engine(scorer, stage, average=AVERAGE, **options)
    start = weights(it, scorer)
    assert torch.equal(mean_weights(it, scorer), start)
    seen, means = [], []
    for _ in range(3):
        update(it, [TOKENS])
        means.append(mean_weights(it, scorer))
        seen.append(weights(it, scorer))
    by_hand = (1 * seen[0] + 2 * seen[1] + 3 * seen[2]) / 6  # of power 1: w1, then 2/3, then 1/2 of the newest
    torch.testing.assert_close(means[-1], by_hand, atol=1e-6, rtol=0)
    assert not torch.allclose(by_hand, seen[2], atol=1e-3)
    assert torch.equal(weights(it, scorer), seen[2])


@pytest.mark.parametrize(("stage", "options"), SHARED)
def test_training_goes_on_from_the_newest_weights(stage, options):
    looking, plain = Toy(), Toy()
    engines = [engine(looking, stage, average=AVERAGE, **options), engine(plain, stage, **options)]
    for it in engines:
        for _ in range(3):
            update(it, [TOKENS])
            with it.averaged():
                it(TOKENS)
    assert torch.equal(weights(engines[0], looking), weights(engines[1], plain))


@pytest.mark.parametrize("stage", [0, 2, 3])
def test_bfloat16_weights_have_a_float32_mean(stage):
    scorer = Toy()
    it = engine(scorer, stage, dtype=torch.bfloat16, average=AVERAGE)
    seen = []
    for _ in range(3):
        update(it, [TOKENS])
        seen.append(weights(it, scorer))
    by_hand = ((1 * seen[0] + 2 * seen[1] + 3 * seen[2]) / 6).bfloat16().float()
    assert torch.equal(mean_weights(it, scorer), by_hand)


def test_frozen_weights_have_no_mean_and_stay():
    scorer = Toy()
    it = engine(scorer, 0, average=AVERAGE)
    before = scorer.frozen.weight.clone()
    update(it, [TOKENS])
    with it.averaged():
        assert torch.equal(scorer.frozen.weight, before)


def test_an_error_inside_puts_the_newest_weights_back():
    scorer = Toy()
    it = engine(scorer, 0, average=AVERAGE)
    for _ in range(2):
        update(it, [TOKENS])
    newest = weights(it, scorer)
    with pytest.raises(KeyError), it.averaged():
        raise KeyError
    assert torch.equal(weights(it, scorer), newest)


def test_the_mean_is_not_mixed_with_the_newest_weights():
    it = engine(Toy(), 0, average=AVERAGE)
    with it.gathered(), pytest.raises(RuntimeError, match="the newest weights are in use"), it.averaged():
        pass
