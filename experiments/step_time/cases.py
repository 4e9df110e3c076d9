"""What is compared: a workload on a checkpoint, trained in one way, as adfm and as TRL are told it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import qwen3b
from omegaconf import OmegaConf
from transformers import AutoTokenizer
from workloads import WORKLOADS, Workload, draw_samples, overrides, spread_rewards

from adfm.config.compose import build, compose
from adfm.models import tiny
from adfm.types import Sample

LARGE = Workload(name="3B", image_side=1024, completion_tokens=256)
LORA_RANK = 64
LORA_TARGETS = r"model\.language_model\..*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How TRL cuts a step."""

    rows: int
    gradient_checkpointing: bool = False


@dataclass(frozen=True, kw_only=True)
class Case:
    """A workload on a checkpoint, trained in one way."""

    name: str
    workload: Workload
    checkpoint: Path
    preset: str = "tiny"
    dtype: str = "float32"
    lora: bool = False
    alternating: bool = True
    """Whether both peers are held at once and step in turn; two 3B trainings do not fit on one GPU."""
    layouts: tuple[Layout, ...]
    """Of which TRL gets the fastest."""

    @property
    def settings(self) -> tuple[str, ...]:
        """What adfm is told besides the workload."""
        if self.preset == "tiny":
            return ()
        told = ("engine=zero0", "model.gradient_checkpointing=false")
        return (*told, "model/lora=all_linear") if self.lora else told


class Work:
    """The steps of a case, as each peer takes them."""

    def __init__(self, case: Case, folder: Path, steps: int) -> None:
        """Draw the images of `steps` steps into `folder`."""
        self.case = case
        self.samples = draw_samples(case.workload, folder, steps)
        config = compose("train", overrides(case.workload, beta=0, learning_rate=1e-6))
        OmegaConf.resolve(config)
        self._template, self._frames = build(config.reasoning), build(config.model.frames)
        self.prompts = [[self._for_trl(sample) for sample in step] for step in self.samples]

    def adfm(self, beta: float) -> dict[str, Any]:
        """Return what adfm's peer is built from."""
        case = self.case
        return {
            "workload": case.workload,
            "checkpoint": str(case.checkpoint),
            "preset": case.preset,
            "beta": beta,
            "settings": case.settings,
        }

    def trl(self, beta: float, layout: Layout) -> dict[str, Any]:
        """Return what TRL's peer is built from."""
        case = self.case
        return {
            "checkpoint": str(case.checkpoint),
            "steps": self.prompts,
            "pixels": case.workload.image_side**2,
            "group_size": case.workload.group_size,
            "completion_tokens": case.workload.completion_tokens,
            "beta": beta,
            "dtype": case.dtype,
            "lora_rank": LORA_RANK if case.lora else None,
            "lora_targets": LORA_TARGETS,
            **asdict(layout),
        }

    def prompt_tokens(self) -> int:
        """Count the tokens of the first prompt, image tokens included."""
        tokenizer = AutoTokenizer.from_pretrained(self.case.checkpoint)
        prompt = self._template.ask(self.samples[0][0], self._frames)
        text = tokenizer.apply_chat_template(list(prompt.messages), tokenize=False, add_generation_prompt=True)
        shown = len(tokenizer(text, add_special_tokens=False)["input_ids"])
        return shown - len(prompt.images) + self.case.workload.image_tokens

    def _for_trl(self, sample: Sample) -> dict[str, Any]:
        prompt = self._template.ask(sample, self._frames)
        rewards = spread_rewards(sample.id, self.case.workload.group_size)
        return {"messages": list(prompt.messages), "images": list(prompt.images), "rewards": rewards}


def small_cases(names: Sequence[str], rows: Sequence[int]) -> list[Case]:
    """Return workloads on the embedded model; `rows` are layouts for TRL to try."""
    return [
        Case(name=name, workload=WORKLOADS[name], checkpoint=tiny.folder(), layouts=layouts(rows)) for name in names
    ]


def large_cases(folder: Path, rows: Sequence[int], *, shrunk: bool) -> list[Case]:
    """Write the 3B architecture into `folder` and return its cases, with LoRA and trained whole."""
    workload = replace(LARGE, image_side=112, completion_tokens=8) if shrunk else LARGE
    checkpoint = qwen3b.write(folder, shrunk=shrunk)
    return [
        Case(
            name=f"3B {way}" + (", shrunk" if shrunk else ""),
            workload=workload,
            checkpoint=checkpoint,
            preset="qwen3b",
            dtype="bfloat16",
            lora=way == "LoRA",
            alternating=False,
            layouts=(*layouts(rows), Layout(rows=rows[0], gradient_checkpointing=True)),
        )
        for way in ("LoRA", "full")
    ]


def layouts(rows: Sequence[int]) -> tuple[Layout, ...]:
    """Return the layouts without gradient checkpointing."""
    return tuple(Layout(rows=number) for number in rows)
