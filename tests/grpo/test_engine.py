from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from engine_toy import LEARNING_RATE, TOKENS, Toy, engine, plain_torch, update, weights
from torch import nn

from adfm.errors import AdfmError, ConfigError
from adfm.grpo import zero
from adfm.grpo.schedule import Linear

OFFLOAD = {"offload_optimizer": {"device": "cpu"}}
STAGES = [(0, {}), (1, {}), (2, {}), (3, {}), (1, OFFLOAD), (2, OFFLOAD), (3, OFFLOAD)]


@pytest.mark.parametrize(("stage", "options"), STAGES)
@pytest.mark.parametrize("sizes", [[22], [4, 11, 7]])
def test_any_split_into_micro_batches_equals_one_big_batch(stage, options, sizes):
    scorer = Toy()
    it = engine(scorer, stage, **options)
    norms = [update(it, list(TOKENS.split(sizes)))["grad_norm"] for _ in range(3)]
    expected_norms, expected = plain_torch(steps=3)
    assert norms == pytest.approx(expected_norms, rel=1e-5)
    torch.testing.assert_close(
        weights(it, scorer),
        torch.cat([parameter.detach().flatten() for parameter in expected.parameters()]),
        atol=2e-6,
        rtol=0,
    )


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_bfloat16_keeps_float32_master_weights(stage):
    scorer = Toy()
    it = engine(scorer, stage, dtype=torch.bfloat16)
    norms = [update(it, list(TOKENS.split([4, 11, 7])))["grad_norm"] for _ in range(3)]
    expected_norms, expected = plain_torch(steps=3)
    assert norms == pytest.approx(expected_norms, rel=1e-2)
    assert {parameter.dtype for parameter in scorer.parameters()} == {torch.bfloat16}
    expected_weights = torch.cat([parameter.detach().flatten() for parameter in expected.parameters()])
    torch.testing.assert_close(weights(it, scorer), expected_weights, atol=0.02, rtol=0)


@pytest.mark.parametrize("stage", [0, 2, 3])
def test_bfloat16_adds_up_steps_too_small_for_bfloat16(stage):
    exact, rounded = Toy(), Toy()
    engines = [engine(exact, 0, schedule=Tiny()), engine(rounded, stage, dtype=torch.bfloat16, schedule=Tiny())]
    for it in engines:
        for _ in range(50):  # of 4e-4 each; above 0.5 bfloat16 only has multiples of 4e-3
            update(it, [TOKENS])
    torch.testing.assert_close(weights(engines[1], rounded), weights(engines[0], exact), atol=4e-3, rtol=6.5e-3)


class Tiny:
    def factor(self, step: int, total_steps: int) -> float:
        return 4e-3


class Line(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))

    def forward(self, x):
        return self.weight @ x


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
@pytest.mark.parametrize(("clip", "expected"), [(1.0, [-0.06, -0.08]), (10.0, [-0.3, -0.4]), (0.0, [-0.3, -0.4])])
def test_clipping_by_hand(stage, clip, expected):
    line = Line()
    it = engine(line, stage, optimizer=partial(torch.optim.SGD, lr=0.1), clip=clip)
    it.backward(it(torch.tensor([1.0, 2.0])))
    it.backward(it(torch.tensor([2.0, 2.0])))
    assert it.update()["grad_norm"] == pytest.approx(5.0)  # the gradient is (3, 4)
    assert weights(it, line).tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("stage", [0, 1])
def test_learning_rate_follows_the_schedule(stage):
    it = engine(Toy(), stage, schedule=Linear(warmup_steps=2))
    rates = [update(it, [TOKENS])["learning_rate"] for _ in range(8)]
    factors = [1 / 2, 1, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]
    assert rates == pytest.approx([LEARNING_RATE * factor for factor in factors])
    assert it.step == 8


@pytest.mark.parametrize(("stage", "options"), STAGES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_gradient_that_is_not_finite_names_the_step_and_changes_nothing(stage, options, dtype):
    scorer = Toy()
    it = engine(scorer, stage, dtype=dtype, **options)
    update(it, [TOKENS])
    before = weights(it, scorer)
    it.backward(it(TOKENS).logprob.sum() * float("nan"))
    with pytest.raises(AdfmError, match="gradient of step 2 is infinite or not a number"):
        it.update()
    assert torch.equal(weights(it, scorer), before)


def test_update_with_zero_weight_only_is_an_update():
    scorer = Toy()
    it = engine(scorer, 2)
    it.backward(it(TOKENS).logprob.sum() * 0.0)
    assert it.update() == {"grad_norm": 0.0, "learning_rate": LEARNING_RATE}
    assert it.step == 1


@pytest.mark.parametrize("stage", [0, 3])
def test_gathered_is_ready_to_generate_and_puts_everything_back(stage):
    scorer = Toy(dropout=0.5)
    scorer.frozen.eval()
    it = engine(scorer, stage)
    with it.gathered():
        assert not any(module.training for module in scorer.modules())
        assert scorer.body.weight.shape == (8, 8)
        first, second = it(TOKENS), scorer(TOKENS)
        assert not first.logprob.requires_grad
        assert torch.equal(first.logprob, second.logprob)
    assert scorer.training
    assert scorer.dropout.training
    assert not scorer.frozen.training
    with pytest.raises(KeyError), it.gathered():
        raise KeyError
    assert scorer.training
    it.backward(it(TOKENS).logprob.mean())
    assert scorer.body.weight.numel() == (0 if stage == 3 else 64)  # sharded again after each layer
    assert it.update()["grad_norm"] > 0


def test_frozen_parameters_do_not_move():
    scorer = Toy()
    before = scorer.frozen.weight.clone()
    it = engine(scorer, 2)
    update(it, [TOKENS])
    assert torch.equal(scorer.frozen.weight, before)


def test_settings_that_contradict_the_program_are_refused():
    with pytest.raises(ConfigError, match="no parameter is trainable"):
        engine(Toy().requires_grad_(False), 0)
    with pytest.raises(ConfigError, match="float16 cannot be trained"):
        engine(Toy(), 0, dtype=torch.float16)
    with pytest.raises(ConfigError, match="stage 0 cannot offload; use engine=zero2_offload"):
        engine(Toy(), 0, **OFFLOAD)


@pytest.mark.parametrize(
    ("name", "place"),
    [("gradient_clipping", "other settings"), ("train_batch_size", "prompts_per_step"), ("optimizer", "optimizer")],
)
def test_what_follows_from_other_settings_is_no_setting_of_deepspeed(name, place):
    with pytest.raises(ConfigError, match=f"engine.deepspeed.{name} follows from {place}; leave it out"):
        zero.complete({name: 2}, [nn.Parameter(torch.zeros(1))], torch.float32, 1.0)


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory) -> list[dict]:
    folder = tmp_path_factory.mktemp("ranks")
    toy = Path(__file__).with_name("engine_toy.py")
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        str(toy),
        str(folder),
    ]
    environment = os.environ | {"PYTHONPATH": str(toy.parents[2])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    found = [folder / f"results-{rank}.json" for rank in range(2)]
    assert all(path.exists() for path in found), done.stderr[-4000:]
    return [json.loads(path.read_text()) for path in found]


@pytest.mark.parametrize("stage", ["0", "1", "2", "3"])
def test_two_uneven_ranks_equal_one(two_ranks, stage):
    norms, scorer = plain_torch(steps=4)
    expected = torch.cat([parameter.detach().flatten() for parameter in scorer.parameters()])
    for rank in two_ranks:
        assert rank[stage]["norms"] == pytest.approx(norms, rel=1e-5)
        torch.testing.assert_close(torch.tensor(rank[stage]["weights"]), expected, atol=5e-6, rtol=0)


@pytest.mark.parametrize("stage", ["0", "1", "2", "3"])
def test_gathered_weights_score_as_unsharded_ones_on_both_ranks(two_ranks, stage):
    _, scorer = plain_torch(steps=3)
    with torch.no_grad():
        expected = scorer.eval()(TOKENS).logprob
    for rank in two_ranks:
        torch.testing.assert_close(torch.tensor(rank[stage]["gathered"]), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("stage", ["0", "1", "2", "3"])
def test_two_ranks_resume_to_the_bit(two_ranks, stage):
    assert [rank[stage]["resumed"] for rank in two_ranks] == [True, True]


@pytest.mark.parametrize("stage", ["0", "1", "2", "3"])
def test_two_ranks_have_the_mean_of_the_weights_after_each_update(two_ranks, stage):
    assert [rank[stage]["mean"] for rank in two_ranks] == [True, True]


def test_numbers_meet_across_ranks(two_ranks):
    zero, one = (rank["0"] for rank in two_ranks)
    assert zero["sum"] == one["sum"] == {"a": 3.0, "only 0": 2.0, "only 1": 2.0}
    assert zero["mean of ranks"] == one["mean of ranks"] == {"a": 0.75}
    assert zero["max_count"] == one["max_count"] == 5
    assert (zero["objects"], one["objects"]) == (["0a", "0b", "1a", "1b"], [])
    assert zero["from_rank_0"] == one["from_rank_0"] == 0


def test_no_compiler_is_needed(tmp_path):
    code = """
import torch
from engine_toy import TOKENS, Toy, engine, update
for stage, options in [(0, {}), (2, {}), (3, {}), (2, {"offload_optimizer": {"device": "cpu"}})]:
    print(stage, update(engine(Toy(), stage, **options), [TOKENS])["grad_norm"] > 0)
"""
    here = Path(__file__).resolve()
    environment = {name: value for name, value in os.environ.items() if name not in ("CXX", "CC")} | {
        "PATH": str(tmp_path),
        "TORCH_EXTENSIONS_DIR": str(tmp_path / "extensions"),
        "PYTHONPATH": f"{here.parents[2]}{os.pathsep}{here.parent}",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.splitlines() == ["0 True", "2 True", "3 True", "2 True"], done.stderr[-4000:]
    assert not (tmp_path / "extensions").exists()
