"""What the peers are given: the workloads, their images, their rewards, and the checkpoints they start from."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from adfm.data.textures import crop, textures
from adfm.reasoning.frames import AbsoluteFrames
from adfm.types import Sample

FACTOR = 28
"""Pixels of one image token's side: patches of 14, merged 2 x 2."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """The sizes of one step."""

    name: str
    image_side: int
    """Pixels of the square images; the processor's limits are set to this size."""
    completion_tokens: int
    """Every completion has exactly as many."""
    references: int = 0
    """Images that a prompt shows before the sample's own."""
    prompts: int = 4
    group_size: int = 8

    @property
    def image_tokens(self) -> int:
        """Image tokens of one prompt."""
        pixels = self.image_side**2
        frame = AbsoluteFrames(factor=FACTOR, min_pixels=pixels, max_pixels=pixels)(self.image_side, self.image_side)
        width, height = frame.image_size
        return (1 + self.references) * (width // FACTOR) * (height // FACTOR)


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload(name="W1", image_side=112, completion_tokens=48),
        Workload(name="W2", image_side=672, completion_tokens=48),
        Workload(name="W3", image_side=672, completion_tokens=128),
        Workload(name="W4", image_side=448, completion_tokens=48, references=2),
    )
}


def draw_samples(workload: Workload, folder: Path, steps: int, *, seed: int = 0) -> list[list[Sample]]:
    """Draw the images of `steps` steps into `folder`, none shown twice, and return each step's samples."""
    folder.mkdir(parents=True, exist_ok=True)
    surfaces = textures("train")
    rng = np.random.default_rng(seed)

    def draw(name: str, surface: int) -> Path:
        pixels = crop(surfaces[surface % len(surfaces)], rng, workload.image_side, turn=0.3)
        path = folder / f"{name}.png"
        Image.fromarray((pixels.clip(0, 1) * 255).astype(np.uint8)).save(path)
        return path

    def sample(step: int, place: int) -> Sample:
        surface = step * workload.prompts + place
        name = f"{workload.name}-{seed}-{step}-{place}"
        return Sample(
            id=name,
            image=draw(name, surface),
            stated_size=(workload.image_side, workload.image_side),
            category=surfaces[surface % len(surfaces)].category,
            anomalous=False,
            references=tuple(draw(f"{name}-reference{index}", surface) for index in range(workload.references)),
        )

    return [[sample(step, place) for place in range(workload.prompts)] for step in range(steps)]


def spread_rewards(sample_id: str, count: int) -> list[float]:
    """Return `count` rewards that differ, at no cost, always the same for a sample."""
    return np.random.default_rng(zlib.crc32(sample_id.encode())).random(count).tolist()


def overrides(
    workload: Workload, checkpoint: str = "tiny", preset: str = "tiny", *, beta: float, learning_rate: float
) -> list[str]:
    """Return what a training run of adfm is told on its command line to be this workload."""
    pixels = workload.image_side**2
    prompt_tokens = workload.image_tokens + 512
    return [
        f"model={preset}",
        f"model.path={checkpoint}",
        f"model.min_pixels={pixels}",
        f"model.max_pixels={pixels}",
        f"model.prompt_tokens={prompt_tokens}",
        f"model.completion_tokens={workload.completion_tokens}",
        f"model.token_budget={max(8192, prompt_tokens + workload.group_size * workload.completion_tokens)}",
        "model.feature_cache_disk=false",
        f"model.learning_rate={learning_rate}",
        "model.warmup_steps=0",
        f"rollout.group_size={workload.group_size}",
        f"reasoning.references={workload.references}",
        f"objective.beta={beta}",
        f"prompts_per_step={workload.prompts}",
        "optimizer=adamw_constant",
        "objective/credit=whole_completion",  # as TRL has it
    ]
