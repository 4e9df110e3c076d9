"""What wrong commands are told, word for word."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from adfm.config.compose import check, compose
from adfm.errors import ConfigError
from adfm.tracking.study import composed

LONGEST_GROUP = (
    "model.token_budget is 500, and a group can take 896 tokens (prompt 384 + 8 x 64); use model.token_budget=896"
)

WRONG = {
    "misspelt key": (["setps=3"], "setps: there is no such key; did you mean 'steps'?"),
    "misspelt group": (["rewrad=roam"], "rewrad: there is no such key; did you mean 'reward'?"),
    "misspelt option": (["model=qwen3"], "model=qwen3: there is no such option; did you mean 'qwen3b'?"),
    "added top-level key": (["+step=3"], "step: there is no such key; did you mean 'steps'?"),
    "misspelt key of a typed node": (
        ["model.dtpye=float32"],
        "model.dtpye: there is no such key; did you mean 'dtype'?",
    ),
    "misspelt reward term": (
        ["reward.terms.fromat.weight=1"],
        "reward.terms.fromat: there is no such key; did you mean 'format'?",
    ),
    "wrong type": (["steps=many"], "steps: Value 'many' of type 'str' could not be converted to Integer"),
    "misspelt argument": (
        ["+objective.betta=0.1"],
        "objective.betta: adfm.grpo.objective.GRPO takes no such argument; did you mean 'beta'?",
    ),
    "misspelt class": (
        ["rollout._target_=adfm.grpo.rollout.Sample"],
        "rollout._target_: cannot import 'adfm.grpo.rollout.Sample'; did you mean 'Sampling'?",
    ),
    "misspelt package": (
        ["+callbacks.mine._target_=no_such_package.Mine"],
        "callbacks.mine._target_: cannot import 'no_such_package.Mine' (No module named 'no_such_package')",
    ),
    "callback without a class": (
        ["+callbacks.mine.every=3"],
        "callbacks.mine: has no _target_, so nothing can be built; add callbacks.mine._target_=... "
        "or drop it with ~callbacks.mine",
    ),
    "missing value": (["dataset=manifest"], "dataset.root: has no value; set it with dataset.root=..."),
    "two values out of range": (
        ["model.dtype=float16", "checkpoint.every=0"],
        "model.dtype is 'float16'; it must be one of bfloat16, float32\ncheckpoint.every is 0; it must be at least 1",
    ),
    "no group": (
        ["rollout.group_size=1"],
        "rollout.group_size is 1: a group compares completions; use rollout.group_size=2 or more",
    ),
    "a group of equals": (
        ["rollout.temperature=0"],
        "rollout.temperature is 0: completions would not differ; use rollout.temperature=1.0",
    ),
    "a term that the template does not serve": (
        ["reasoning=single_stage", "~reward.terms.format"],
        "reward term 'localization' reads boxes, which reasoning=single_stage does not write; "
        "use reasoning=single_stage_boxes or three_stage, or ~reward.terms.localization",
    ),
    "adapters in a frozen model": (
        ["model/lora=all_linear", "model.freeze.language=true"],
        "model.lora trains adapters in the language model, which model.freeze.language=true forbids; "
        "use model.freeze.language=false or model.lora=null",
    ),
    "adapters of no size": (
        ["model/lora=all_linear", "model.lora.rank=0"],
        "model.lora.rank is 0; it must be at least 1",
    ),
    "adapters not chosen": (
        ["model.lora.rank=8"],
        "an override sets a key of a node that is null; choose the node first, as in model/lora=all_linear",
    ),
    "nothing to train": (
        ["model.freeze.language=true"],
        "model.freeze leaves nothing to train; use model.freeze.language=false",
    ),
    "a group larger than a micro-batch": (["model.token_budget=500"], LONGEST_GROUP),
    "more processes than prompts": (
        ["engine.nproc=8", "prompts_per_step=4"],
        "prompts_per_step is 4, too few for 8 processes; use prompts_per_step=8",
    ),
    "warm-up longer than the run": (
        ["steps=3"],
        "optimizer.schedule.warmup_steps is 5 in a run of 3 steps, so it never ends; "
        "use optimizer.schedule.warmup_steps=0",
    ),
    "offload without sharding": (
        ["model.offload=true"],
        "model.offload needs sharded optimizer states; use model.zero_stage=2, or model.offload=false",
    ),
    "no override": (["steps"], "steps: is no override, as in key=value (missing EQUAL at '<EOF>')"),
}


@pytest.mark.parametrize(("overrides", "message"), WRONG.values(), ids=WRONG)
def test_wrong_command(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        check(compose("train", overrides))
    assert str(error.value) == message


def test_several_problems_are_told_together() -> None:
    overrides = ["+objective.betta=0.1", "+rollout.temprature=1", "optimizer.algorithm.lr=fast", "logger.wandb.mode=of"]
    with pytest.raises(ConfigError) as error:
        check(compose("train", overrides))
    assert str(error.value).splitlines() == [
        "objective.betta: adfm.grpo.objective.GRPO takes no such argument; did you mean 'beta'?",
        "optimizer.algorithm.lr: 'fast' is not a number or Tensor",
        "rollout.temprature: adfm.grpo.rollout.Sampling takes no such argument; did you mean 'temperature'?",
        "logger.wandb.mode: 'of' is not one of 'offline', 'online'",
    ]


def test_a_term_without_what_it_judges_with() -> None:
    with pytest.raises(
        ConfigError, match=r"^reward\.terms\.mine: has no term, so it rewards nothing; drop it with ~reward"
    ):
        check(compose("train", ["+reward.terms.mine.weight=1"]))


def test_a_weight_that_is_no_number() -> None:
    with pytest.raises(ConfigError, match=r"^reward\.terms\.format\.weight: 'much' is not a number$"):
        check(compose("train", ["reward.terms.format.weight=much"]))


def test_the_range_of_a_constructor_is_told_with_its_node() -> None:
    with pytest.raises(ConfigError, match=r"^optimizer\.schedule: .*warmup_steps is -1; it must be 0 or more$"):
        check(compose("train", ["optimizer.schedule.warmup_steps=-1"]))


def test_a_file_that_is_no_yaml_is_named_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text("defaults: [train]\nname: [one: two\n")
    with pytest.raises(ConfigError, match=re.escape(f"{file}, line 3, column 1: is not YAML")):
        composed(file)
