"""From what was drawn to the rows of an update: which groups teach, packed up to the budget, then their advantages.

Packing needs the completions alone, so that a reference can score the packs while their rewards are still made.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from adfm.grpo.collect import Collected
from adfm.grpo.objective import Clipped, Row
from adfm.grpo.packing import PackedGroups, PackItem, pack
from adfm.models.vlm import VLM
from adfm.types import Group


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """A row without advantages; the tags of its items are indices of the step's groups."""

    packed: PackedGroups
    teaches: bool


class RowMaker:
    """Packs the groups of a step into rows of at most `token_budget` tokens."""

    def __init__(self, vlm: VLM, objective: Clipped, token_budget: int) -> None:
        """Pack for `vlm`, with the advantages of `objective`."""
        self.vlm = vlm
        self.objective = objective
        self.token_budget = token_budget

    def packs(self, collected: Collected) -> list[Pack]:
        """Pack the groups that teach; where only those with spread do, this waits for the rewards."""
        indices: Iterable[int] = range(len(collected.prompts))
        if self.objective.skips_equal_groups:
            indices = [index for index, group in enumerate(collected.groups) if group.has_spread]
        return [Pack(packed=packed, teaches=True) for packed in self._pack(collected, indices)]

    def idle(self, collected: Collected) -> Pack:
        """Return a small pack that teaches nothing, for a rank that has fewer than another."""
        sizes = [sum(len(completion.token_ids) for completion in drawn) for drawn in collected.completions]
        return Pack(packed=self._pack(collected, [int(np.argmin(sizes))])[0], teaches=False)

    def row(self, pack: Pack, groups: Sequence[Group], completions_in_step: int) -> Row:
        """Complete a pack; groups that are in none only count in `completions_in_step`."""
        members = [groups[item.tag] for item in pack.packed.items]
        completions = [completion for group in members for completion in group.completions]
        objective = self.objective
        shared = [credit for group in members for credit in objective.credit(group, objective.scale, self.vlm.decode)]
        trained = [
            pack.teaches and not (completion.truncated and objective.mask_truncated) for completion in completions
        ]
        device = pack.packed.targets.device
        return Row(
            packed=pack.packed,
            advantage=torch.tensor(np.concatenate(shared), dtype=torch.float32, device=device),
            trained=torch.tensor(trained, device=device),
            sampler_logprob=torch.from_numpy(
                np.concatenate([completion.sampler_logprob for completion in completions])
            ).to(device),
            completions_in_step=completions_in_step,
        )

    def _pack(self, collected: Collected, indices: Iterable[int]) -> list[PackedGroups]:
        items = [
            PackItem(
                encoded=self.vlm.encode(collected.prompts[index]),
                completions=tuple(
                    torch.from_numpy(completion.token_ids) for completion in collected.completions[index]
                ),
                tag=index,
            )
            for index in indices
        ]
        return pack(items, self.token_budget, self.vlm.device)
