"""Packed groups against the plain path: padded rows through the stock model, one row a completion."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from grpo_support import model_config
from torch.utils._python_dispatch import TorchDispatchMode

from adfm.grpo.attention import attend_by_layout, stock_attention
from adfm.grpo.logprob import forced, head_scores, score
from adfm.grpo.packing import PackedGroups, PackItem, pack, pack_row
from adfm.grpo.selfcheck import plain_logits
from adfm.models.vlm import VLM, EncodedPrompt
from adfm.types import Prompt


def words(*lengths: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(20, 120, (length,), generator=generator) for length in lengths)


@pytest.fixture
def items(vlm: VLM, make_prompt: Callable[..., Prompt]) -> list[PackItem]:
    """Three prompts of one, two and one images, ragged completions, one of them empty."""
    prompts = [
        make_prompt("one", [(56, 56)]),
        make_prompt("two", [(84, 56), (56, 84)], "Compare it with the first."),
        make_prompt("three", [(112, 84)], "Any scratch, dent or stain to be seen here?"),
    ]
    completions = [words(5, 1, 9, seed=1), words(4, 0, 4, 7, seed=2), words(3, 3, seed=3)]
    return [
        PackItem(encoded=vlm.encode(p), completions=c, tag=i)
        for i, (p, c) in enumerate(zip(prompts, completions, strict=True))
    ]


def plain_logprob(vlm: VLM, encoded: EncodedPrompt, completion: torch.Tensor) -> torch.Tensor:
    """One completion alone after its prompt, through the stock model with stock attention."""
    tokens = torch.cat([encoded.token_ids, completion])
    positions = torch.cat(
        [encoded.positions, (encoded.next_position + torch.arange(len(completion))).expand(3, -1)], dim=1
    )
    with stock_attention(vlm):
        features = vlm.features([encoded])
        output = vlm.base(
            input_ids=tokens[None], position_ids=positions[:, None], mm_encoder_outputs=features, use_cache=False
        )
    logits = output.logits[0].clone()
    logits[:, list(vlm.suppressed_token_ids)] = -math.inf
    start = len(encoded.token_ids) - 1
    return logits[start : start + len(completion)].log_softmax(-1).gather(-1, completion[:, None])[:, 0]


def test_logprobs_equal_the_plain_path(vlm: VLM, items: list[PackItem]) -> None:
    attend_by_layout(vlm)
    plain = torch.cat(
        [plain_logprob(vlm, item.encoded, completion) for item in items for completion in item.completions]
    )
    packed = score(vlm, pack_row(items))
    torch.testing.assert_close(packed.logprob, plain, atol=1e-5, rtol=0)


def ragged(vlm: VLM, make_prompt: Callable[..., Prompt], group_size: int) -> list[PackItem]:
    """Prompts of one, two and three images, completions of 0 to 10 tokens."""
    sizes = {"one": [(56, 56)], "two": [(84, 56), (56, 84)], "three": [(56, 56), (112, 56), (84, 84)]}
    items = []
    for index, (name, images) in enumerate(sizes.items()):
        completions = words(*((4 * index + 3 * place) % 11 for place in range(group_size)), seed=index)
        encoded = vlm.encode(make_prompt(name, images, "Is it as the first? " * index + "Any defect?"))
        items.append(PackItem(encoded=encoded, completions=completions))
    return items


def padded_logprob(vlm: VLM, items: list[PackItem]) -> torch.Tensor:
    """Every completion as a row of its own with its images in pixels, through the stock model with its positions."""
    logprobs, training = [], vlm.base.training
    vlm.base.eval()  # nothing is made again in the backward
    for item in items:
        for logits, completion in zip(plain_logits(vlm, item), item.completions, strict=True):
            logits[:, list(vlm.suppressed_token_ids)] = -math.inf
            logprobs.append(logits.log_softmax(-1).gather(-1, completion[:, None])[:, 0])
    vlm.base.train(training)
    return torch.cat(logprobs)


def assert_packed_equals_padded(vlm: VLM, items: list[PackItem], rows: list[PackedGroups]) -> None:
    """Log-probabilities within 1e-5; gradients of a weighted sum within 1e-5 relative, for every parameter."""
    names, parameters = zip(*((n, p) for n, p in vlm.base.named_parameters() if p.requires_grad), strict=True)
    plain = padded_logprob(vlm, items)
    packed = torch.cat([score(vlm, row).logprob for row in rows])
    torch.testing.assert_close(packed, plain, atol=1e-5, rtol=0)
    weights = torch.linspace(-1, 1, len(plain))
    expected = torch.autograd.grad((plain * weights).sum(), parameters)
    actual = torch.autograd.grad((packed * weights).sum(), parameters)
    for name, one, other in zip(names, actual, expected, strict=True):
        assert float((one - other).norm()) <= 1e-5 * max(float(other.norm()), 1e-3), name


@pytest.mark.parametrize("group_size", [2, 8, 16])
def test_packed_equals_padded_rows(vlm: VLM, make_prompt: Callable[..., Prompt], group_size: int) -> None:
    attend_by_layout(vlm)
    items = ragged(vlm, make_prompt, group_size)
    assert_packed_equals_padded(vlm, items, [pack_row(items)])


def test_packed_equals_padded_rows_with_a_trained_tower(
    checkpoint: Path, make_prompt_for: Callable[..., Prompt]
) -> None:
    thawed = SimpleNamespace(vision=False, merger=False, language=False)
    vlm = VLM.load(model_config(checkpoint, freeze=thawed), device="cpu", train=True)
    attend_by_layout(vlm)
    items = ragged(vlm, partial(make_prompt_for, vlm), group_size=3)
    assert any("visual" in name for name, weight in vlm.base.named_parameters() if weight.requires_grad)
    assert_packed_equals_padded(vlm, items, [pack_row(items[:1]), pack_row(items[1:])])


@pytest.mark.parametrize("lora", [False, True])
def test_packed_equals_padded_rows_under_recomputation(
    checkpoint: Path, make_prompt_for: Callable[..., Prompt], lora: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In train mode, layers and the head's chunks made again in the backward, with and without adapters."""
    monkeypatch.setattr("adfm.grpo.logprob.CHUNK_NUMBERS", 7 * 384)
    adapter = SimpleNamespace(rank=4, alpha=8, dropout=0.0, targets=["q_proj", "v_proj", "down_proj"]) if lora else None
    vlm = VLM.load(model_config(checkpoint, gradient_checkpointing=True, lora=adapter), device="cpu", train=True)
    for name, weight in vlm.base.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    attend_by_layout(vlm)
    items = ragged(vlm, partial(make_prompt_for, vlm), group_size=4)
    assert vlm.base.training
    assert_packed_equals_padded(vlm, items, [pack_row(items)])


def test_a_completion_does_not_see_its_neighbours(vlm: VLM, items: list[PackItem]) -> None:
    attend_by_layout(vlm)
    before = score(vlm, pack_row(items))
    changed = list(items)
    first, second, third = items[0].completions
    changed[0] = replace(items[0], completions=(first, second, (third + 1) % 100 + 20))
    after = score(vlm, pack_row(changed))
    others = torch.ones_like(before.logprob, dtype=torch.bool)
    others[len(first) + len(second) : len(first) + len(second) + len(third)] = False
    assert torch.equal(before.logprob[others], after.logprob[others])
    assert not torch.equal(before.logprob[~others], after.logprob[~others])


def test_rows_of_any_cut_give_the_same_scores(vlm: VLM, items: list[PackItem]) -> None:
    attend_by_layout(vlm)
    whole = score(vlm, pack_row(items)).logprob.split([sum(map(len, item.completions)) for item in items])
    for row in pack(items, token_budget=max(item.size for item in items)):
        alone = score(vlm, row).logprob.split([sum(map(len, item.completions)) for item in row.items])
        for item, logprob in zip(row.items, alone, strict=True):
            torch.testing.assert_close(logprob, whole[item.tag], atol=1e-5, rtol=0)


def test_pack_fills_rows_up_to_the_budget(vlm: VLM, items: list[PackItem]) -> None:
    budget = items[0].size + items[2].size
    rows = pack(items, max(budget, items[1].size))
    assert sorted(item.tag for row in rows for item in row.items) == [0, 1, 2]
    assert len(rows) == 2
    assert all(row.token_ids.shape[1] == sum(item.size for item in row.items) for row in rows)
    with pytest.raises(ValueError, match="above the token budget of 5: set model"):
        pack(items, 5)


def test_forced_sums_the_plain_logprobs(vlm: VLM, items: list[PackItem]) -> None:
    for item, sums in zip(items, forced(vlm, items), strict=True):
        expected = [float(plain_logprob(vlm, item.encoded, ids).sum().detach()) for ids in item.completions]
        assert sums == pytest.approx(expected, abs=1e-4)


def test_head_scores_by_hand_and_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.tensor([[0.0, math.log(3.0), 9.0], [math.log(2.0), 0.0, 9.0]], requires_grad=True)
    identity: Callable[[torch.Tensor], torch.Tensor] = torch.nn.Identity()
    scores = head_scores(identity, logits * 1.0, torch.tensor([1, 1]), 1.0, suppressed=(2,))
    torch.testing.assert_close(scores.logprob, torch.tensor([math.log(0.75), math.log(1 / 3)]))
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    torch.testing.assert_close(scores.entropy[0], torch.tensor(entropy))
    monkeypatch.setattr("adfm.grpo.logprob.CHUNK_NUMBERS", 3)
    chunked = head_scores(identity, logits * 1.0, torch.tensor([1, 1]), 1.0, suppressed=(2,))
    torch.testing.assert_close(chunked.logprob, scores.logprob)
    one = torch.autograd.grad(scores.logprob.sum(), logits)[0]
    torch.testing.assert_close(torch.autograd.grad(chunked.logprob.sum(), logits)[0], one)


class LargestTensor(TorchDispatchMode):
    """Remembers the size of the largest tensor that any operation makes, in the backward too."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else (made,):
            if isinstance(tensor, torch.Tensor):
                self.numbers = max(self.numbers, tensor.numel())
        return made


@pytest.mark.parametrize("tokens", [20, 200, 700])
def test_no_tensor_of_the_head_is_larger_than_a_chunk(tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    vocabulary, hidden_size, chunk = 500, 8, 10 * 500
    monkeypatch.setattr("adfm.grpo.logprob.CHUNK_NUMBERS", chunk)
    head = torch.nn.Linear(hidden_size, vocabulary, bias=False)
    hidden = torch.randn(tokens, hidden_size, requires_grad=True)
    with LargestTensor() as largest:
        scores = head_scores(head, hidden, torch.arange(tokens) % vocabulary, 0.7, suppressed=(3, 4))
        scores.logprob.sum().backward()
    assert vocabulary * hidden_size < largest.numbers <= max(chunk, tokens * hidden_size)
    assert largest.numbers < tokens * vocabulary
