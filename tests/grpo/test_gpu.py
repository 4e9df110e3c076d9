"""What only a CUDA device can show: the same numbers as on the CPU, from its own kernels and from a captured graph."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from grpo_support import model_config

from adfm.grpo import decoder
from adfm.grpo.attention import attend_by_layout
from adfm.grpo.logprob import score
from adfm.grpo.packing import PackItem, pack_row
from adfm.grpo.rollout import Sampling, generate
from adfm.grpo.selfcheck import check_fast_path
from adfm.models.vlm import VLM
from adfm.types import Completion, Prompt

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
TOKENS = 40


@pytest.fixture(scope="module")
def vlms(checkpoint: Path) -> dict[str, VLM]:
    """The same weights on the CPU and on the device, in float32 and eval mode."""
    loaded = {device: VLM.load(model_config(checkpoint), device=device, train=True) for device in ("cpu", "cuda")}
    for vlm in loaded.values():
        vlm.base.eval()
    return loaded


@pytest.fixture
def prompts(vlms: dict[str, VLM], make_prompt_for: Callable[..., Prompt]) -> list[Prompt]:
    """Prompts of three lengths, one with two images."""
    make = partial(make_prompt_for, vlms["cpu"])
    return [
        make("short", [(56, 56)], "Defect?"),
        make("two images", [(84, 56), (56, 84)], "Compare it with the first image."),
        make("long", [(112, 112)], "Look at every part of this surface before you say anything about it."),
    ]


def written(vlm: VLM, prompts: list[Prompt], temperature: float) -> list[tuple[Completion, ...]]:
    return generate(
        vlm,
        [vlm.encode(prompt) for prompt in prompts],
        group_size=8,
        temperature=temperature,
        completion_tokens=TOKENS,
        generator=torch.Generator(vlm.device).manual_seed(0),
    )


def items(vlm: VLM, prompts: list[Prompt], groups: list[tuple[Completion, ...]]) -> list[PackItem]:
    return [
        PackItem(encoded=vlm.encode(prompt), completions=tuple(torch.from_numpy(one.token_ids) for one in group))
        for prompt, group in zip(prompts, groups, strict=True)
    ]


def test_packed_groups_have_the_same_logprobs_and_gradients(vlms: dict[str, VLM], prompts: list[Prompt]) -> None:
    groups = written(vlms["cpu"], prompts, temperature=1.0)
    results = {}
    for device, vlm in vlms.items():
        attend_by_layout(vlm)
        logprob = score(vlm, pack_row(items(vlm, prompts, groups), vlm.device)).logprob
        weights = torch.linspace(-1, 1, len(logprob), device=vlm.device)
        trained = {name: weight for name, weight in vlm.base.named_parameters() if weight.requires_grad}
        gradients = torch.autograd.grad((logprob * weights).sum(), list(trained.values()))
        results[device] = logprob.detach().cpu(), dict(zip(trained, (g.cpu() for g in gradients), strict=True))
    (expected, wanted), (logprob, gradients) = results["cpu"], results["cuda"]
    torch.testing.assert_close(logprob, expected, atol=1e-4, rtol=0)
    for name, gradient in gradients.items():
        assert float((gradient - wanted[name]).norm()) <= 1e-4 * max(float(wanted[name].norm()), 1e-2), name


def test_greedy_from_a_graph_is_greedy_on_the_cpu(vlms: dict[str, VLM], prompts: list[Prompt]) -> None:
    assert decoder.DECODERS["cuda"] is decoder.GraphedDecoder
    on_cpu, on_device = (written(vlms[device], prompts, temperature=0) for device in ("cpu", "cuda"))
    for one, other in zip(on_cpu, on_device, strict=True):
        for expected, found in zip(one, other, strict=True):
            np.testing.assert_array_equal(found.token_ids, expected.token_ids)


def test_a_graph_writes_what_its_step_writes(
    vlms: dict[str, VLM], prompts: list[Prompt], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With rows that end and leave in halves, so that several graphs are captured; twice, as memory is used again."""
    vlm = vlms["cuda"]
    monkeypatch.setattr(vlm, "end_token_ids", tuple(range(0, 150, 8)))
    graphed = [written(vlm, prompts, temperature=0.9) for _ in range(2)]
    monkeypatch.setitem(decoder.DECODERS, "cuda", decoder.StaticDecoder)
    stepped = written(vlm, prompts, temperature=0.9)
    assert len({len(one.token_ids) for group in stepped for one in group}) > 3
    for groups in graphed:
        for one, other in zip(stepped, groups, strict=True):
            for expected, found in zip(one, other, strict=True):
                np.testing.assert_array_equal(found.token_ids, expected.token_ids)
                np.testing.assert_allclose(found.sampler_logprob, expected.sampler_logprob, atol=1e-5)


def test_sampler_logprob_equals_the_training_pass(vlms: dict[str, VLM], prompts: list[Prompt]) -> None:
    vlm = vlms["cuda"]
    groups = written(vlm, prompts, temperature=0.7)
    with torch.no_grad():
        trained = score(vlm, pack_row(items(vlm, prompts, groups), vlm.device), temperature=0.7).logprob
    drawn = np.concatenate([one.sampler_logprob for group in groups for one in group])
    np.testing.assert_allclose(trained.cpu().numpy(), drawn, atol=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_fast_path_passes_its_check(checkpoint: Path, make_prompt_for: Callable[..., Prompt], dtype: str) -> None:
    vlm = VLM.load(model_config(checkpoint, dtype=dtype), device="cuda", train=True)
    vlm.base.eval()
    prompts = [make_prompt_for(vlm, "one", [(56, 84)]), make_prompt_for(vlm, "two", [(84, 56), (56, 84)])]
    gaps = check_fast_path(vlm, prompts, Sampling(vlm, completion_tokens=TOKENS, group_size=8), seed=0)
    assert len(gaps) == 5


def test_two_steps_in_bfloat16(checkpoint: Path, tmp_path: Path) -> None:
    """A whole run, from the command to the report."""
    family = json.loads((checkpoint / "config.json").read_text())["model_type"]
    model = {"qwen2_5_vl": "qwen3b", "qwen3_vl": "qwen3vl4b"}[family]
    changes = ["model.max_pixels=65536", "model.min_pixels=65536", "model.completion_tokens=24"]
    data = ["dataset.train=48", "dataset.val=8", "dataset.test=8", "logger=jsonl", "model.feature_cache_disk=false"]
    command = [sys.executable, "-m", "adfm.train", "debug=two_steps", f"model={model}", f"model.path={checkpoint}"]
    subprocess.run([*command, *changes, *data], cwd=tmp_path, check=True, timeout=600)
    (metrics,) = (tmp_path / "runs").glob("*/metrics.jsonl")
    steps = [json.loads(line) for line in metrics.read_text().splitlines()][1:]
    assert [line["step"] for line in steps] == [1, 2]
    assert all(math.isfinite(line["grad_norm"]) for line in steps)
    assert all(line["logprob_gap"] < 0.1 for line in steps)
