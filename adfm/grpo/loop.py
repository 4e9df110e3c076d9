"""GRPO on one screen: sample, reward, advantage, update.

It knows no method, model, data set or device. What a step asks is `PromptStream`, how groups are made and judged is
`Collector`, what is maximised is the objective, what is compared with is the reference, and how weights are sharded
and stepped is the engine.

Two departures from the paper (arXiv 2402.03300): the old log-probabilities are those of the first pass over a
step's rows (on-policy they are the policy's own, so there is no extra pass), and groups whose rewards are all equal
are left out where they have no gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch

from adfm.grpo.collect import Collector, PromptStream
from adfm.grpo.engine import Engine
from adfm.grpo.objective import Clipped
from adfm.grpo.reference import AdapterOff, FrozenCopy, NoReference
from adfm.grpo.rows import RowMaker
from adfm.grpo.statistics import Clock, step_metrics
from adfm.types import Callback, StepRecord

Reference = NoReference | AdapterOff | FrozenCopy


def train(
    *,
    prompts: PromptStream,
    collector: Collector,
    row_maker: RowMaker,
    objective: Clipped,
    reference: Reference,
    engine: Engine,
    validate: Callable[[int], Mapping[str, float]],
    callbacks: Sequence[Callback],
    steps: int,
) -> None:
    """Train from the engine's step on to step `steps`; one step asks one batch of prompts."""
    for step in range(engine.step // objective.num_iterations, steps):
        clock = Clock()
        with engine.gathered():
            collected = collector.collect(prompts.batch(step), seed=step_seed(prompts.seed, step, engine.rank))

        packs = row_maker.packs(collected)
        packs += [row_maker.idle(collected)] * (max(1, engine.max_count(len(packs))) - len(packs))
        with clock.measure("reference"):
            reference_logprobs = [reference.logprob(pack.packed) for pack in packs]

        groups = collected.groups  # judged beside the reference pass
        completions = prompts.per_step * collector.rollout.group_size
        rows = [row_maker.row(pack, groups, completions) for pack in packs]
        with clock.measure("update"):
            old_logprobs: list[torch.Tensor] = []
            sums, update = [], {}
            for _ in range(objective.num_iterations):
                for index, row in enumerate(rows):
                    scores = engine(row.packed)
                    if len(old_logprobs) == index:
                        old_logprobs.append(scores.logprob.detach())
                    loss = objective.loss(scores, old_logprobs[index], reference_logprobs[index], row)
                    engine.backward(loss.value)
                    sums.append(loss.sums)
                update = engine.update()

        metrics = step_metrics(engine, collected, sums, objective, clock) | update | dict(validate(step + 1))
        for callback in callbacks:
            callback.after_step(StepRecord(step=step + 1, groups=groups, metrics=metrics))


def step_seed(seed: int, step: int, rank: int) -> int:
    """Give a sampler seed that no other step or rank of the run uses, with room for redraws after it."""
    return ((seed * 1_000_003 + step) * 4_096 + rank) * 64
