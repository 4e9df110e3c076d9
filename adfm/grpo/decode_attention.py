"""The attention of rows that are written: over their prompt, whose keys a group shares, and over their own tokens.

The queries of a group's rows stand side by side, and so do the query heads of a key head: a key of the prompt is held
once and read once for all of them (Hydragen, arXiv 2402.05099, which merges two softmaxes by their normalizers; one
softmax over both scores is as exact and takes fewer operations). A group of G rows holds P + G C columns instead of
G (P + C), and a step makes `row x head x (P + C)` scores, a layer at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class SharedPrompts:
    """The prompts' keys and values, once a group, and the seats of the rows at them.

    Groups may have rows of other numbers: each has as many seats as the largest has rows, and a seat that is left over
    repeats a row of its group, which nothing reads.
    """

    layers: list[tuple[Tensor, Tensor]]
    """Keys and values of each layer, `[group, kv_head, prompt, dim]`, contiguous."""
    padding: Bool[Tensor, "group 1 1 prompt"] | None
    """Which columns are no tokens, if the prompts are of other lengths."""
    group_of_row: Int[Tensor, " row"]
    """In ascending order."""

    def __init__(
        self,
        layers: list[tuple[Tensor, Tensor]],
        valid: Bool[Tensor, "group prompt"],
        group_of_row: Int[Tensor, " row"],
    ) -> None:
        """Seat the rows; every group has one at least."""
        self.layers = layers
        self.padding = None if bool(valid.all()) else ~valid[:, None, None]
        self._seat(group_of_row)

    def keep(self, rows: Int[Tensor, " kept"]) -> None:
        """Drop every row that is not in `rows`, in ascending order, and the prompts that no row is left of."""
        groups = self._seat(self.group_of_row[rows])
        if len(groups) == len(self.layers[0][0]):
            return
        for layer, (keys, values) in enumerate(self.layers):
            self.layers[layer] = (keys[groups], values[groups])
        self.padding = None if self.padding is None else self.padding[groups]

    def stack(self, of_rows: Float[Tensor, "row_head head _"]) -> Float[Tensor, "group_head seat_head _"]:
        """Take what is of rows, key head by key head, to the seats of their groups."""
        stacked = of_rows.index_select(0, self._row_of_seat)
        return stacked.view(self._heads_of_groups, -1, stacked.shape[2])

    def unstack(
        self, of_seats: Float[Tensor, "group_head seat_head _"], heads: int
    ) -> Float[Tensor, "row_head head _"]:
        """Take what is of seats, `heads` query heads in each, back to their rows."""
        return of_seats.view(-1, heads, of_seats.shape[2]).index_select(0, self._seat_of_row)

    def _seat(self, group_of_row: Tensor) -> Int[Tensor, " group"]:
        """Give the rows their seats and return the groups that have rows; they are counted anew from 0."""
        groups, self.group_of_row, sizes = group_of_row.unique(return_inverse=True, return_counts=True)
        kv_heads, device = self.layers[0][0].shape[1], group_of_row.device
        seats = int(sizes.max())
        first = sizes.cumsum(0) - sizes
        head = torch.arange(kv_heads, device=device)
        row = first[:, None] + torch.minimum(torch.arange(seats, device=device), sizes[:, None] - 1)
        self._row_of_seat = (row[:, None] * kv_heads + head[:, None]).flatten()
        seat = torch.arange(len(group_of_row), device=device) - first[self.group_of_row]
        self._seat_of_row = ((self.group_of_row[:, None] * kv_heads + head) * seats + seat[:, None]).flatten()
        self._heads_of_groups = len(groups) * kv_heads
        return groups


@dataclass(frozen=True, slots=True)
class DecodeLayout:
    """The attention of one new token a row over its prompt and its own columns."""

    prompts: SharedPrompts
    unwritten: Bool[Tensor, " column"] | None = None
    """Which of the own columns are not written yet; by default none."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scaling: float, layer: int) -> Tensor:
        """Attend with `key` and `value` of the own columns; see `Layout.attend`. Of the prompts they are kept here."""
        row, heads, _, dim = query.shape
        kv_heads = key.shape[1]
        per_key = heads // kv_heads
        prompts = self.prompts
        prompt_key, prompt_value = prompts.layers[layer]
        query = query.reshape(row * kv_heads, per_key, dim)
        over_prompt = _scores(prompts.stack(query), prompt_key.flatten(0, 1), scaling)
        if prompts.padding is not None:
            over_prompt.unflatten(0, (-1, kv_heads)).masked_fill_(prompts.padding, -torch.inf)
        over_own = _scores(query, key.flatten(0, 1), scaling)
        if self.unwritten is not None:
            over_own.masked_fill_(self.unwritten, -torch.inf)
        scores = torch.cat([prompts.unstack(over_prompt, per_key), over_own], dim=2)
        columns = prompt_key.shape[2]
        weights = scores.softmax(-1).to(value.dtype)
        from_prompt = torch.bmm(prompts.stack(weights[..., :columns]), prompt_value.flatten(0, 1))
        from_both = torch.baddbmm(prompts.unstack(from_prompt, per_key), weights[..., columns:], value.flatten(0, 1))
        return from_both.view(row, 1, heads, dim)


def _scores(
    query: Float[Tensor, "batch query dim"], key: Float[Tensor, "batch key dim"], scaling: float
) -> Float[Tensor, "batch query key"]:
    """Return float32: a bfloat16 score between 64 and 128 would be a multiple of 0.5."""
    if query.is_cuda and query.dtype != torch.float32:  # only CUDA has the product that widens; it copies no key
        return torch.bmm(query, key.mT, out_dtype=torch.float32) * scaling
    return torch.bmm(query.float() * scaling, key.float().mT)
