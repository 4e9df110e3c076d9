"""The attention of rows that share prompts against that of rows with all keys of their own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from adfm.grpo.decode_attention import DecodeLayout, SharedPrompts

KV_HEADS, HEADS, DIM, COLUMNS = 2, 6, 8, 5
SCALING = 0.3


def random_rows(sizes: list[int], lengths: list[int], dtype: torch.dtype) -> tuple[SharedPrompts, list[Tensor]]:
    """Two layers of prompts of `lengths`, `sizes` rows each, and the rows' query, keys and values."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(dtype)

    prompt = len(lengths), KV_HEADS, max(lengths), DIM
    valid = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    group_of_row = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    prompts = SharedPrompts([(random(*prompt), random(*prompt)) for _ in range(2)], valid, group_of_row)
    own = sum(sizes), KV_HEADS, COLUMNS, DIM
    return prompts, [random(sum(sizes), HEADS, 1, DIM), random(*own), random(*own)]


def repeated(prompts: SharedPrompts, query: Tensor, key: Tensor, value: Tensor, layer: int, written: int) -> Tensor:
    """Attend with the prompt's columns copied before each row's own, in float32."""
    prompt_key, prompt_value = (states[prompts.group_of_row] for states in prompts.layers[layer])
    keys, values = torch.cat([prompt_key, key], dim=2).float(), torch.cat([prompt_value, value], dim=2).float()
    mask = torch.ones(len(query), 1, 1, keys.shape[2], dtype=torch.bool)
    if prompts.padding is not None:
        mask[..., : prompt_key.shape[2]] = ~prompts.padding[prompts.group_of_row]
    mask[..., prompt_key.shape[2] + written :] = False
    out = scaled_dot_product_attention(query.float(), keys, values, attn_mask=mask, scale=SCALING, enable_gqa=True)
    return out.transpose(1, 2)


@pytest.mark.parametrize("lengths", [[7, 7, 7], [4, 9, 6]])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 2e-2)])
def test_shared_prompts_are_as_good_as_copies(lengths: list[int], dtype: torch.dtype, tolerance: float) -> None:
    """Even groups, then uneven ones, then without the first group, then one row alone."""
    prompts, states = random_rows([4, 4, 4], lengths, dtype)
    for keep in ([], [0, 2, 3, 5, 8, 9, 10, 11], [3, 4, 6], [1]):
        if keep:
            prompts.keep(torch.tensor(keep))
            states = [state[keep] for state in states]
        query, key, value = states
        for layer in range(2):
            expected = repeated(prompts, query, key, value, layer, COLUMNS)
            found = DecodeLayout(prompts).attend(query, key, value, SCALING, layer)
            torch.testing.assert_close(found.float(), expected, atol=tolerance, rtol=0)
            expected = repeated(prompts, query, key, value, layer, 3)
            found = DecodeLayout(prompts, torch.arange(COLUMNS) > 2).attend(query, key, value, SCALING, layer)
            torch.testing.assert_close(found.float(), expected, atol=tolerance, rtol=0)
    assert prompts.group_of_row.tolist() == [0]
    assert [keys.shape[0] for keys, _ in prompts.layers] == [1, 1]


def test_groups_of_one_row() -> None:
    """A greedy rollout: no key is shared."""
    prompts, (query, key, value) = random_rows([1, 1, 1], [3, 5, 4], torch.float32)
    found = DecodeLayout(prompts).attend(query, key, value, SCALING, 1)
    torch.testing.assert_close(found, repeated(prompts, query, key, value, 1, COLUMNS), atol=1e-6, rtol=0)
