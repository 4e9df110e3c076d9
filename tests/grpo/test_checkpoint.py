from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from engine_toy import TOKENS, Toy, engine, interrupted, update, weights

from adfm.errors import ConfigError, DataError
from adfm.grpo import checkpoint

CPU = torch.device("cpu")


def written(folder, step, keep=1):
    name = checkpoint.begin(folder, step)
    (folder / name / "weights").write_text(str(step))
    return checkpoint.commit(folder, name, keep)


def test_no_checkpoint_is_no_error(tmp_path):
    assert checkpoint.latest(tmp_path / "not there") is None
    assert engine(Toy(), 0).load(tmp_path) is None


def test_the_newest_are_kept_and_what_is_not_a_checkpoint_is_left_alone(tmp_path):
    (tmp_path / "best").mkdir()
    for step in (20, 40, 60):
        written(tmp_path, step, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best", "latest", "step-000040", "step-000060"]
    assert checkpoint.latest(tmp_path) == tmp_path / "step-000060"


def test_saving_a_step_again_replaces_it_without_a_moment_in_between(tmp_path):
    written(tmp_path, 20)
    again = written(tmp_path, 20)
    assert checkpoint.latest(tmp_path) == again
    assert [path.name for path in tmp_path.glob("step-*")] == [again.name]
    assert written(tmp_path, 21).name == "step-000021"


def test_a_half_written_checkpoint_is_never_used_and_cleared_by_the_next(tmp_path):
    written(tmp_path, 20)
    half = tmp_path / checkpoint.begin(tmp_path, 40)
    (half / "weights").write_text("hal")
    assert checkpoint.latest(tmp_path) == tmp_path / "step-000020"
    written(tmp_path, 60)
    assert not half.exists()


def test_a_crash_between_the_name_and_the_pointer_leaves_the_previous_one(tmp_path):
    written(tmp_path, 20)
    (tmp_path / checkpoint.begin(tmp_path, 40)).rename(tmp_path / "step-000040")
    assert checkpoint.latest(tmp_path) == tmp_path / "step-000020"


def test_a_pointer_to_nothing_says_so(tmp_path):
    (tmp_path / "latest").write_text("step-000020")
    with pytest.raises(DataError, match="step-000020, which is not there"):
        checkpoint.latest(tmp_path)


def test_every_global_generator_goes_back():
    def draw():
        return random.random(), np.random.rand(), torch.rand(3).tolist(), random.gauss(0, 1), np.random.randn()

    draw()
    state = checkpoint.random_state(CPU)
    expected = draw()
    checkpoint.restore_random_state(state, CPU)
    assert draw() == expected


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_resuming_equals_not_stopping_to_the_bit(stage, tmp_path):
    assert interrupted(stage, tmp_path, list(TOKENS.split([9, 13])))


@pytest.mark.parametrize("stage", [2, 3])
def test_resuming_with_offload_equals_not_stopping_to_the_bit(stage, tmp_path):
    assert interrupted(stage, tmp_path, list(TOKENS.split([9, 13])), offload_optimizer={"device": "cpu"})


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_resuming_in_bfloat16_keeps_the_master_weights(stage, tmp_path):
    scorer, other = Toy(), Toy(seed=5)
    first = engine(scorer, stage, dtype=torch.bfloat16)
    update(first, [TOKENS])
    first.save(tmp_path, {})
    second = engine(other, stage, dtype=torch.bfloat16)
    second.load(tmp_path)
    for _ in range(3):
        assert update(first, [TOKENS]) == update(second, [TOKENS])
    assert torch.equal(weights(first, scorer), weights(second, other))


def test_frozen_parameters_are_not_in_the_checkpoint(tmp_path):
    it = engine(Toy(), 2)
    update(it, [TOKENS])
    folder = it.save(tmp_path, {})
    saved = torch.load(folder / "mp_rank_00_model_states.pt", weights_only=False)["module"]
    assert not any("frozen" in name for name in saved)
    assert any("body" in name for name in saved)


def test_a_checkpoint_of_another_setting_is_refused(tmp_path):
    it = engine(Toy(), 2)
    it.save(tmp_path, {})
    with pytest.raises(ConfigError, match=r"another ZeRO stage \(engine\) \(2 there, 1 here\)"):
        engine(Toy(), 1).load(tmp_path)
    with pytest.raises(ConfigError, match=r"another model.dtype \(float32 there, bfloat16 here\)"):
        engine(Toy(), 2, dtype=torch.bfloat16).load(tmp_path)
    thawed = Toy()
    thawed.frozen.requires_grad_(True)
    with pytest.raises(ConfigError, match="another set of trained parameters"):
        engine(thawed, 2).load(tmp_path)
