"""Rules that no single node can check: each message ends with the override that mends it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from adfm.types import Reward, Template

Config = Mapping[str, Any]
"""A plain, resolved training config."""


def rule_problems(config: Config) -> list[str]:
    """List what contradicts itself in a training config, without building anything."""
    rules = (_group_rules, _trained_parts, _memory_rules, _process_rules, _schedule_rules)
    return [problem for rule in rules for problem in rule(config)]


def _group_rules(config: Config) -> Iterator[str]:
    rollout = config["rollout"]
    group_size, temperature = rollout.get("group_size"), rollout.get("temperature")
    if group_size is not None and group_size < 2:
        yield f"rollout.group_size is {group_size}: a group compares completions; use rollout.group_size=2 or more"
    if temperature is not None and temperature <= 0:
        yield f"rollout.temperature is {temperature}: completions would not differ; use rollout.temperature=1.0"


def _trained_parts(config: Config) -> Iterator[str]:
    model = config["model"]
    freeze = model["freeze"]
    if model["lora"] is not None and freeze["language"]:
        yield (
            "model.lora trains adapters in the language model, which model.freeze.language=true forbids; "
            "use model.freeze.language=false or model.lora=null"
        )
    if model["lora"] is None and all(freeze.values()):
        yield "model.freeze leaves nothing to train; use model.freeze.language=false"


def _memory_rules(config: Config) -> Iterator[str]:
    model, rollout = config["model"], config["rollout"]
    group_size = rollout.get("group_size", 1)
    completion_tokens = rollout.get("completion_tokens", model["completion_tokens"])
    largest = model["prompt_tokens"] + group_size * completion_tokens
    if model["token_budget"] < largest:
        yield (
            f"model.token_budget is {model['token_budget']}, and a group can take {largest} tokens "
            f"(prompt {model['prompt_tokens']} + {group_size} x {completion_tokens}); use model.token_budget={largest}"
        )
    if model["offload"] and model["zero_stage"] == 0:
        yield "model.offload needs sharded optimizer states; use model.zero_stage=2, or model.offload=false"


def _process_rules(config: Config) -> Iterator[str]:
    prompts, engine = config["prompts_per_step"], config["engine"]
    processes = engine["nproc"] * engine["nnodes"]
    if prompts < processes:
        yield f"prompts_per_step is {prompts}, too few for {processes} processes; use prompts_per_step={processes}"


def _schedule_rules(config: Config) -> Iterator[str]:
    warmup, steps = config["optimizer"]["schedule"].get("warmup_steps", 0), config["steps"]
    if warmup >= steps:
        yield (
            f"optimizer.schedule.warmup_steps is {warmup} in a run of {steps} steps, so it never ends; "
            f"use optimizer.schedule.warmup_steps={steps // 10}"
        )


def reading_problems(template: Template, reward: Reward, shipped: Callable[[], Mapping[str, Template]]) -> list[str]:
    """List the reward terms that judge what the template does not write; `shipped` gives the others by option."""
    problems = []
    for name, term in getattr(reward, "terms", {}).items():
        needs = frozenset(getattr(term, "needs", ()))
        missing = sorted(needs - template.provides)
        if missing:
            serving = [other for other, candidate in shipped().items() if needs <= candidate.provides]
            use = f"use reasoning={' or '.join(serving)}, or " if serving else "use "
            problems.append(
                f"reward term {name!r} reads {' and '.join(missing)}, which reasoning={template.name} does not write; "
                f"{use}~reward.terms.{name}"
            )
    return problems
