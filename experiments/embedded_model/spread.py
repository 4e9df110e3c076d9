"""Share of groups without spread under each template, on validation images of the easy and medium bins."""

from __future__ import annotations

import argparse

import torch
from omegaconf import DictConfig, OmegaConf

from adfm.config.compose import build, compose
from adfm.evaluation.plan import model_config
from adfm.grpo.collect import Collector
from adfm.models.vlm import VLM

PAIRS = {"three_stage": "fine_grained", "single_stage_boxes": "fine_grained", "single_stage": "roam"}
"""Template to the reward whose spread is looked at."""


def share_without_spread(config: DictConfig, count: int) -> float:
    """Draw a group for each of `count` images with the config's model; return the share whose rewards are all equal."""
    vlm = VLM.load(model_config(config.model), device=torch.device("cpu"), train=False)
    template = build(config.reasoning)
    samples = [sample for sample in build(config.dataset).split("val") if sample.attributes.get("bin") != "hard"]
    collector = Collector(build(config.rollout, vlm=vlm), template, build(config.reward))
    prompts = [template.ask(sample, vlm.frames) for sample in samples[:count]]
    groups = collector.collect(prompts, seed=0).groups
    return sum(not group.has_spread for group in groups) / len(groups)


def main() -> None:
    """Print a line for each template."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="tiny", help="checkpoint folder (default: the embedded model)")
    parser.add_argument("--samples", type=int, default=240)
    options = parser.parse_args()
    for reasoning, reward in PAIRS.items():
        overrides = [f"reasoning={reasoning}", f"reward={reward}", f"model.path={options.model}"]
        config = compose("train", overrides)
        resolved = OmegaConf.create(OmegaConf.to_container(config, resolve=True))
        assert isinstance(resolved, DictConfig)
        print(f"{reasoning} with {reward}: {share_without_spread(resolved, options.samples):.3f}")


if __name__ == "__main__":
    main()
