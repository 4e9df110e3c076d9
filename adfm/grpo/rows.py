"""From judged groups to the rows of an update: which groups teach, packed up to the budget, with their advantages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from adfm.grpo.objective import Clipped, Row
from adfm.grpo.packing import PackedGroups, PackItem, pack
from adfm.models.vlm import VLM
from adfm.types import Group


class RowMaker:
    """Packs the groups of a step into rows of at most `token_budget` tokens."""

    def __init__(self, vlm: VLM, objective: Clipped, token_budget: int) -> None:
        """Pack for `vlm`, with the advantages of `objective`."""
        self.vlm = vlm
        self.objective = objective
        self.token_budget = token_budget

    def rows(self, groups: Sequence[Group], completions_in_step: int) -> list[Row]:
        """Return the rows of the groups that teach; the others only count in `completions_in_step`."""
        taught = [group for group in groups if group.has_spread or not self.objective.skips_equal_groups]
        return [self._row(packed, taught, completions_in_step) for packed in self._pack(taught)]

    def idle(self, groups: Sequence[Group]) -> Row:
        """Return a small row that teaches nothing, for a rank that has fewer rows than another."""
        smallest = min(groups, key=lambda group: sum(len(completion.token_ids) for completion in group.completions))
        row = self._row(self._pack([smallest])[0], [smallest], 1)
        return replace(row, trained=torch.zeros_like(row.trained))

    def _pack(self, groups: Sequence[Group]) -> list[PackedGroups]:
        items = [
            PackItem(
                encoded=self.vlm.encode(group.prompt),
                completions=tuple(torch.from_numpy(completion.token_ids) for completion in group.completions),
                tag=index,
            )
            for index, group in enumerate(groups)
        ]
        return pack(items, self.token_budget, self.vlm.device)

    def _row(self, packed: PackedGroups, groups: Sequence[Group], completions_in_step: int) -> Row:
        members = [groups[item.tag] for item in packed.items]
        completions = [completion for group in members for completion in group.completions]
        advantages = np.concatenate([self.objective.advantages(group.rewards.total) for group in members])
        trained = [not (completion.truncated and self.objective.mask_truncated) for completion in completions]
        device = packed.targets.device
        return Row(
            packed=packed,
            advantage=torch.tensor(advantages, dtype=torch.float32, device=device),
            trained=torch.tensor(trained, device=device),
            sampler_logprob=torch.from_numpy(
                np.concatenate([completion.sampler_logprob for completion in completions])
            ).to(device),
            completions_in_step=completions_in_step,
        )
