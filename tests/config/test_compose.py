"""Every shipped config composes and binds, and what users type gives what they expect."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from adfm.config.command_schemas import COMMANDS
from adfm.config.command_schemas.evaluation import BASELINES
from adfm.config.compose import build, check, compose, conf_folder, options, shipped_templates
from adfm.config.schema import METRICS, SCORES
from adfm.evaluation import baselines, bootstrap, score

ROOT_NEEDED = (
    *("magnetic_tile", "mvtec", "manifest", "mmad"),
    *("btad", "dtd_synthetic", "goodsad", "mpdd", "mvtec_ad2", "mvtec_loco", "visa", "visa_raw"),
    *("coco", "dagm2007", "deeppcb", "elpv", "folder", "kolektor_sdd", "kolektor_sdd2", "neu_det", "real_iad"),
)
"""Data sets that lie where the user says."""
NEEDED = {
    "rewards": ["input=completions.jsonl", "output=rewards.jsonl"],
    "predict": ["images=photos", "out=inspected"],
    "calibrate": ["normals=photos"],
}
"""What has no default."""
GROUPS = ["dataset", "debug", "engine", "experiment", "logger", "model", "objective", "optimizer", "reasoning"]
GROUPS += ["reward", "rollout", "sampling"]


def overrides_of(group: str, option: str) -> list[str]:
    if group == "dataset" and option in ROOT_NEEDED:
        return [
            f"dataset={option}",
            "dataset.root=somewhere",
        ]
    if group == "reasoning" and option == "single_stage":
        return ["reasoning=single_stage", "reward=roam"]
    if group == "reasoning" and option == "mmad":
        return ["reasoning=mmad", "reward=roam", "~reward.terms.roam"]
    return [f"{group}={option}"]


def test_every_group_is_tested() -> None:
    assert {folder.name for folder in conf_folder().iterdir() if folder.is_dir()} == {*GROUPS, "recipe", "masks"}


@pytest.mark.parametrize("recipe", options("recipe"))
def test_every_recipe_of_a_cold_start_composes_and_binds(recipe: str) -> None:
    check(compose("coldstart", [f"recipe={recipe}"]))


@pytest.mark.parametrize(("group", "option"), [(group, option) for group in GROUPS for option in options(group)])
def test_every_option_composes_and_binds(group: str, option: str) -> None:
    check(compose("train", overrides_of(group, option)))


@pytest.mark.parametrize("experiment", options("experiment"))
@pytest.mark.parametrize("debug", options("debug"))
@pytest.mark.parametrize("model", options("model"))
def test_methods_scales_and_debug_overlays_combine(experiment: str, debug: str, model: str) -> None:
    check(compose("train", [f"experiment={experiment}", f"debug={debug}", f"model={model}"]))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_composes(command: str) -> None:
    check(compose(command, NEEDED.get(command, [])))


@pytest.mark.parametrize("masks", options("masks"))
def test_every_kind_of_masks_composes_and_binds(masks: str) -> None:
    check(compose("predict", [*NEEDED["predict"], f"masks={masks}"]))


@pytest.mark.parametrize(
    "file", sorted(conf_folder().rglob("*.yaml")), ids=lambda file: str(file.relative_to(conf_folder()))
)
def test_every_config_says_what_it_is(file: Path) -> None:
    lines = [line for line in file.read_text().splitlines() if not line.startswith("# @package")]
    assert lines[0].startswith("# ")


def test_qwen3b_with_the_fine_grained_reward_is_the_golden_config(golden: Path) -> None:
    """Made by `make golden`."""
    composed = compose("train", ["model=qwen3b", "reward=fine_grained"])
    assert OmegaConf.to_yaml(composed, resolve=True) == (golden / "train.yaml").read_text().rstrip("\n") + "\n"


def test_a_method_keeps_the_scale_of_the_model() -> None:
    for experiment, group_size, beta, temperature in (("anomalyr1", 8, 0.04, 1.0), ("ad_fm", 6, 0.04, 0.9)):
        for model in options("model"):
            scale = compose("train", [f"model={model}"]).model
            config = compose("train", [f"experiment={experiment}", f"model={model}"])
            assert config.model == scale
            assert config.optimizer.algorithm.lr == scale.learning_rate
            assert (config.rollout.group_size, config.objective.beta) == (group_size, beta)
            assert config.rollout.temperature == temperature


def test_one_override_of_the_model_reaches_what_uses_it() -> None:
    config = compose(
        "train", ["model.learning_rate=0.5", "model.completion_tokens=7", "model.zero_stage=2", "model.offload=true"]
    )
    assert config.optimizer.algorithm.lr == 0.5
    assert config.rollout.completion_tokens == 7
    assert config.engine.deepspeed.zero_optimization == {"stage": 2, "offload_optimizer": {"device": "cpu"}}


def test_terms_are_weighted_and_dropped_by_name() -> None:
    config = compose("train", ["reward.terms.format.weight=0.1", "~reward.terms.localization"])
    check(config)
    reward = build(config.reward)
    assert reward.weights == {"classification": 1.0, "format": 0.1}


def test_lora_is_chosen_then_sized() -> None:
    config = compose("train", ["model/lora=all_linear", "model.lora.rank=8"])
    check(config)
    assert (config.model.lora.rank, config.model.lora.alpha) == (8, 128)
    assert compose("train", ["model=qwen7b", "model.lora=null"]).model.lora is None


def test_templates_are_known_by_the_option_that_makes_them() -> None:
    assert {option: template.name for option, template in shipped_templates().items()} == {
        o: o for o in options("reasoning")
    }


def test_what_can_be_chosen_by_is_what_the_evaluation_knows() -> None:
    assert set(METRICS) <= {*bootstrap.STATISTICS, "choice_accuracy"}
    assert set(SCORES) == set(score.SCORES)
    assert set(BASELINES) == set(baselines.BASELINES)
