"""A cold start, from its folder: from weights to a checkpoint, stage by stage.

    <output>/   config.yaml   metrics.jsonl   untrained/   tower/   grounding/   engine/   coldstart.json (at the end)

Every stage leaves an ordinary checkpoint folder, and a stage whose folder exists is not done again.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from adfm.config.compose import build
from adfm.config.environment import environment
from adfm.data.order import balanced
from adfm.evaluation.plan import model_config
from adfm.evaluation.training import names_after
from adfm.files import write_whole
from adfm.grpo.distributed import Ranks
from adfm.models import tiny
from adfm.models.card import Card, write_card
from adfm.models.vlm import VLM, EncodedPrompt
from adfm.reasoning.defect_types import defect_types
from adfm.supervised.dense import DensePretraining
from adfm.supervised.grounding import Grounding
from adfm.supervised.images import LabelledImages, kinds_of, load
from adfm.supervised.lessons import Lessons
from adfm.types import Dataset, Sample, Template

Parts = Mapping[str, Sequence[Sample]]
Templates = Mapping[str, tuple[Template, float]]
DONE = "coldstart.json"

TOWER_ONLY = SimpleNamespace(vision=False, merger=False, language=True)
LANGUAGE_ONLY = SimpleNamespace(vision=True, merger=True, language=False)


class ColdStart:
    """The stages of one cold start, in one folder."""

    def __init__(self, folder: Path) -> None:
        """Read the folder's config and build what all stages share."""
        self.folder = folder
        self.config: DictConfig = OmegaConf.load(folder / "config.yaml")  # pyright: ignore[reportAttributeAccessIssue]
        plain: Any = OmegaConf.to_container(self.config, resolve=True)
        dataset: Dataset = build(self.config.dataset)
        self.fingerprint = dataset.fingerprint
        start = None if self.config.scratch is not None else self.config.model.path
        names = names_after(start, self.config.dataset)
        self.card = Card.of(plain["model"], plain["reasoning"], defect_types(dataset), names)
        train = dataset.split("train")
        self.samples: Parts = {"train": balanced(train) if self.config.balanced else train, "val": dataset.split("val")}
        self.templates: Templates = {
            name: (build(entry.template), entry.share)
            for name, entry in self.config.templates.items()
            if entry.share > 0
        }
        self.ranks = Ranks()

    def run(self) -> dict[str, Any]:
        """Run what is missing; return what `coldstart.json` says."""
        started = time.monotonic()
        path: str = self.config.model.path
        if self.config.scratch is not None:
            path = self._untrained()
        numbers: dict[str, Any] = {}
        for stage, steps in {"tower": self.config.dense.steps, "grounding": self.config.dense.grounding.steps}.items():
            if steps:
                path, numbers[stage] = self._once(stage, path)
        output = checkpoint_folder(self.config)
        vlm = VLM.load(model_config(self.config.model, path=path), device=self.ranks.device, train=True)
        numbers["supervised"] = build(self.config.supervised).run(
            vlm,
            self.samples,
            self.templates,
            optimizer=build(self.config.optimizer.algorithm),
            schedule=build(self.config.optimizer.schedule),
            max_grad_norm=self.config.optimizer.max_grad_norm,
            average=build(self.config.optimizer.average) if self.config.optimizer.average else None,
            deepspeed=OmegaConf.to_container(self.config.engine.deepspeed, resolve=True),
            folder=self.folder / "engine",
            output=output,
            seed=self.config.seed,
            report=self._reporter("supervised"),
            dtype=getattr(torch, self.config.checkpoint_dtype) if self.config.checkpoint_dtype else None,
            merged=self.config.merged,
        )
        told = {
            "command": self.config.command,
            "seconds": round(time.monotonic() - started, 1),
            "data": self.fingerprint(),
            "metrics": numbers,
            "environment": environment(),
        }
        if self.ranks.rank == 0:
            write_card(output, self.card)
            for place in (output, self.folder):
                write_whole(place / DONE, json.dumps(told, indent=2) + "\n")
        return told

    def _untrained(self) -> str:
        """Write the checkpoint of random weights that the recipe starts from."""
        folder = self.folder / "untrained"
        if self.ranks.rank == 0 and not (folder / "config.json").is_file():
            scratch = build(self.config.scratch)
            frames = build(self.config.model.frames)
            lessons = Lessons(self.samples["train"], self.templates, frames, per_step=1, seed=self.config.seed)
            scratch.write(folder, lessons.texts(scratch.samples), seed=self.config.seed)
        self.ranks.barrier()
        return str(folder)

    def _tower(self, path: str) -> tuple[VLM, dict[str, float]]:
        """Pre-train tower and merger on mask labels."""
        vlm = VLM.load(self._model(path, TOWER_ONLY), device=self.ranks.device, train=True)
        recipe: DensePretraining = build(self.config.dense)
        report, seed = self._reporter("tower"), self.config.seed
        return vlm, recipe.run(vlm.tower.visual, vlm.image_processor, self.samples, seed=seed, report=report)

    def _grounding(self, path: str) -> tuple[VLM, dict[str, float]]:
        """Teach the language model where an image token is, and to write boxes."""
        vlm = VLM.load(self._model(path, LANGUAGE_ONLY), device=self.ranks.device, train=True)
        template, _ = next(iter(self.templates.values()))
        recipe: Grounding = build(self.config.dense.grounding)
        defective = [sample for sample in self.samples["train"] if sample.anomalous]
        images = load(defective, vlm.image_processor, kinds_of(defective))

        def opening(group: LabelledImages) -> EncodedPrompt:
            return vlm.encode(template.ask(group.samples[0], vlm.frames))

        report, seed = self._reporter("grounding"), self.config.seed
        return vlm, recipe.run(vlm, images, opening, seed=seed, report=report)

    def _model(self, path: str, freeze: SimpleNamespace) -> Any:
        config: Any = model_config(self.config.model, path=path)
        config.freeze, config.lora = freeze, None
        return config

    def _once(self, name: str, path: str) -> tuple[str, dict[str, float]]:
        """Do a stage on rank 0, unless its folder is there; return the folder and its numbers."""
        folder = self.folder / name
        if self.ranks.rank == 0 and not (folder / DONE).is_file():
            vlm, numbers = {"tower": self._tower, "grounding": self._grounding}[name](path)
            vlm.save(folder)
            write_whole(folder / DONE, json.dumps(numbers))
        self.ranks.barrier()
        return str(folder), json.loads((folder / DONE).read_text())

    def _reporter(self, stage: str) -> Any:
        def report(numbers: Mapping[str, float]) -> None:
            line = {"stage": stage, **{name: round(float(value), 6) for name, value in numbers.items()}}
            with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            print(
                "  ".join(f"{name} {value:.4g}" if isinstance(value, float) else value for name, value in line.items()),
                file=sys.stderr,
            )

        return report


def checkpoint_folder(config: DictConfig) -> Path:
    """Return where the finished checkpoint goes; `tiny` is the packaged folder."""
    return tiny.folder() if config.checkpoint == "tiny" else Path(config.checkpoint)
