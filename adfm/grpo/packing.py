"""Packed groups: `[prompt | c1 | ... | cG]`, several groups in one row, nothing repeated.

A completion may look at its prompt and at itself, never at its neighbours, and its positions restart where the
prompt ends. So a row holds P + C1 + ... + CG tokens where padded rows hold G (P + C). `attention` keeps them apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from adfm.grpo.attention import GroupLayout
from adfm.models.vlm import EncodedPrompt


@dataclass(frozen=True, slots=True, kw_only=True)
class PackItem:
    """One prompt and the completions to score under it; `tag` is the caller's name for it."""

    encoded: EncodedPrompt
    completions: tuple[Int[Tensor, " _"], ...]
    tag: int = 0

    @property
    def size(self) -> int:
        """Tokens it takes in a row."""
        return len(self.encoded.token_ids) + sum(map(len, self.completions))


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedGroups:
    """One packed row, and which of its positions predict which completion tokens.

    Targets are the completion tokens in order: item by item, completion by completion, token by token.
    """

    items: tuple[PackItem, ...]
    token_ids: Int[Tensor, "1 token"]
    positions: Int[Tensor, "3 1 token"]
    layout: GroupLayout
    predictors: Int[Tensor, " target"]
    """Row position whose hidden state predicts the target: the token before it, or the prompt's last."""
    targets: Int[Tensor, " target"]
    completion_of_target: Int[Tensor, " target"]
    """Counts the completions of all items from 0."""
    lengths: Int[Tensor, " completion"]

    def per_completion(self, values: Float[Tensor, " target"]) -> Float[Tensor, " completion"]:
        """Sum a number of each target over its completion."""
        return values.new_zeros(len(self.lengths)).index_add(0, self.completion_of_target, values)


def pack(items: Sequence[PackItem], token_budget: int, device: torch.device | str = "cpu") -> list[PackedGroups]:
    """Pack items into as few rows as a first-fit over their sizes finds, none above `token_budget` tokens.

    Items keep their order inside a row. Raises ValueError for an item that alone is above the budget.
    """
    rows: list[list[PackItem]] = []
    free: list[int] = []
    for item in sorted(items, key=lambda item: -item.size):
        if item.size > token_budget:
            raise ValueError(
                f"a group of {item.size} tokens is above the token budget of {token_budget}: set "
                f"model.token_budget={item.size} or more"
            )
        row = next((index for index, room in enumerate(free) if room >= item.size), None)
        if row is None:
            rows.append([])
            free.append(token_budget)
            row = len(rows) - 1
        rows[row].append(item)
        free[row] -= item.size
    order = {id(item): index for index, item in enumerate(items)}
    return [pack_row(sorted(row, key=lambda item: order[id(item)]), device) for row in rows]


def pack_row(items: Sequence[PackItem], device: torch.device | str = "cpu") -> PackedGroups:
    """Pack all items into one row."""
    token_ids: list[Tensor] = []
    positions: list[Tensor] = []
    prompt_spans: list[tuple[int, int]] = []
    spans: list[tuple[int, int]] = []
    group_of_completion: list[int] = []
    predictors: list[Tensor] = []
    cursor = 0
    for group, item in enumerate(items):
        size = len(item.encoded.token_ids)
        token_ids.append(item.encoded.token_ids)
        positions.append(item.encoded.positions)
        prompt_spans.append((cursor, size))
        prompt_end = cursor = cursor + size
        for completion in item.completions:
            token_ids.append(completion)
            positions.append((item.encoded.next_position + torch.arange(len(completion))).expand(3, -1))
            spans.append((cursor, len(completion)))
            group_of_completion.append(group)
            before = torch.arange(cursor - 1, cursor + len(completion) - 1)
            before[:1] = prompt_end - 1
            predictors.append(before)
            cursor += len(completion)
    lengths = torch.tensor([length for _, length in spans], dtype=torch.long)
    completions = [completion for item in items for completion in item.completions]
    return PackedGroups(
        items=tuple(items),
        token_ids=torch.cat(token_ids)[None].to(device),
        positions=torch.cat(positions, dim=1)[:, None].to(device),
        layout=GroupLayout.of(prompt_spans, spans, group_of_completion, device),
        predictors=_concatenate(predictors).to(device),
        targets=_concatenate(completions).to(device),
        completion_of_target=torch.repeat_interleave(torch.arange(len(lengths)), lengths).to(device),
        lengths=lengths.to(device),
    )


def _concatenate(parts: Iterable[Tensor]) -> Tensor:
    return torch.cat([torch.empty(0, dtype=torch.long), *parts])
