"""What GRPO maximises: advantages of a group, and the loss of a packed row. Variants are classes beside each other.

The loss of one step, summed over every completion of every rank, is

    - sum_t  w_t [ min(rho_t A_t, clip(rho_t, 1 - epsilon_low, 1 + epsilon_high) A_t) - beta k3_t ]

with rho = exp(logprob - old logprob), A_t the advantage of t (see `adfm.grpo.credit`), k3 = exp(d) - d - 1 with d =
reference_logprob - logprob (Schulman's estimator), and w_t the variant's weight. The sum is exact however a step is
cut into packed rows, for w_t holds the denominator of the whole step.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from adfm.grpo.credit import Credit, WholeCompletion, centred
from adfm.grpo.logprob import TokenScores
from adfm.grpo.packing import PackedGroups


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A packed row with what the loss needs of it."""

    packed: PackedGroups
    advantage: Float[Tensor, " target"]
    trained: Bool[Tensor, " completion"]
    """False for completions that count in the denominator but teach nothing."""
    sampler_logprob: Float[Tensor, " target"]
    completions_in_step: int
    """Of all rows of all ranks, those that are left out included."""


@dataclass(frozen=True, slots=True)
class Loss:
    """A row's share of the step's loss, and sums over its targets for the log."""

    value: Float[Tensor, ""]
    sums: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Clipped(ABC):
    """The clipped surrogate with a k3 penalty: what GRPO and its variants share. See the module's docstring."""

    beta: float = 0.0
    """Weight of the KL penalty; at 0 no reference model exists."""
    epsilon_low: float = 0.2
    """How far the ratio may fall below 1."""
    epsilon_high: float = 0.2
    """How far it may rise above 1 (larger than `epsilon_low`: DAPO's clip-higher)."""
    num_iterations: int = 1
    """Updates on the same completions."""
    skip_equal_groups: bool = False
    """Leave out groups whose rewards are all equal even where beta would still pull on them."""
    mask_truncated: bool = False
    """Truncated completions teach nothing, but stay in the denominator."""
    credit: Credit = field(default_factory=WholeCompletion)
    """Which tokens answer for what a completion earned."""

    def __post_init__(self) -> None:
        """Raise ValueError for numbers that no run can mean."""
        if self.beta < 0:
            raise ValueError(f"beta is {self.beta}; it must be at least 0")
        if not 0 < self.epsilon_low < 1:
            raise ValueError(f"epsilon_low is {self.epsilon_low}; it must be between 0 and 1")
        if self.epsilon_high <= 0:
            raise ValueError(f"epsilon_high is {self.epsilon_high}; it must be above 0")
        if self.num_iterations < 1:
            raise ValueError(f"num_iterations is {self.num_iterations}; it must be at least 1")

    @property
    def skips_equal_groups(self) -> bool:
        """Whether a group without spread has no gradient, so that its backward can be left out."""
        return self.beta == 0 or self.skip_equal_groups

    @abstractmethod
    def scale(self, rewards: Float[np.ndarray, " completion"]) -> float:
        """Give what a group's centred rewards are divided by."""

    def advantages(self, rewards: Float[np.ndarray, " completion"]) -> Float[np.ndarray, " completion"]:
        """Turn a group's rewards into the advantages of its completions."""
        return centred(rewards) / self.scale(rewards)

    @abstractmethod
    def weights(self, row: Row) -> Float[Tensor, " target"]:
        """Give each target's weight in the step's loss."""

    def loss(self, scores: TokenScores, old_logprob: Tensor, reference_logprob: Tensor | None, row: Row) -> Loss:
        """Compute a row's share of the step's loss."""
        advantage = row.advantage
        ratio = (scores.logprob - old_logprob).exp()
        clipped = ratio.clamp(1 - self.epsilon_low, 1 + self.epsilon_high)
        gain = torch.minimum(ratio * advantage, clipped * advantage)
        kl = torch.zeros_like(gain)
        if reference_logprob is not None:
            difference = reference_logprob - scores.logprob
            kl = difference.exp() - difference - 1
            gain = gain - self.beta * kl
        value = -(self.weights(row) * row.trained[row.packed.completion_of_target] * gain).sum()
        outside = ((ratio < 1 - self.epsilon_low) & (advantage < 0)) | (
            (ratio > 1 + self.epsilon_high) & (advantage > 0)
        )
        sums = {
            "loss": float(value.detach()),
            "kl": float(kl.detach().sum()),
            "entropy": float(scores.entropy.sum()),
            "clipped": float(outside.sum()),
            "logprob_gap": float((old_logprob - row.sampler_logprob).abs().sum()),
            "targets": float(len(gain)),
        }
        return Loss(value, sums)


@dataclass(frozen=True, kw_only=True)
class GRPO(Clipped):
    """Group-relative policy optimization (arXiv 2402.03300, as AnomalyR1 and AD-FM run it).

    The advantage is (r - mean) / (std + 1e-4) with the unbiased std; the loss is the mean over completions of the
    mean over tokens.
    """

    def scale(self, rewards: Float[np.ndarray, " completion"]) -> float:
        """Give the group's standard deviation.

        >>> GRPO().advantages(np.array([0.0, 1.0, 1.0, 2.0])).round(3).tolist()
        [-1.225, 0.0, 0.0, 1.225]
        """
        return float(rewards.std(ddof=1)) + 1e-4

    def weights(self, row: Row) -> Float[Tensor, " target"]:
        """Weigh a token by 1 / (tokens of its completion x completions of the step)."""
        per_completion = 1 / (row.packed.lengths.float() * row.completions_in_step)
        return per_completion[row.packed.completion_of_target]


@dataclass(frozen=True, kw_only=True)
class DrGRPO(Clipped):
    """Dr. GRPO (arXiv 2503.20783): no division by the std, and none by a completion's length.

    The loss is the sum over tokens divided by completions x `length_scale`, so a long completion weighs as much as
    its tokens.
    """

    length_scale: float = 256.0
    """Stands for a completion's length."""

    def scale(self, rewards: Float[np.ndarray, " completion"]) -> float:
        """Give 1: rewards are centred, and stay in their units.

        >>> DrGRPO().advantages(np.array([0.0, 1.0, 1.0, 2.0])).tolist()
        [-1.0, 0.0, 0.0, 1.0]
        """
        return 1.0

    def weights(self, row: Row) -> Float[Tensor, " target"]:
        """Weigh every token alike."""
        return torch.full_like(row.sampler_logprob, 1 / (self.length_scale * row.completions_in_step))


def mean_metrics(sums: Mapping[str, float], iterations: int) -> dict[str, float]:
    """Turn the summed `Loss.sums` of a step's rows into its metrics.

    `loss` is the step's loss averaged over iterations; the rest are means over all targets of all iterations.
    """
    targets = max(sums["targets"], 1.0)
    return {
        "loss": sums["loss"] / iterations,
        "kl": sums["kl"] / targets,
        "entropy": sums["entropy"] / targets,
        "clip_fraction": sums["clipped"] / targets,
        "logprob_gap": sums["logprob_gap"] / targets,
    }
