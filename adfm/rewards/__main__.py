"""`python -m adfm.rewards reward=<option> input=completions.jsonl output=rewards.jsonl`: a reward without a model."""

from __future__ import annotations

from pathlib import Path

import hydra
from omegaconf import DictConfig

from adfm.config.command import command
from adfm.config.compose import build, check
from adfm.errors import ConfigError
from adfm.reasoning.template import StagedTemplate
from adfm.rewards.composite import Composite
from adfm.rewards.file import reward_file


@command("rewards")
def main(config: DictConfig) -> None:
    """Judge the completions of a file by a reward; conf/rewards.yaml says what can be set."""
    check(config)
    reward: Composite = build(config.reward)
    means = reward_file(Path(config.input), Path(config.output), _template(config, reward), reward)
    count = means.pop("completions")
    shown = ", ".join(f"{name} {value:.4f}" for name, value in means.items())
    print(f"{count} completions, mean {shown or 'of nothing'}: {config.output}")


def _template(config: DictConfig, reward: Composite) -> StagedTemplate:
    """Build the template that was asked for, else the one that the reward was released with, reading as released."""
    if config.reasoning is not None:
        return build(config.reasoning)
    if reward.released_with is None:
        raise ConfigError("reward.released_with names no template to read with; add reasoning=three_stage or another")
    native = hydra.compose("rewards", [f"reasoning={reward.released_with}"]).reasoning
    return build(native, reading="released")


if __name__ == "__main__":
    main()
