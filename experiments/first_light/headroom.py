"""How far samples reach: the box-mask IoU of a mean sample and of the best of a group, on defective images.

    python experiments/first_light/headroom.py [--model tiny] [--samples 150] [--group 16]

Images are fresh ones of the training surfaces. GRPO raises the mean sample; it learns from the best of a group.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from jaxtyping import Float
from omegaconf import DictConfig, OmegaConf

from adfm.config.compose import build, compose
from adfm.evaluation import localization
from adfm.evaluation.plan import model_config
from adfm.grpo.collect import Collector
from adfm.models.vlm import VLM
from adfm.types import Group

FRESH = 60000
"""No training of this study takes images from this place on."""


def box_iou(group: Group) -> list[float]:
    """Return the box-mask IoU of each of a group's samples."""
    sample = group.prompt.sample
    size = {"width": sample.width, "height": sample.height}
    return [localization.box_mask_iou(verdict.boxes, sample.boxes, **size) for verdict in group.verdicts]


def sampled(config: DictConfig, count: int) -> Float[np.ndarray, "image sample"]:
    """Draw a group for each of `count` defective images and return the IoU of every sample."""
    vlm = VLM.load(model_config(config.model), device=torch.device("cpu"), train=False)
    template = build(config.reasoning)
    defective = [sample for sample in build(config.dataset).split("train") if sample.anomalous]
    collector = Collector(build(config.rollout, vlm=vlm), template, build(config.reward))
    groups = collector.collect([template.ask(sample, vlm.frames) for sample in defective[:count]], seed=0).groups
    return np.array([box_iou(group) for group in groups])


def main() -> None:
    """Print the mean over images of the mean sample, the median one and the best."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny", help="checkpoint folder (default: the embedded model)")
    parser.add_argument("--samples", type=int, default=150)
    parser.add_argument("--group", type=int, default=16)
    wanted = parser.parse_args()
    overrides = [f"model.path={wanted.model}", f"rollout.group_size={wanted.group}", f"dataset.train_from={FRESH}"]
    config = compose("train", ["reasoning=three_stage", "reward=fine_grained_strict", "dataset.train=1000", *overrides])
    resolved = OmegaConf.create(OmegaConf.to_container(config, resolve=True))
    assert isinstance(resolved, DictConfig)
    found = sampled(resolved, wanted.samples)
    mean, median, best = found.mean(), np.median(found, axis=1).mean(), found.max(axis=1).mean()
    print(f"box-mask IoU of {len(found)} images: mean sample {mean:.3f}, median {median:.3f}, best {best:.3f}")


if __name__ == "__main__":
    main()
