"""Hand-computed advantages, KL and loss."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from adfm.grpo.logprob import TokenScores
from adfm.grpo.objective import GRPO, DrGRPO, Row, mean_metrics
from adfm.grpo.packing import PackItem, pack_row
from adfm.models.vlm import EncodedPrompt


def row(
    advantage: list[float],
    lengths: list[int],
    trained: list[bool] | None = None,
    completions_in_step: int | None = None,
) -> Row:
    encoded = EncodedPrompt(
        token_ids=torch.arange(3), positions=torch.arange(3).expand(3, -1), next_position=3, images=()
    )
    packed = pack_row([PackItem(encoded=encoded, completions=tuple(torch.zeros(n, dtype=torch.long) for n in lengths))])
    return Row(
        packed=packed,
        advantage=torch.tensor(advantage).repeat_interleave(torch.tensor(lengths)),
        trained=torch.tensor(trained or [True] * len(advantage)),
        sampler_logprob=torch.zeros(sum(lengths)),
        completions_in_step=completions_in_step or len(advantage),
    )


def scores(*logprob: float) -> TokenScores:
    return TokenScores(torch.tensor(logprob, requires_grad=True), torch.zeros(len(logprob)))


def test_advantage_by_hand() -> None:
    rewards = np.array([1.0, 2.0, 3.0, 6.0])
    std = math.sqrt((4 + 1 + 0 + 9) / 3)
    assert GRPO().advantages(rewards) == pytest.approx((rewards - 3) / (std + 1e-4))
    assert DrGRPO().advantages(rewards) == pytest.approx([-2, -1, 0, 3])
    assert GRPO().advantages(rewards + 100) == pytest.approx(GRPO().advantages(rewards))
    assert GRPO().advantages(np.full(4, 0.3)) == pytest.approx(np.zeros(4))


def test_on_policy_loss_and_gradient_by_hand() -> None:
    batch = row([1.0, -2.0], [1, 3])
    now = scores(-1.0, -0.5, -0.5, -0.5)
    loss = GRPO().loss(now, now.logprob.detach(), None, batch)
    assert float(loss.value) == pytest.approx(-(1.0 - 2.0) / 2)
    (gradient,) = torch.autograd.grad(loss.value, now.logprob)
    assert gradient.tolist() == pytest.approx([-1 / 2, 2 / 6, 2 / 6, 2 / 6])


def test_clipping_is_active_only_outside_the_band_and_on_the_harmful_side() -> None:
    ratios = [1.5, 1.5, 0.5, 0.5, 1.1]
    advantage = [1.0, -1.0, 1.0, -1.0, 1.0]
    batch = row(advantage, [1] * 5)
    now = scores(*[math.log(ratio) for ratio in ratios])
    loss = GRPO(epsilon_low=0.2, epsilon_high=0.28).loss(now, torch.zeros(5), None, batch)
    gains = [1.28, -1.5, 0.5, -0.8, 1.1]
    assert float(loss.value) == pytest.approx(-sum(gains) / 5)
    (gradient,) = torch.autograd.grad(loss.value, now.logprob)
    assert gradient.tolist() == pytest.approx([0, 1.5 / 5, -0.5 / 5, 0, -1.1 / 5])
    assert loss.sums["clipped"] == 2


def test_kl_is_k3_and_is_weighted_by_beta() -> None:
    batch = row([0.0], [2])
    now = scores(-1.0, -2.0)
    loss = GRPO(beta=0.5).loss(now, now.logprob.detach(), torch.tensor([-1.5, -1.0]), batch)
    k3 = [math.exp(-0.5) + 0.5 - 1, math.exp(1.0) - 1.0 - 1]
    assert loss.sums["kl"] == pytest.approx(sum(k3))
    assert float(loss.value) == pytest.approx(0.5 * sum(k3) / 2)


def test_dr_grpo_weighs_every_token_alike() -> None:
    batch = row([1.0, -1.0], [1, 3])
    now = scores(-1.0, -1.0, -1.0, -1.0)
    loss = DrGRPO(length_scale=10.0).loss(now, now.logprob.detach(), None, batch)
    assert float(loss.value) == pytest.approx(-(1 - 3) / (10 * 2))


def test_masked_completions_stay_in_the_denominator() -> None:
    batch = row([1.0, 1.0], [2, 2], trained=[True, False], completions_in_step=4)
    now = scores(0.0, 0.0, 0.0, 0.0)
    loss = GRPO().loss(now, now.logprob.detach(), None, batch)
    assert float(loss.value) == pytest.approx(-1 / 4)


def test_metrics_are_means_over_targets() -> None:
    sums = {"loss": 1.0, "kl": 2.0, "entropy": 4.0, "clipped": 1.0, "logprob_gap": 0.0, "targets": 8.0}
    assert mean_metrics(sums, iterations=2) == {
        "loss": 0.5,
        "kl": 0.25,
        "entropy": 0.5,
        "clip_fraction": 0.125,
        "logprob_gap": 0.0,
    }


@pytest.mark.parametrize(("beta", "skip", "skips"), [(0.0, False, True), (0.04, False, False), (0.04, True, True)])
def test_equal_groups_are_skipped_only_where_they_have_no_gradient(beta: float, skip: bool, skips: bool) -> None:
    assert GRPO(beta=beta, skip_equal_groups=skip).skips_equal_groups is skips
