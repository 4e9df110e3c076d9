"""Plain gradient descent on a named loss: what the stages before the language is learned have in common."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from adfm.grpo.schedule import Cosine

MAX_GRAD_NORM = 1.0
BETAS = (0.9, 0.98)


def descend(
    parameters: Sequence[nn.Parameter],
    losses: Callable[[], Mapping[str, Tensor]],
    *,
    steps: int,
    learning_rate: float,
    warmup_steps: int,
    weight_decay: float,
    report_every: int,
    report: Callable[[Mapping[str, float]], None],
    measure: Callable[[], Mapping[str, float]] = dict,
) -> dict[str, float]:
    """Make `steps` updates of AdamW by the sum of what `losses` returns for a fresh batch.

    Args:
        parameters: What is trained.
        losses: Draws a batch and returns the named, weighted parts of its loss.
        steps: Number of updates.
        learning_rate: After `warmup_steps` it falls along half a cosine.
        warmup_steps: Steps until the learning rate is reached.
        weight_decay: As AdamW has it.
        report_every: Steps between two reports; the last step is reported too.
        report: Called with `step`, `seconds`, `loss`, its parts, and what `measure` finds.
        measure: Makes further numbers for a report.

    Returns:
        The last report.
    """
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=weight_decay, betas=BETAS)
    schedule = Cosine(warmup_steps=warmup_steps)
    numbers: dict[str, float] = {}
    started = time.monotonic()
    for step in range(1, steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * schedule.factor(step, steps)
        parts = losses()
        loss = sum(parts.values(), torch.zeros(()))
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, MAX_GRAD_NORM)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % report_every == 0 or step == steps:
            numbers = {"step": step, "seconds": time.monotonic() - started, "loss": float(loss.detach())}
            numbers |= {name: float(part.detach()) for name, part in parts.items()}
            numbers |= measure()
            report(numbers)
    return numbers
