"""adfm's side: one training step at a time, through the production loop, with completions of a forced length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf
from peers import Gradient, Orders, StepTimes, gradients, moved, serve
from workloads import Workload, overrides, spread_rewards

from adfm.config.compose import build, compose
from adfm.evaluation.plan import model_config
from adfm.grpo import loop
from adfm.grpo.collect import Collector, PromptStream
from adfm.grpo.distributed import Ranks
from adfm.grpo.engine import Engine
from adfm.grpo.logprob import Scorer
from adfm.grpo.objective import Row
from adfm.grpo.packing import PackItem, pack_row
from adfm.grpo.reference import FrozenCopy
from adfm.grpo.rows import RowMaker
from adfm.models.vlm import VLM
from adfm.run import reference_of
from adfm.types import Prompt, Rewards, Sample, StepRecord, Verdict

NO_TOKEN = -1
"""As the only end token it lets no completion end before its length."""

DESCRIBED = ("model", "objective", "optimizer", "rollout", "engine", "prompts_per_step")
"""Parts of the training config that a benchmark says."""


class Spread:
    """A reward without cost that gives every group a spread."""

    def __call__(self, verdicts: Sequence[Verdict], prompt: Prompt) -> Rewards:
        """Reward a group by its sample's name alone."""
        total = np.array(spread_rewards(prompt.sample.id, len(verdicts)))
        return Rewards(terms={"spread": total}, total=total)

    def best(self, prompt: Prompt) -> float:
        """Return the bound of the rewards."""
        return 1.0


class GivenPrompts(PromptStream):
    """Asks about the samples that it was given last."""

    def batch(self, step: int) -> list[Prompt]:
        """Return this rank's prompts."""
        return [self.template.ask(sample, self.frames) for sample in self.samples[self.rank :: self.world_size]]


class AdfmStep:
    """A training run of adfm, built as `adfm.run.train` builds it, that makes its steps when it is told to.

    Args:
        workload: Sizes of a step.
        checkpoint: `tiny`, or a checkpoint folder.
        preset: Option of the config group `model`.
        beta: Weight of the KL penalty.
        learning_rate: Constant over the steps.
        settings: Further overrides of the training config, as on a command line.
    """

    def __init__(
        self,
        workload: Workload,
        *,
        checkpoint: str = "tiny",
        preset: str = "tiny",
        beta: float = 0.0,
        learning_rate: float = 1e-6,
        settings: Sequence[str] = (),
    ) -> None:
        told = [*overrides(workload, checkpoint, preset, beta=beta, learning_rate=learning_rate), *settings]
        config = compose("train", told)
        OmegaConf.resolve(config)
        device = Ranks().device
        plain: Any = OmegaConf.to_container(config)
        self.described: dict[str, Any] = {name: plain[name] for name in DESCRIBED}
        self.objective = build(config.objective)
        self.vlm = VLM.load(model_config(config.model), device=device, train=True)
        self.vlm.end_token_ids = (NO_TOKEN,)
        rollout = build(config.rollout, vlm=self.vlm)
        frozen_copy = FrozenCopy(self.vlm, rollout.temperature) if beta and config.model.lora is None else None
        deepspeed: Any = OmegaConf.to_container(config.engine.deepspeed)
        self.engine = Engine(
            Scorer(self.vlm, rollout.temperature),
            optimizer=build(config.optimizer.algorithm),
            schedule=build(config.optimizer.schedule),
            max_grad_norm=config.optimizer.max_grad_norm,
            deepspeed=deepspeed,
            dtype=self.vlm.dtype,
            total_steps=config.steps,
            device=device,
        )
        self.reference = reference_of(self.objective, self.engine, self.vlm, frozen_copy)
        self.row_maker = RowMaker(self.vlm, self.objective, config.model.token_budget)
        template = build(config.reasoning)
        self.collector = Collector(rollout, template, Spread())
        self.prompts = GivenPrompts(
            (),
            template,
            self.vlm.frames,
            per_step=workload.prompts,
            seed=0,
            rank=self.engine.rank,
            world_size=self.engine.world_size,
        )

    def step(self, samples: Sequence[Sample]) -> StepTimes:
        """Make one optimizer step on the samples and return its seconds."""
        self.prompts.samples = samples
        loop.train(
            prompts=self.prompts,
            collector=self.collector,
            row_maker=self.row_maker,
            objective=self.objective,
            reference=self.reference,
            engine=self.engine,
            validate=lambda step: {},
            callbacks=[self],
            steps=self.engine.step + 1,
        )
        metrics = self.record.metrics
        parts = ("rollout", "reward", "reference", "update")
        return StepTimes(whole=metrics["seconds/step"], **{part: metrics[f"seconds/{part}"] for part in parts})

    def before_run(self, run: Any) -> None:
        """Nothing to prepare (a callback of the loop)."""

    def after_step(self, record: StepRecord) -> None:
        """Keep the record of the step (a callback of the loop)."""
        self.record = record

    def after_run(self) -> None:
        """Nothing to finish (a callback of the loop)."""

    def loss_and_gradient(
        self, samples: Sequence[Sample], completions: Sequence[Sequence[np.ndarray]], advantages: np.ndarray
    ) -> Gradient:
        """Return loss and gradient of one step on given completions, the policy a little away from its reference.

        Image tokens are not suppressed. The weights are afterwards as they were.

        Args:
            samples: One for each group.
            completions: Token ids of each group's completions.
            advantages: Of all completions in order.
        """
        with self._moved():
            prompts = [self.prompts.template.ask(sample, self.vlm.frames) for sample in samples]
            row = self._row(prompts, completions, advantages)
            reference = self.reference.logprob(row.packed)
            scores = self.engine(row.packed)
            loss = self.objective.loss(scores, scores.logprob.detach(), reference, row)
            self.engine.backward(loss.value)
            gradient = gradients(self._trained())
        return Gradient(
            loss=float(loss.value.detach()),
            by_name=gradient,
            reference_logprob=None if reference is None else reference.cpu().numpy(),
            prompt_tokens=[self.vlm.encode(prompt).token_ids.tolist() for prompt in prompts],
        )

    def close(self) -> None:
        """Let go of the engine."""
        self.engine.close()

    def _row(
        self, prompts: Sequence[Prompt], completions: Sequence[Sequence[np.ndarray]], advantages: np.ndarray
    ) -> Row:
        """Pack given completions into one row."""
        items = [
            PackItem(encoded=self.vlm.encode(prompt), completions=tuple(map(torch.from_numpy, group)))
            for prompt, group in zip(prompts, completions, strict=True)
        ]
        device = self.vlm.device
        packed = pack_row(items, device)
        return Row(
            packed=packed,
            advantage=torch.tensor(advantages, dtype=torch.float32, device=device)[packed.completion_of_target],
            trained=torch.ones(len(advantages), dtype=torch.bool, device=device),
            sampler_logprob=torch.zeros(len(packed.targets), device=device),
            completions_in_step=len(advantages),
        )

    def _trained(self) -> list[tuple[str, Any]]:
        return [(name, weight) for name, weight in self.vlm.base.named_parameters() if weight.requires_grad]

    @contextmanager
    def _moved(self) -> Iterator[None]:
        """Move the trained weights, let image tokens be scored, and undo both."""
        views = [self.vlm, *([self.reference.vlm._reference] if isinstance(self.reference, FrozenCopy) else [])]
        suppressed = self.vlm.suppressed_token_ids
        with moved(self._trained()):
            for view in views:
                view.suppressed_token_ids = ()
            try:
                yield
            finally:
                for view in views:
                    view.suppressed_token_ids = suppressed


def peer(orders: Orders) -> None:
    """Be a peer of the benchmark."""
    adfm = AdfmStep(**orders.settings)
    orders.ready(adfm.described)
    while (arguments := orders.next_step(adfm.loss_and_gradient)) is not None:
        orders.answer(adfm.step(*arguments))
    adfm.close()


if __name__ == "__main__":
    serve(peer)
