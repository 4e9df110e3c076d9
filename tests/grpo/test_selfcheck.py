"""The check of the fast path passes where it is right, and names the piece in which a fault is planted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from grpo_support import model_config

from adfm.grpo import decoder, rollout
from adfm.grpo.attention import ATTENTION, GroupLayout
from adfm.grpo.engine import Engine
from adfm.grpo.guards import GuardError
from adfm.grpo.logprob import Scorer
from adfm.grpo.rollout import Sampling
from adfm.grpo.schedule import Constant
from adfm.grpo.selfcheck import check_fast_path
from adfm.models.tower import PatchProjection
from adfm.models.vlm import VLM
from adfm.types import Prompt

MakePrompt = Callable[..., Prompt]


@pytest.fixture
def prompts(make_prompt: MakePrompt) -> list[Prompt]:
    """Two prompts of different lengths, one with two images, and one that is not looked at."""
    return [
        make_prompt("one", [(56, 56)]),
        make_prompt("two", [(84, 56), (56, 84)], "Compare it with the first."),
        make_prompt("three", [(112, 84)]),
    ]


def check(vlm: VLM, prompts: list[Prompt], temperature: float = 0.8) -> dict[str, float]:
    sampling = Sampling(vlm, completion_tokens=20, group_size=3, temperature=temperature)
    return check_fast_path(vlm, prompts, sampling, seed=0)


def test_a_right_model_passes(vlm: VLM, prompts: list[Prompt]) -> None:
    gaps = check(vlm, prompts)
    assert len(gaps) == 5
    assert max(gaps.values()) < 2e-5
    assert vlm.base.model.language_model.config._attn_implementation == ATTENTION


def test_static_shapes_pass(vlm: VLM, prompts: list[Prompt], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(decoder.DECODERS, "cpu", decoder.StaticDecoder)
    assert max(check(vlm, prompts).values()) < 2e-5


def test_lora_and_a_trained_tower_pass(checkpoint: Path, make_prompt_for: Callable[..., Prompt]) -> None:
    lora = SimpleNamespace(rank=4, alpha=8, dropout=0.1, targets=("q_proj", "v_proj", "down_proj"))
    thawed = SimpleNamespace(vision=False, merger=False, language=False)
    for changes in ({"lora": lora, "gradient_checkpointing": True}, {"freeze": thawed}):
        vlm = VLM.load(model_config(checkpoint, **changes), device="cpu", train=True)
        for name, weight in vlm.model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.2)
        vlm.model.eval()
        assert max(check(vlm, [make_prompt_for(vlm, "one", [(56, 84)])]).values()) < 2e-5


def test_sharded_weights_pass_while_they_are_whole(checkpoint: Path, make_prompt_for: Callable[..., Prompt]) -> None:
    vlm = VLM.load(model_config(checkpoint, gradient_checkpointing=True), device="cpu", train=True)
    engine = Engine(
        Scorer(vlm),
        optimizer=partial(torch.optim.AdamW, lr=1e-3),
        schedule=Constant(),
        max_grad_norm=1.0,
        deepspeed={"zero_optimization": {"stage": 3}},
        dtype=torch.float32,
        total_steps=1,
    )
    with engine.gathered():
        assert max(check(vlm, [make_prompt_for(vlm, "one", [(56, 84)])]).values()) < 2e-5


def test_bfloat16_passes(checkpoint: Path, make_prompt_for: Callable[..., Prompt]) -> None:
    vlm = VLM.load(model_config(checkpoint, dtype="bfloat16"), device="cpu", train=True)
    vlm.base.eval()
    assert max(check(vlm, [make_prompt_for(vlm, "one", [(56, 84)])]).values()) < 0.1


def swapped_kernel(monkeypatch: pytest.MonkeyPatch, vlm: VLM, prompts: list[Prompt]) -> None:
    linear = PatchProjection.forward
    monkeypatch.setattr(PatchProjection, "forward", lambda self, patches: linear(self, patches.flip(-1)))


def stale_feature(monkeypatch: pytest.MonkeyPatch, vlm: VLM, prompts: list[Prompt]) -> None:
    (image,) = vlm.encode(prompts[0]).images
    store = vlm.tower.cache.memory
    (feature,) = vlm.tower.features([image])
    monkeypatch.setitem(store._tensors, image, feature.flip(1))


def neighbours_seen(monkeypatch: pytest.MonkeyPatch, vlm: VLM, prompts: list[Prompt]) -> None:
    layout = GroupLayout.of

    def wrong(*spans: Any) -> GroupLayout:
        right = layout(*spans)
        return replace(right, completion_mask=torch.ones_like(right.completion_mask))

    monkeypatch.setattr(GroupLayout, "of", wrong)


def positions_shifted(monkeypatch: pytest.MonkeyPatch, vlm: VLM, prompts: list[Prompt]) -> None:
    encode = vlm.encode

    def wrong(prompt: Prompt) -> Any:
        encoded = encode(prompt)
        return replace(encoded, next_position=encoded.next_position + 1)

    monkeypatch.setattr(vlm, "encode", wrong)


def column_dropped(monkeypatch: pytest.MonkeyPatch, vlm: VLM, prompts: list[Prompt]) -> None:
    update = decoder.GrowingDecoder.update

    def wrong(self: decoder.GrowingDecoder, key: Any, value: Any, layer: int, *_: object) -> tuple[Any, Any]:
        keys, values = update(self, key, value, layer)
        values = values.clone()
        values[:, :, -2:-1] = 0
        return keys, values

    monkeypatch.setattr(decoder.GrowingDecoder, "update", wrong)


def sampler_too_warm(monkeypatch: pytest.MonkeyPatch, vlm: VLM, prompts: list[Prompt]) -> None:
    logits = rollout.sampled_logits
    monkeypatch.setattr(rollout, "sampled_logits", lambda *inputs: 1.02 * logits(*inputs))


def best_not_chosen(monkeypatch: pytest.MonkeyPatch, vlm: VLM, prompts: list[Prompt]) -> None:
    choose = rollout._Choice.__call__

    def wrong(choice: Any, logits: Any, *where: Any) -> tuple[Any, Any]:
        if choice.temperature:
            return choose(choice, logits, *where)
        return logits.topk(2).indices[:, 1], logits.new_zeros(len(logits))

    monkeypatch.setattr(rollout._Choice, "__call__", wrong)


@pytest.mark.parametrize(
    ("plant", "piece"),
    [
        (swapped_kernel, "the patch embedding"),
        (stale_feature, "the features of images"),
        (neighbours_seen, "the log-probability of packed groups"),
        (positions_shifted, "the log-probability of packed groups"),
        (column_dropped, "the sampler's log-probability"),
        (sampler_too_warm, "the sampler's log-probability"),
        (best_not_chosen, "the greedy choice of the decode loop"),
    ],
)
def test_a_planted_fault_is_named(
    vlm: VLM, prompts: list[Prompt], plant: Callable[..., None], piece: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch, vlm, prompts)
    with pytest.raises(GuardError, match=f"^{piece} differs .* by up to .* transformers 5.*constraints.txt"):
        check(vlm, prompts)


def test_the_attention_is_restored_after_an_error(
    vlm: VLM, prompts: list[Prompt], monkeypatch: pytest.MonkeyPatch
) -> None:
    check(vlm, prompts)

    def fail(**_: object) -> None:
        raise RuntimeError("planted")

    with monkeypatch.context() as patch:
        patch.setattr(vlm.base, "forward", fail)
        with pytest.raises(RuntimeError, match="planted"):
            check(vlm, prompts)
    assert vlm.base.model.language_model.config._attn_implementation == ATTENTION
