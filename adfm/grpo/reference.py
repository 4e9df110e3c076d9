"""The reference of the KL penalty: none, the same model with its adapter off, or a frozen copy. Objects, no flag."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from adfm.grpo.engine import Engine
from adfm.grpo.logprob import score
from adfm.grpo.packing import PackedGroups
from adfm.models.vlm import VLM


class NoReference:
    """For beta 0: nothing is computed and nothing is kept."""

    def logprob(self, packed: PackedGroups) -> None:
        """Return None: the loss has no penalty."""


class AdapterOff:
    """Under LoRA the starting model is the policy without its adapter."""

    def __init__(self, engine: Engine, vlm: VLM) -> None:
        """Run through the engine, whose hooks gather sharded weights."""
        self.engine = engine
        self.vlm = vlm

    @torch.no_grad()
    def logprob(self, packed: PackedGroups) -> Float[Tensor, " target"]:
        """Score the row with the adapter off."""
        with self.vlm.reference():
            return self.engine(packed).logprob


class FrozenCopy:
    """Under full fine-tuning: a copy of the language model made before the first update; the frozen tower is shared."""

    def __init__(self, vlm: VLM, temperature: float) -> None:
        """Copy now."""
        self.vlm = vlm
        self.temperature = temperature
        with self.vlm.reference():
            pass

    @torch.no_grad()
    def logprob(self, packed: PackedGroups) -> Float[Tensor, " target"]:
        """Score the row with the copy."""
        with self.vlm.reference() as reference:
            return score(reference, packed, self.temperature).logprob
