"""Log-probabilities of completion tokens under packed groups, without ever holding tokens x vocabulary.

Only the positions that predict a completion token reach the head, a chunk at a time, in float32, and a chunk's
logits are made again in the backward. The distribution is the one that is sampled: after the temperature, with
image and video tokens excluded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from adfm.grpo.attention import attend_by_layout
from adfm.grpo.packing import PackedGroups, PackItem, pack_row
from adfm.models.vlm import VLM

CHUNK_NUMBERS = 2**26
"""Logits that exist at once (256 MiB in float32)."""


@dataclass(frozen=True, slots=True)
class TokenScores:
    """Of each target of a packed row, in its order."""

    logprob: Float[Tensor, " target"]
    entropy: Float[Tensor, " target"]
    """Of the distribution the target is drawn from, in nats; carries no gradient."""


class Scorer(nn.Module):
    """The policy as a module: a packed row in, token scores out. This is what the engine shards and trains."""

    def __init__(self, vlm: VLM, temperature: float = 1.0) -> None:
        """Score under the distribution of `vlm` at `temperature`."""
        super().__init__()
        attend_by_layout(vlm)
        self.model = vlm.model
        self.vlm = vlm
        self.temperature = temperature

    def forward(self, packed: PackedGroups) -> TokenScores:
        """Score every target of the row."""
        return score(self.vlm, packed, self.temperature)


def score(vlm: VLM, packed: PackedGroups, temperature: float = 1.0) -> TokenScores:
    """Score every target of a packed row under `vlm`, which must attend by layout (see `attend_by_layout`)."""
    hidden = hidden_states(vlm, packed)[0, packed.predictors]
    return head_scores(vlm.base.lm_head, hidden, packed.targets, temperature, vlm.suppressed_token_ids)


def hidden_states(vlm: VLM, packed: PackedGroups, **cache: object) -> Float[Tensor, "1 token hidden"]:
    """Run the language model over a packed row, images included."""
    output = vlm.base.model(
        input_ids=packed.token_ids,
        position_ids=packed.positions,
        mm_encoder_outputs=vlm.features([item.encoded for item in packed.items]),
        layout=packed.layout,
        **({"use_cache": False} | cache),
    )
    return output.last_hidden_state


def sampled_logits(
    head: Callable[[Tensor], Tensor],
    hidden: Float[Tensor, "token hidden"],
    temperature: float,
    suppressed: Sequence[int],
) -> Float[Tensor, "token vocabulary"]:
    """Logits of the distribution that is sampled, float32; suppressed tokens have probability exactly 0."""
    logits = head(hidden).float() / temperature
    if suppressed:
        logits[:, list(suppressed)] = torch.finfo(logits.dtype).min
    return logits


def head_scores(
    head: Callable[[Tensor], Tensor],
    hidden: Float[Tensor, "target hidden"],
    targets: Int[Tensor, " target"],
    temperature: float,
    suppressed: Sequence[int],
) -> TokenScores:
    """Score targets from the hidden states that predict them, chunk by chunk."""

    def chunk_scores(hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        logits = sampled_logits(head, hidden, temperature, suppressed)
        normalizer = logits.logsumexp(-1)
        logprob = logits.gather(-1, targets[:, None])[:, 0] - normalizer
        with torch.no_grad():
            entropy = normalizer - ((logits - normalizer[:, None]).exp() * logits).sum(-1)
        return logprob, entropy

    vocabulary = int(getattr(head, "out_features", hidden.shape[-1]))
    size = max(1, CHUNK_NUMBERS // vocabulary)
    parts = [
        checkpoint(chunk_scores, hidden[start : start + size], targets[start : start + size], use_reentrant=False)
        if hidden.requires_grad and len(hidden) > size
        else chunk_scores(hidden[start : start + size], targets[start : start + size])
        for start in range(0, len(hidden), size)
    ]
    if not parts:
        return TokenScores(hidden.sum(-1).float(), hidden.new_zeros(0, dtype=torch.float32))
    return TokenScores(torch.cat([logprob for logprob, _ in parts]), torch.cat([entropy for _, entropy in parts]))


@torch.no_grad()
def forced(vlm: VLM, items: Sequence[PackItem]) -> list[list[float]]:
    """Return the log-probability of each completion of each item, summed in float64, at temperature 1.

    All items share one packed row, so every prompt is read once.
    """
    attend_by_layout(vlm)
    packed = pack_row(items, vlm.device)
    logprobs = iter(packed.per_completion(score(vlm, packed).logprob.double()).tolist())
    return [[next(logprobs) for _ in item.completions] for item in items]
