"""Supervised fine-tuning: make the reference completions likely, on the packed rows and the engine that GRPO uses."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from adfm.errors import ConfigError
from adfm.evaluation import runner
from adfm.evaluation.metrics import summary
from adfm.evaluation.score import AnswerScore
from adfm.grpo.average import Average
from adfm.grpo.engine import Engine
from adfm.grpo.logprob import Scorer
from adfm.grpo.packing import PackedGroups, PackItem, pack
from adfm.grpo.schedule import Schedule
from adfm.models.vlm import VLM
from adfm.supervised.lessons import Lesson, Lessons
from adfm.types import Sample, Template

Report = Callable[[Mapping[str, float]], None]
MEASURED = ("balanced_accuracy", "auroc", "box_iou", "parse_failure")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finetuning:
    """The recipe of the supervised stage."""

    steps: int
    """Updates of the whole stage."""
    prompts_per_step: int
    """Over all ranks."""
    renamed_categories: float
    """Share of the lessons in which the category has a made-up name."""
    report_every: int
    measure_every: int
    """Steps between two looks at the validation part and two checkpoints to resume from."""
    val_samples: int

    def __post_init__(self) -> None:
        """Check ranges."""
        if not 0 <= self.renamed_categories <= 1:
            raise ConfigError(
                f"supervised.renamed_categories is {self.renamed_categories}; it must lie between 0 and 1"
            )
        for name in ("steps", "prompts_per_step", "report_every", "measure_every", "val_samples"):
            if getattr(self, name) < 1:
                raise ConfigError(f"supervised.{name} is {getattr(self, name)}; it must be at least 1")

    def run(
        self,
        vlm: VLM,
        samples: Mapping[str, Sequence[Sample]],
        templates: Mapping[str, tuple[Template, float]],
        *,
        optimizer: Callable[..., torch.optim.Optimizer],
        schedule: Schedule,
        max_grad_norm: float,
        average: Average | None,
        deepspeed: Mapping[str, Any],
        folder: Path,
        output: Path,
        seed: int,
        report: Report,
        **save: Any,
    ) -> dict[str, float]:
        """Train the model and export it to `output`; go on from the newest checkpoint in `folder`, if there is one.

        Args:
            vlm: In training mode, on its device.
            samples: Parts `train` and `val`; the second is only measured.
            templates: Name to template and its share of the lessons.
            optimizer: See `Engine`.
            schedule: See `Engine`.
            max_grad_norm: See `Engine`.
            average: See `Engine`.
            deepspeed: See `Engine`.
            folder: For what is needed to resume.
            output: The exported checkpoint folder.
            seed: Of the lessons' order, templates and wording.
            report: Called with `step` and the numbers so far, on rank 0.
            save: Further arguments of `VLM.save`.

        Returns:
            The last numbers on `val`: name of the template, slash, metric.
        """
        engine = Engine(
            Scorer(vlm),
            optimizer=optimizer,
            schedule=schedule,
            max_grad_norm=max_grad_norm,
            average=average,
            deepspeed=deepspeed,
            dtype=vlm.dtype,
            total_steps=self.steps,
            device=vlm.device,
        )
        state = engine.load(folder) or {"numbers": {}}
        lessons = Lessons(
            samples["train"],
            templates,
            vlm.frames,
            per_step=self.prompts_per_step,
            seed=seed,
            renamed=self.renamed_categories,
            rank=engine.rank,
            world_size=engine.world_size,
        )
        held_out = runner.subset(samples["val"], self.val_samples)
        told: Report = report if engine.rank == 0 else lambda _: None
        started = time.monotonic()
        for step in range(engine.step + 1, self.steps + 1):
            numbers = learn(engine, packed(vlm, lessons.batch(step - 1), vlm.config.token_budget))
            if step % self.report_every == 0:
                told({"step": step, "seconds": time.monotonic() - started, **numbers})
            if step % self.measure_every == 0 or step == self.steps:
                with engine.averaged():
                    state["numbers"] = measure(vlm, templates, held_out)
                told({"step": step, **state["numbers"]})
                engine.save(folder, state)
        with engine.averaged():
            if engine.rank == 0:
                vlm.save(output, **save)
        engine.close()
        return state["numbers"]


def learn(engine: Engine, rows: Sequence[PackedGroups]) -> dict[str, float]:
    """Make one update by the mean cross-entropy over all completion tokens of all ranks.

    Returns:
        `loss` (nats a token), `grad_norm` and `learning_rate`.
    """
    targets = engine.sum({"targets": float(sum(len(row.targets) for row in rows))})["targets"]
    loss = 0.0
    for index in range(engine.max_count(len(rows))):
        share = -engine(rows[min(index, len(rows) - 1)]).logprob.sum() / targets
        engine.backward(share * float(index < len(rows)))  # ranks run equally many micro-batches
        loss += float(share.detach()) * (index < len(rows))
    return engine.sum({"loss": loss}) | engine.update()


def packed(vlm: VLM, lessons: Sequence[Lesson], token_budget: int) -> list[PackedGroups]:
    """Encode lessons and pack them into rows; a completion ends with the end of the turn."""
    end = vlm.end_token_ids[0]
    items = [
        PackItem(
            encoded=vlm.encode(lesson.prompt),
            completions=(torch.tensor([*vlm.tokenize(lesson.completion), end], dtype=torch.long),),
        )
        for lesson in lessons
    ]
    return pack(items, token_budget, vlm.device)


def measure(vlm: VLM, templates: Mapping[str, tuple[Template, float]], samples: Sequence[Sample]) -> dict[str, float]:
    """Return those of `MEASURED` that are defined, of greedy completions under each template.

    The model must be in eval mode.
    """
    ask = partial(runner.evaluate, vlm, samples=samples, score=AnswerScore(), title="")
    found = {
        name: summary(ask(template=template), boxes="boxes" in template.provides)
        for name, (template, _) in templates.items()
    }
    return {
        f"{name}/{metric}": values[metric] for name, values in found.items() for metric in MEASURED if metric in values
    }
