"""A run, from its folder: build what `config.yaml` describes, train or resume, evaluate before against after, report.

This is where the rooms meet. The order matters and is written once: the reference copy before the engine shards the
weights, the guards after everything is restored, the test part only when training is over.
"""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from adfm.config.compose import build
from adfm.config.environment import environment
from adfm.config.run_folder import RunFolder
from adfm.data import kept
from adfm.evaluation import comparison, runner
from adfm.evaluation.plan import Plan, model_config
from adfm.evaluation.score import SCORES
from adfm.evaluation.training import names_after
from adfm.files import write_whole
from adfm.grpo import guards, loop
from adfm.grpo.collect import Collector, PromptStream
from adfm.grpo.distributed import Ranks
from adfm.grpo.engine import Engine
from adfm.grpo.logprob import Scorer
from adfm.grpo.objective import Clipped
from adfm.grpo.reference import AdapterOff, FrozenCopy, NoReference
from adfm.grpo.rows import RowMaker
from adfm.grpo.selfcheck import PROMPTS, check_fast_path
from adfm.models.card import Card
from adfm.models.vlm import VLM
from adfm.reasoning.defect_types import defect_types
from adfm.rewards.composite import knowing
from adfm.tracking.html import report
from adfm.types import Callback, Dataset, Reward, StepRecord, Template
from adfm.validation import Validation

GUARD_SAMPLES = 64
"""Samples, and pairs of samples, on which the guards look before the first update."""
GUARD_GROUPS = 4
INTERRUPTED = 130


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What callbacks may know of the run they listen to."""

    folder: RunFolder
    config: Mapping[str, Any]
    """Composed, resolved and plain."""
    step: int
    """Steps already made: where a resumed run goes on."""
    steps: int
    is_main: bool
    """Whether this is rank 0, the only one that writes."""
    name: str
    id: str
    """The run's identity, the last part of its folder's name."""
    study: str | None


class Checkpointing:
    """Saves what is needed to go on every `every` steps and at the end."""

    def __init__(
        self, engine: Engine, validation: Validation, folder: Path, *, every: int, keep: int, steps: int
    ) -> None:
        """Save into `folder`, where the `keep` newest stay."""
        self.engine = engine
        self.validation = validation
        self.folder = folder
        self.every = every
        self.keep = keep
        self.steps = steps

    def before_run(self, run: Run) -> None:
        """Nothing to prepare."""

    def after_step(self, record: StepRecord) -> None:
        """Save if it is time."""
        if record.step % self.every == 0 or record.step == self.steps:
            self.engine.save(self.folder, self.validation.state(), keep=self.keep)

    def after_run(self) -> None:
        """Nothing to finish."""


def execute(path: Path) -> None:
    """Run or resume the run of a folder in this process, or as this rank, and mark it complete at its end.

    Raises ConfigError if another process holds the folder. Leaves with status 130 if interrupted.
    """
    folder = RunFolder(path)
    is_main = Ranks().rank == 0
    try:
        with folder.locked() if is_main else nullcontext():
            if is_main:
                write_whole(folder.path / "env.json", json.dumps(environment(), indent=2))
            best_metrics = train(folder)
            if is_main:
                finish(folder, best_metrics)
    except KeyboardInterrupt:
        if is_main:
            print(f"\nInterrupted. The same command resumes {path} from its last checkpoint.", file=sys.stderr)
        sys.exit(INTERRUPTED)


def train(folder: RunFolder) -> dict[str, float]:
    """Train from where the folder's newest checkpoint left off; return the best look at the validation part."""
    config = folder.config
    ranks = Ranks()
    dataset: Dataset = build(config.dataset)
    if ranks.rank == 0:
        kept.store(dataset, folder.data)
    samples = runner.subset(dataset.split("train"), config.train_samples)
    order = build(config.sampling)(samples, seed=config.seed) if config.get("sampling") else None
    template, objective = build(config.reasoning), build(config.objective)
    reward = knowing(build(config.reward), defect_types(dataset))
    vlm = VLM.load(model_config(config.model), device=ranks.device, train=True)
    rollout = build(config.rollout, vlm=vlm)
    frozen_copy = None
    if objective.beta and config.model.lora is None:
        frozen_copy = FrozenCopy(vlm, rollout.temperature)
    engine = Engine(
        Scorer(vlm, rollout.temperature),
        optimizer=build(config.optimizer.algorithm),
        schedule=build(config.optimizer.schedule),
        max_grad_norm=config.optimizer.max_grad_norm,
        deepspeed=OmegaConf.to_container(config.engine.deepspeed, resolve=True),  # type: ignore[arg-type]  # a mapping by the schema
        dtype=vlm.dtype,
        total_steps=config.steps * objective.num_iterations,
        average=build(config.optimizer.average) if config.optimizer.average else None,
        device=ranks.device,
    )
    validation = validation_of(config, folder, dataset, vlm, engine, template, reward)
    if (state := engine.load(folder.checkpoints)) is not None:
        validation.restore(state)
    prompts = PromptStream(
        samples,
        template,
        vlm.frames,
        per_step=config.prompts_per_step,
        seed=config.seed,
        rank=engine.rank,
        world_size=engine.world_size,
        order=order,
    )
    vlm.hold(prompts.images_at_once(runner.BATCH))
    collector = Collector(rollout, template, reward)
    done = engine.step // objective.num_iterations
    with engine.gathered():  # also on a resume, which may be on another machine
        looked_at = [template.ask(sample, vlm.frames) for sample in samples[:PROMPTS]]
        check_fast_path(vlm, looked_at, rollout, seed=config.seed)
    if done == 0:
        check_start(vlm, engine, collector, prompts)
    callbacks = [collector.judge, *callbacks_of(config, folder, engine, validation)]
    tell_start(folder, config, callbacks, engine, done)
    if done == 0:
        first = StepRecord(step=0, groups=(), metrics=dict(validation(0)))
        for callback in callbacks:
            callback.after_step(first)
    loop.train(
        prompts=prompts,
        collector=collector,
        row_maker=RowMaker(vlm, objective, config.model.token_budget),
        objective=objective,
        reference=reference_of(objective, engine, vlm, frozen_copy),
        engine=engine,
        validate=validation,
        callbacks=callbacks,
        steps=config.steps,
    )
    with engine.averaged():
        if engine.rank == 0:
            vlm.save(folder.path / "export" / "last", card=validation.card)
            if config.checkpoint.merged:
                vlm.save(folder.path / "export" / "last-merged", merged=True, card=validation.card)
    for callback in callbacks:
        callback.after_run()
    engine.close()
    return validation.best_metrics


def validation_of(
    config: DictConfig,
    folder: RunFolder,
    dataset: Dataset,
    vlm: VLM,
    engine: Engine,
    template: Template,
    reward: Reward,
) -> Validation:
    """Make the looks at the validation part that `evaluate` describes."""
    return Validation(
        vlm,
        template,
        reward,
        SCORES[config.evaluate.score](),
        runner.subset(dataset.split("val"), config.evaluate.val_samples),
        engine,
        every=config.evaluate.every,
        steps=config.steps,
        metric=config.evaluate.metric,
        best=folder.path / "export" / "best",
        card=card_of(config, dataset),
    )


def card_of(config: DictConfig, dataset: Dataset) -> Card:
    """Make the card that goes with the exported weights."""
    plain: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]  # a mapping by the schema
    names = names_after(config.model.path, config.dataset)
    return Card.of(plain["model"], plain["reasoning"], defect_types(dataset), names)


def callbacks_of(config: DictConfig, folder: RunFolder, engine: Engine, validation: Validation) -> list[Callback]:
    """Make the loggers and callbacks of the config; the checkpoint comes last, when all others have seen the step."""
    checkpointing = Checkpointing(
        engine,
        validation,
        folder.checkpoints,
        every=config.checkpoint.every,
        keep=config.checkpoint.keep,
        steps=config.steps,
    )
    return [*(build(node) for node in (*config.logger.values(), *config.callbacks.values())), checkpointing]


def reference_of(
    objective: Clipped, engine: Engine, vlm: VLM, frozen_copy: FrozenCopy | None
) -> NoReference | AdapterOff | FrozenCopy:
    """Choose what the KL penalty compares with."""
    if objective.beta == 0:
        return NoReference()
    return frozen_copy or AdapterOff(engine, vlm)


def check_start(vlm: VLM, engine: Engine, collector: Collector, prompts: PromptStream) -> None:
    """Run the guards on the untouched model; every rank looks at the same samples. Raises `guards.GuardError`."""
    samples = prompts.samples[:GUARD_SAMPLES]
    guards.check_references_pay(samples, prompts.template, prompts.frames, collector.judge.reward, prompts.seed)
    with engine.gathered():
        first = [prompts.template.ask(sample, prompts.frames) for sample in samples[:GUARD_GROUPS]]
        groups = collector.collect(first, seed=loop.step_seed(prompts.seed, 0, 0)).groups
        guards.check_groups_differ(groups)
        guards.check_images_matter(vlm, samples, prompts.template, prompts.frames)


def tell_start(folder: RunFolder, config: DictConfig, callbacks: list[Callback], engine: Engine, done: int) -> None:
    """Let every callback prepare, and say what happens if this is a resume."""
    if done and engine.rank == 0:
        print(f"resuming {folder.path} after step {done} of {config.steps}")
    run = Run(
        folder=folder,
        config=OmegaConf.to_container(config, resolve=True),  # type: ignore[arg-type]  # a mapping by the schema
        step=done,
        steps=config.steps,
        is_main=engine.rank == 0,
        name=config.name,
        id=folder.path.name.rpartition("-")[2],
        study=config.study,
    )
    for callback in callbacks:
        callback.before_run(run)


def finish(folder: RunFolder, best_metrics: Mapping[str, float]) -> None:
    """Compare the trained checkpoint with the start on the test part, write summary and report, mark the run done."""
    config = folder.config
    if config.evaluate.at_end:
        shown, nproc = config.evaluate, config.engine.nproc  # whose other ranks have ended
        plan = Plan.of(config, score=shown.score, count=shown.test_samples, nproc=nproc)
        trained = copy.deepcopy(config.model)
        trained.path, trained.revision = str(folder.path / "export" / config.evaluate.which), None
        mode = "off" if config.leaks == "off" else "warn"  # a run that has ended is not stopped
        print(comparison.compare(plan, after=trained, before=config.model, folder=folder.path / "eval", leaks=mode))
    write_whole(folder.summary_path, json.dumps(best_metrics, indent=2))
    page = report.write(folder.path)
    folder.complete(config.steps)
    print(f"Report: {page}")
