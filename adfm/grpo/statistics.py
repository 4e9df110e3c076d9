"""What a step says about itself: means over all completions, groups and targets of all ranks, and its seconds."""

from __future__ import annotations

import resource
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from adfm.grpo.collect import Collected
from adfm.grpo.engine import Engine
from adfm.grpo.objective import Clipped, mean_metrics
from adfm.types import Group


class Clock:
    """Seconds since it was made, and of the parts that were measured."""

    def __init__(self) -> None:
        """Start."""
        self.start = time.perf_counter()
        self.parts: dict[str, float] = {}

    @contextmanager
    def measure(self, part: str) -> Iterator[None]:
        """Add the time inside to a part; on CUDA, work that was queued inside counts inside."""
        start = time.perf_counter()
        yield
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.parts[part] = self.parts.get(part, 0.0) + time.perf_counter() - start

    def total(self) -> float:
        """Return the seconds since the start."""
        return time.perf_counter() - self.start


def step_metrics(
    engine: Engine, collected: Collected, sums: Sequence[Mapping[str, float]], objective: Clipped, clock: Clock
) -> dict[str, float]:
    """Return the metrics of a step; the names are those of `metrics.jsonl`. Every rank must call it."""
    rows: Counter[str] = Counter()
    for part in sums:
        rows.update(part)
    loss_sums = engine.sum(dict(rows))
    total = engine.sum(group_sums(collected.groups, objective) | {"redrawn": float(collected.redrawn)})
    seconds = clock.total()
    return (
        mean_metrics(loss_sums, objective.num_iterations)
        | group_metrics(total)
        | {
            "tokens_per_second": total["tokens"] / seconds,
            "seconds/rollout": collected.seconds_rollout,
            "seconds/reward": collected.seconds_reward,
            "seconds/reference": clock.parts["reference"],
            "seconds/update": clock.parts["update"],
            "seconds/step": seconds,
            "peak_memory_mb": peak_memory_mb(),
        }
    )


def group_sums(groups: Sequence[Group], objective: Clipped) -> dict[str, float]:
    """Return sums over this rank's groups, of which `group_metrics` makes means."""
    sums: defaultdict[str, float] = defaultdict(float)
    for group in groups:
        sums["groups"] += 1
        sums["groups_without_spread"] += not group.has_spread
        sums["advantage"] += float(np.abs(objective.advantages(group.rewards.total)).sum())
        for name, rewards in {**group.rewards.terms, "total": group.rewards.total}.items():
            sums[f"reward/{name}"] += float(rewards.sum())
            sums[f"square/{name}"] += float((rewards**2).sum())
        for completion, verdict in zip(group.completions, group.verdicts, strict=True):
            sums["completions"] += 1
            sums["tokens"] += len(completion.token_ids)
            sums["truncated"] += completion.truncated
            for reason in set(verdict.reasons):
                sums[f"parse/{reason}"] += 1
    return dict(sums)


def group_metrics(total: Mapping[str, float]) -> dict[str, float]:
    """Turn sums over all ranks into means, shares and standard deviations (over all completions of the step)."""
    completions = total["completions"]
    metrics = {
        "groups/without_spread": total["groups_without_spread"] / total["groups"],
        "groups/redrawn": total["redrawn"],
        "advantage/abs_mean": total["advantage"] / completions,
        "completion/length_mean": total["tokens"] / completions,
        "completion/truncated": total["truncated"] / completions,
    }
    for name, value in total.items():
        if name.startswith("reward/"):
            mean = value / completions
            variance = max(0.0, total[f"square/{name.removeprefix('reward/')}"] / completions - mean**2)
            metrics |= {f"{name}_mean": mean, f"{name}_std": variance**0.5}
        elif name.startswith("parse/"):
            metrics[name] = value / completions
    return metrics


def peak_memory_mb() -> float:
    """Return the most memory that was held so far, in MiB: on the GPU where there is one, else by the process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
