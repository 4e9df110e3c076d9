"""What the tests of templates and rewards share: shipped options built from conf/, samples, prompts."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from adfm.config.compose import build, compose
from adfm.reasoning.frames import AbsoluteFrames
from adfm.reasoning.template import StagedTemplate
from adfm.rewards.composite import Composite
from adfm.types import Prompt, Sample

TEMPLATES = ("single_stage", "single_stage_boxes", "three_stage")
REWARDS = ("roam", "roam_strict", "fine_grained", "fine_grained_strict", "fine_grained_explained")
FRAMES = AbsoluteFrames(min_pixels=56 * 56, max_pixels=112 * 112)


@cache
def node(group: str, option: str) -> DictConfig:
    """The shipped node of a config group."""
    return compose("rewards", [f"{group}={option}"])[group]


def template(option: str, **changes: Any) -> StagedTemplate:
    return build(OmegaConf.merge(node("reasoning", option), changes))


def reward(option: str) -> Composite:
    return build(node("reward", option))


def sample(number: int = 0, **changes: Any) -> Sample:
    """An anomalous sample with one box, or, without boxes, a normal one."""
    boxes = changes.pop("boxes", ((20.0, 40.0, 120.0, 160.0),))
    known: dict[str, Any] = {
        "id": f"sample-{number}",
        "image": Path(f"{number}.png"),
        "stated_size": (224, 224),
        "stated_boxes": boxes,
        "category": "brick",
        "anomalous": bool(boxes),
        "defect_type": "scratch" if boxes else None,
        "knowledge": "Good bricks are even.",
        "attributes": {"severity": "severe"} if boxes else {},
    }
    return Sample(**(known | changes))


def asked(option: str, number: int = 0, **changes: Any) -> tuple[StagedTemplate, Prompt]:
    """A shipped template and its prompt for a sample."""
    made = template(option)
    return made, made.ask(sample(number, **changes), FRAMES)


def grows_linearly(read: Callable[[str], object], piece: str) -> bool:
    """Whether 16 times as many pieces take less than 64 times the CPU time; in square time they would take 256 times.

    Load can spoil one measurement, so the best of five counts; it cannot make square time look linear.
    """
    short, long = (piece * (characters // len(piece)) for characters in (1_000, 16_000))
    return any(_seconds(read, long) <= 64 * _seconds(read, short) for _ in range(5))


def _seconds(read: Callable[[str], object], text: str) -> float:
    start = time.process_time()
    read(text)
    return time.process_time() - start
