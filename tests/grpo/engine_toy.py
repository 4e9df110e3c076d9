"""A scorer small enough to train by hand beside the engine, and what two ranks do with it when torchrun runs this file.

It has what makes sharding hard: a tied head whose weight is read directly, recomputation in the backward, frozen
weights, and an output that is a dataclass.
"""

from __future__ import annotations

import json
import random
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from adfm.grpo.average import PolynomialDecay
from adfm.grpo.engine import Engine
from adfm.grpo.schedule import Constant, Linear

TOKENS = torch.arange(22) % 11
LEARNING_RATE = 0.1
CLIP = 0.5
AVERAGE = PolynomialDecay(power=1.0)


@dataclass(frozen=True, slots=True)
class Scores:
    logprob: Tensor
    entropy: Tensor


class Toy(nn.Module):
    def __init__(self, seed: int = 0, dropout: float = 0.0):
        super().__init__()
        torch.manual_seed(0)
        self.frozen = nn.Linear(8, 8).requires_grad_(False)
        torch.manual_seed(seed)
        self.embedding = nn.Embedding(11, 8)
        self.body = nn.Linear(8, 8)
        self.head = nn.Linear(8, 11, bias=False)
        self.head.weight = self.embedding.weight
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Scores:
        hidden = self.dropout(self.body(torch.tanh(self.frozen(self.embedding(tokens)))))
        logprobs = checkpoint(self.logprobs, hidden, use_reentrant=False) if self.training else self.logprobs(hidden)
        entropy = -(logprobs.exp() * logprobs).sum(-1)
        return Scores(logprobs.gather(-1, tokens[:, None])[:, 0], entropy.detach())

    def logprobs(self, hidden: Tensor) -> Tensor:
        return nn.functional.linear(hidden, self.head.weight).float().log_softmax(-1)


ADAMW = partial(torch.optim.AdamW, lr=LEARNING_RATE, weight_decay=0.1)


def engine(
    scorer: nn.Module,
    stage: int,
    *,
    dtype=torch.float32,
    optimizer=ADAMW,
    schedule=None,
    clip=CLIP,
    average=None,
    **zero,
) -> Engine:
    if stage == 3:
        zero.setdefault("stage3_param_persistence_threshold", 0)
    return Engine(
        scorer,
        optimizer=optimizer,
        schedule=schedule or Constant(),
        max_grad_norm=clip,
        deepspeed={"zero_optimization": {"stage": stage, **zero}},
        dtype=dtype,
        total_steps=8,
        average=average,
        device="cpu",
    )


def update(it: Engine, batches: list[Tensor]) -> dict[str, float]:
    """Maximise the mean log-probability of TOKENS, of which this rank has `batches`."""
    for index in range(it.max_count(len(batches))):
        weight = 1.0 if index < len(batches) else 0.0
        tokens = batches[min(index, len(batches) - 1)]
        it.backward(-weight * it(tokens).logprob.sum() / len(TOKENS))
    return it.update()


def weights(it: Engine, scorer: nn.Module) -> Tensor:
    with it.gathered():
        return flat(scorer)


def mean_weights(it: Engine, scorer: nn.Module) -> Tensor:
    with it.averaged():
        return flat(scorer)


def flat(scorer: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().float().flatten() for parameter in scorer.parameters()])


def plain_torch(steps: int) -> tuple[list[float], nn.Module]:
    """The same updates as one big batch, without an engine: gradient norms and the trained scorer."""
    scorer = Toy()
    trained = [parameter for parameter in scorer.parameters() if parameter.requires_grad]
    optimizer = ADAMW(trained)
    norms = []
    for _ in range(steps):
        optimizer.zero_grad()
        (-scorer(TOKENS).logprob.mean()).backward()
        norms.append(float(nn.utils.clip_grad_norm_(trained, CLIP)))
        optimizer.step()
    return norms, scorer


def draws() -> list[float]:
    """One number of every global random generator."""
    return [random.random(), float(np.random.rand()), float(torch.rand(()))]


def interrupted(stage: int, folder: Path, mine: list[Tensor], **zero) -> bool:
    """Whether two updates, a checkpoint, and two updates by another process's engine equal four updates, to the bit."""
    scorer = Toy(dropout=0.2)
    first = engine(scorer, stage, schedule=Linear(warmup_steps=3), average=AVERAGE, **zero)
    random.seed(first.rank)
    np.random.seed(first.rank)
    torch.manual_seed(first.rank)
    for _ in range(2):
        update(first, mine)
    first.save(folder, {"cursor": 7 + first.rank})
    updates, drawn = [update(first, mine) for _ in range(2)], draws()
    expected = torch.cat([weights(first, scorer), mean_weights(first, scorer)])

    other = Toy(seed=5, dropout=0.2)
    second = engine(other, stage, schedule=Linear(warmup_steps=3), average=AVERAGE, **zero)
    state = second.load(folder)
    if state != {"cursor": 7 + first.rank} or second.step != 2:
        return False
    again, redrawn = [update(second, mine) for _ in range(2)], draws()
    found = torch.cat([weights(second, other), mean_weights(second, other)])
    return (updates, drawn, 4) == (again, redrawn, second.step) and torch.equal(expected, found)


def mean_is_by_hand(stage: int, mine: list[Tensor]) -> bool:
    """Whether the mean of two updates is that of the weights, and training goes on from these, not from the mean.

    Small weights stay whole beside their shards, as they do in a run.
    """
    scorer = Toy()
    it = engine(scorer, stage, average=AVERAGE, **{"stage3_param_persistence_threshold": 100_000} if stage == 3 else {})
    update(it, mine)
    one = mean_weights(it, scorer)
    update(it, mine)
    mean = mean_weights(it, scorer)
    two = weights(it, scorer)
    return torch.allclose(mean, (one + 2 * two) / 3, atol=1e-6) and not torch.allclose(mean, two, atol=1e-3)


def two_ranks(stage: int, folder: Path) -> dict:
    """What one of two ranks sees when rank 0 has three micro-batches and rank 1 one."""
    scorer = Toy()
    it = engine(scorer, stage)
    mine = [list(TOKENS[:12].split(4)), [TOKENS[12:]]][it.rank]
    norms = [update(it, mine)["grad_norm"] for _ in range(3)]
    with it.gathered(), it.gathered():
        ran = [it(TOKENS) if it.rank else scorer(TOKENS) for _ in range(1 + 2 * it.rank)]
    norms.append(update(it, mine)["grad_norm"])
    return {
        "norms": norms,
        "weights": weights(it, scorer).tolist(),
        "gathered": ran[-1].logprob.tolist(),
        "resumed": interrupted(stage, folder, mine),
        "mean": mean_is_by_hand(stage, mine),
        "sum": it.sum({"a": it.rank + 1.0, f"only {it.rank}": 2.0}),
        "mean of ranks": it.mean({"a": float(it.rank)}, weight=1.0 + 2 * it.rank),
        "max_count": it.max_count(5 - it.rank),
        "objects": it.gather_objects([f"{it.rank}{letter}" for letter in "ab"]),
        "from_rank_0": it.from_rank_0(it.rank),
    }


def main() -> None:
    folder = Path(sys.argv[1])
    results = {stage: two_ranks(stage, folder / f"stage-{stage}") for stage in range(4)}
    last = engine(Toy(), 0)
    (folder / f"results-{last.rank}.json").write_text(json.dumps(results))
    last.close()


if __name__ == "__main__":
    main()
