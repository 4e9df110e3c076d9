"""The floating-point operations that a GRPO step needs, from a model's sizes and the tokens of its groups.

A multiplication and an addition count as two. Counted are the matrix products: the language model's linear layers, its
attention, its head and the vision tower; norms, rotations, softmax and the sampler are not (under 1 % of the products
at any size of the family). The language model trains whole, so its backward is twice its forward. What an
implementation computes twice to save memory is not needed: `recomputed_head` says it beside the total.

Attention is counted in pairs of a query and a key that it may see; a kernel that computes masked pairs as well does
up to twice as many (`dense=True` counts these, for a comparison with counters that know no mask).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

FORWARD_AND_BACKWARD = 3
"""A backward forms two products, for the inputs' and for the weights' gradient, of each product of the forward."""

Grid = tuple[int, int, int]
"""Patches of an image along time, height and width."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flops:
    """Operations by what they are for."""

    linear: int = 0
    attention: int = 0
    head: int = 0
    tower: int = 0
    recomputed_head: int = 0
    """Done again in the backward; not part of `total`."""

    @property
    def total(self) -> int:
        """What the step needs."""
        return self.linear + self.attention + self.head + self.tower

    def __add__(self, other: Flops) -> Flops:
        mine, theirs = dataclasses.astuple(self), dataclasses.astuple(other)
        return Flops(**dict(zip(NAMES, map(sum, zip(mine, theirs, strict=True)), strict=True)))


NAMES = tuple(field.name for field in dataclasses.fields(Flops))


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Tokens of one prompt, images included, and of each of its completions."""

    prompt: int
    completions: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageShape:
    """Sizes of a Qwen language model."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int

    @classmethod
    def of(cls, config: Any) -> LanguageShape:
        """Read them from the `text_config` of a model."""
        return cls(
            layers=config.num_hidden_layers,
            hidden=config.hidden_size,
            intermediate=config.intermediate_size,
            heads=config.num_attention_heads,
            kv_heads=config.num_key_value_heads,
            head_dim=getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads,
            vocabulary=config.vocab_size,
        )

    @property
    def per_token(self) -> int:
        """Of the linear layers, for one token forward."""
        projections = self.hidden * self.head_dim * (2 * self.heads + 2 * self.kv_heads)
        return 2 * self.layers * (projections + 3 * self.hidden * self.intermediate)

    @property
    def per_pair(self) -> int:
        """Of attention, for one query and one key forward: the score, and the value's share."""
        return 4 * self.layers * self.heads * self.head_dim

    @property
    def per_target(self) -> int:
        """Of the head, for one token forward."""
        return 2 * self.hidden * self.vocabulary


@dataclass(frozen=True, slots=True, kw_only=True)
class TowerShape:
    """Sizes of Qwen2.5-VL's vision tower."""

    layers: int
    full_layers: int
    """Those that attend over the whole image; the others attend within windows."""
    hidden: int
    intermediate: int
    channels: int
    """Numbers of one patch."""
    merge: int
    """Patches a side that become one image token."""
    window: int
    """Image tokens a side of a window."""
    out: int

    @classmethod
    def of(cls, config: Any) -> TowerShape:
        """Read them from the `vision_config` of a model. Raises ValueError for a family with another tower."""
        if not hasattr(config, "fullatt_block_indexes"):
            raise ValueError(f"model_type {config.model_type!r}: only the tower of Qwen2.5-VL is counted")
        return cls(
            layers=config.depth,
            full_layers=len(set(config.fullatt_block_indexes)),
            hidden=config.hidden_size,
            intermediate=config.intermediate_size,
            channels=config.in_channels * config.temporal_patch_size * config.patch_size**2,
            merge=config.spatial_merge_size,
            window=config.window_size // config.spatial_merge_size // config.patch_size,
            out=config.out_hidden_size,
        )

    def image(self, grid: Grid) -> int:
        """Count one image forward."""
        time, height, width = grid
        patches = time * height * width
        per_patch = 4 * self.hidden**2 + 3 * self.hidden * self.intermediate
        merged = self.hidden * self.merge**2
        linear = patches * (self.layers * per_patch + self.channels * self.hidden)
        linear += patches // self.merge**2 * (merged**2 + merged * self.out)
        pairs = self.full_layers * time * (height * width) ** 2
        pairs += (self.layers - self.full_layers) * self._window_pairs(grid)
        return 2 * linear + 4 * self.hidden * pairs

    def _window_pairs(self, grid: Grid) -> int:
        side = self.window * self.merge
        time, height, width = grid
        sizes = [[min(side, length - start) for start in range(0, length, side)] for length in (height, width)]
        return time * sum((rows * columns) ** 2 for rows in sizes[0] for columns in sizes[1])


def row_pairs(row: Sequence[Group], *, dense: bool = False) -> int:
    """Count query and key pairs of one packed row; `dense` counts the rectangles of `GroupLayout`, masked or not."""
    if dense:
        prompt = max(group.prompt for group in row)
        spans = [length for group in row for length in group.completions]
        longest = max(spans, default=0)
        return len(row) * prompt**2 + len(spans) * longest * (prompt + longest)
    return sum(
        _causal(group.prompt) + sum(length * group.prompt + _causal(length) for length in group.completions)
        for group in row
    )


def forward(language: LanguageShape, rows: Sequence[Sequence[Group]], *, dense: bool = False) -> Flops:
    """Count one scoring pass over packed rows: the reference's, or the forward of an update."""
    targets = sum(sum(group.completions) for row in rows for group in row)
    tokens = targets + sum(group.prompt for row in rows for group in row)
    return Flops(
        linear=language.per_token * tokens,
        attention=language.per_pair * sum(row_pairs(row, dense=dense) for row in rows),
        head=language.per_target * targets,
    )


def update(
    language: LanguageShape, rows: Sequence[Sequence[Group]], *, chunk: int | None = None, dense: bool = False
) -> Flops:
    """Count forward and backward over packed rows; a row with more than `chunk` targets recomputes its head."""
    once = forward(language, rows, dense=dense)
    again = [sum(sum(group.completions) for group in row) for row in rows]
    return Flops(
        linear=FORWARD_AND_BACKWARD * once.linear,
        attention=FORWARD_AND_BACKWARD * once.attention,
        head=FORWARD_AND_BACKWARD * once.head,
        recomputed_head=language.per_target * sum(count for count in again if chunk is not None and count > chunk),
    )


def prefill(language: LanguageShape, groups: Sequence[Group], *, dense: bool = False) -> Flops:
    """Count the pass over the prompts, each read once; the head comes with the first token of each completion."""
    return forward(language, [[Group(prompt=group.prompt, completions=()) for group in groups]], dense=dense)


def decode(language: LanguageShape, groups: Sequence[Group]) -> Flops:
    """Count the steps that write: C tokens take C - 1 steps, since prefill leaves the first, and C times the head."""
    written = [(group.prompt, length) for group in groups for length in group.completions if length]
    return Flops(
        linear=language.per_token * sum(length - 1 for _, length in written),
        attention=language.per_pair * sum((length - 1) * prompt + _causal(length - 1) for prompt, length in written),
        head=language.per_target * sum(length for _, length in written),
    )


def rollout(language: LanguageShape, groups: Sequence[Group], *, dense: bool = False) -> Flops:
    """Count prefill and decode steps."""
    return prefill(language, groups, dense=dense) + decode(language, groups)


def tower(shape: TowerShape, images: Sequence[Grid]) -> Flops:
    """Count the frozen tower over images that no cache holds, each once."""
    return Flops(tower=sum(shape.image(grid) for grid in images))


def _causal(length: int) -> int:
    return length * (length + 1) // 2
