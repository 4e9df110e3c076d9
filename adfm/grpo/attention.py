"""The language model's attention over packed groups, in two calls without a mask over the row.

The prompts attend among themselves, and the completions, batched over the group, to `[keys of the prompt | own keys]`
(the idea of Prefix Grouper, arXiv 2506.05433, with image tokens and M-RoPE positions). The language model reaches it
through transformers' registry under the name `ATTENTION`; the layout of a row travels with the forward call as the
keyword `layout`, and is the object that attends: `GroupLayout` here, `DecodeLayout` in `decode_attention`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from adfm.models.vlm import VLM

ATTENTION = "adfm_layout"


@runtime_checkable
class Layout(Protocol):
    """What knows which token of a forward call may look at which."""

    def attend(
        self,
        query: Float[Tensor, "row head token dim"],
        key: Float[Tensor, "row kv_head key_token dim"],
        value: Float[Tensor, "row kv_head key_token dim"],
        scaling: float,
        layer: int,
    ) -> Float[Tensor, "row token head dim"]:
        """Return the output of a layer's attention, tokens before heads."""
        ...


def _attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, _mask: Any, **kwargs: Any
) -> tuple[Tensor, None]:
    layout = kwargs.get("layout")
    if layout is None:
        raise RuntimeError(
            "this model attends by layout: call it through adfm.grpo.logprob.score or adfm.grpo.rollout.generate"
        )
    return layout.attend(query, key, value, kwargs["scaling"], module.layer_idx), None


ALL_ATTENTION_FUNCTIONS.register(ATTENTION, _attention)


def attend_by_layout(vlm: VLM) -> None:
    """Switch the language model's attention to layouts. The tower keeps its own; saved checkpoints do not change."""
    vlm.base.model.language_model.config._attn_implementation = ATTENTION


@contextmanager
def stock_attention(vlm: VLM) -> Iterator[None]:
    """Give the language model transformers' own attention for a while."""
    config = vlm.base.model.language_model.config
    before, config._attn_implementation = config._attn_implementation, "sdpa"
    try:
        yield
    finally:
        config._attn_implementation = before


@dataclass(frozen=True, slots=True)
class GroupLayout:
    """The attention of packed groups.

    The index tensors are rectangles over groups; where a prompt or completion is shorter than the longest, they
    repeat a valid index, and nothing reads what comes out there.
    """

    prompt_index: Int[Tensor, "group prompt"]
    prompt_valid: Bool[Tensor, "group prompt"]
    completion_index: Int[Tensor, "completion span"]
    group_of_completion: Int[Tensor, " completion"]
    completions_per_group: int | None
    """If all groups have as many."""
    completion_mask: Bool[Tensor, "completion 1 span key"] | Bool[Tensor, "span key"]
    """Over `[prompt | own]` keys: the prompt's tokens, and its own up to itself."""
    restore: Int[Tensor, " token"]
    """Where each token of the row stands in the prompts' rectangle, flat, followed by the completions'."""

    @classmethod
    def of(
        cls,
        prompts: Sequence[tuple[int, int]],
        completions: Sequence[tuple[int, int]],
        group_of_completion: Sequence[int],
        device: torch.device | str,
    ) -> GroupLayout:
        """Lay out a row in which prompts and completions take the places (start, length)."""
        prompt_index, prompt_valid = _spans(prompts)
        completion_index, completion_valid = _spans(completions)
        groups = torch.tensor(group_of_completion, dtype=torch.long)
        span = completion_index.shape[1]
        own = torch.ones(span, span, dtype=torch.bool).tril()
        if prompt_valid.all():
            mask = torch.cat([torch.ones(span, prompt_index.shape[1], dtype=torch.bool), own], dim=1)
        else:
            over_prompt = prompt_valid[groups][:, None, None, :].expand(-1, 1, span, -1)
            mask = torch.cat([over_prompt, own.expand(len(groups), 1, span, span)], dim=3)
        places = torch.cat([prompt_valid.flatten(), completion_valid.flatten()]).nonzero()[:, 0]
        order = torch.cat([prompt_index[prompt_valid], completion_index[completion_valid]])
        restore = torch.empty_like(order)
        restore[order] = places
        counts = groups.bincount(minlength=len(prompts)).unique()
        return cls(
            prompt_index=prompt_index.to(device),
            prompt_valid=prompt_valid.to(device),
            completion_index=completion_index.to(device),
            group_of_completion=groups.to(device),
            completions_per_group=int(counts) if len(counts) == 1 else None,
            completion_mask=mask.to(device),
            restore=restore.to(device),
        )

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scaling: float, layer: int) -> Tensor:
        """Attend in two calls, alike in every layer; see `Layout.attend`. Idea: Prefix Grouper, arXiv 2506.05433."""
        if key.is_cuda:  # no fused kernel of CUDA takes a mask and fewer key heads but cuDNN's, and not in float32
            repeats = query.shape[1] // key.shape[1]
            key, value = key.repeat_interleave(repeats, dim=1), value.repeat_interleave(repeats, dim=1)
        is_grouped = query.shape[1] != key.shape[1]
        query, key, value = (tensor[0].transpose(0, 1) for tensor in (query, key, value))  # token head dim
        prompt_query, prompt_key, prompt_value = (_rectangle(t, self.prompt_index) for t in (query, key, value))
        prompt_out = scaled_dot_product_attention(
            prompt_query, prompt_key, prompt_value, is_causal=True, scale=scaling, enable_gqa=is_grouped
        )
        parts = [prompt_out.transpose(1, 2).flatten(0, 1)]
        if self.completion_index.numel():
            own_query, own_key, own_value = (_rectangle(t, self.completion_index) for t in (query, key, value))
            out = scaled_dot_product_attention(
                own_query,
                self._behind_prompts(prompt_key, own_key),
                self._behind_prompts(prompt_value, own_value),
                attn_mask=self.completion_mask,
                scale=scaling,
                enable_gqa=is_grouped,
            )
            parts.append(out.transpose(1, 2).flatten(0, 1))
        return torch.cat(parts).index_select(0, self.restore)[None]

    def _behind_prompts(
        self, prompt: Float[Tensor, "group head prompt dim"], own: Float[Tensor, "completion head span dim"]
    ) -> Float[Tensor, "completion head key dim"]:
        count = self.completions_per_group
        if count is None:
            return torch.cat([prompt[self.group_of_completion], own], dim=2)
        groups = prompt[:, None].expand(-1, count, -1, -1, -1)
        return torch.cat([groups, own.unflatten(0, (-1, count))], dim=3).flatten(0, 1)


def _rectangle(
    tokens: Float[Tensor, "token head dim"], index: Int[Tensor, "row span"]
) -> Float[Tensor, "row head span dim"]:
    return tokens.index_select(0, index.flatten()).unflatten(0, index.shape).transpose(1, 2)


def _spans(spans: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
    """Rectangles of row indices and of their validity from (start, length) spans; the padding points at token 0."""
    starts = torch.tensor([start for start, _ in spans], dtype=torch.long)
    lengths = torch.tensor([length for _, length in spans], dtype=torch.long)
    offsets = torch.arange(int(lengths.max()) if len(spans) else 0)
    valid = offsets < lengths[:, None]
    return torch.where(valid, starts[:, None] + offsets, 0), valid
