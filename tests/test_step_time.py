"""The benchmark's arithmetic: operations counted by hand and by torch, planted fits, sweeps that resume."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import fits
import flops
import numpy as np
import profile_step
import pytest
import scaling
import summary
import tiny_checkpoints
import torch
from attention_clock import AttentionClock
from flops import Flops, Group, LanguageShape, TowerShape
from grpo_support import model_config
from PIL import Image
from scaling import Cell
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils.flop_counter import FlopCounterMode

from adfm.grpo.logprob import Scorer
from adfm.grpo.packing import PackItem, pack_row
from adfm.grpo.rollout import generate
from adfm.models.encode import EncodedPrompt
from adfm.models.vlm import VLM
from adfm.types import Completion

LANGUAGE = LanguageShape(layers=2, hidden=4, intermediate=3, heads=2, kv_heads=1, head_dim=2, vocabulary=5)
TOWER = TowerShape(layers=3, full_layers=1, hidden=2, intermediate=3, channels=5, merge=2, window=2, out=7)


def test_language_model_by_hand() -> None:
    # q and o are 4 x 4, k and v 4 x 2, three products of 4 x 3: 16 + 16 + 8 + 8 + 36 = 84, two layers, two operations
    assert LANGUAGE.per_token == 2 * 2 * 84
    # two heads of two numbers: a score and a share of the value are 4 + 4 multiplications and additions each
    assert LANGUAGE.per_pair == 2 * (8 + 8)
    assert LANGUAGE.per_target == 2 * 4 * 5


def test_pairs_by_hand() -> None:
    row = [Group(prompt=3, completions=(2, 1))]
    # the prompt: 1 + 2 + 3; the completions: 3 + 1 and 3 + 2, and 3 + 1
    assert flops.row_pairs(row) == 6 + 9 + 4
    # without masks: 3 x 3, and two rectangles of 2 x (3 + 2)
    assert flops.row_pairs(row, dense=True) == 9 + 2 * 10


def test_update_by_hand() -> None:
    counted = flops.update(LANGUAGE, [[Group(prompt=3, completions=(2, 1))]], chunk=2)
    assert counted == Flops(linear=3 * 6 * 336, attention=3 * 19 * 32, head=3 * 3 * 40, recomputed_head=3 * 40)
    assert counted.total == counted.linear + counted.attention + counted.head
    assert flops.update(LANGUAGE, [[Group(prompt=3, completions=(2, 1))]], chunk=3).recomputed_head == 0


def test_rollout_by_hand() -> None:
    counted = flops.rollout(LANGUAGE, [Group(prompt=3, completions=(3, 1))])
    # prefill of 3 tokens; then the second and third token of the first completion, which see 4 and 5 keys
    assert counted == Flops(linear=(3 + 2) * 336, attention=(6 + 4 + 5) * 32, head=4 * 40)


def test_tower_by_hand() -> None:
    # 4 x 6 patches: windows of 4 x 4 and 4 x 2 patches in two layers, all 24 in one
    per_patch = 4 * 4 + 3 * 2 * 3
    linear = 24 * (3 * per_patch + 5 * 2) + 6 * (8 * 8 + 8 * 7)
    pairs = 24**2 + 2 * (16**2 + 8**2)
    assert flops.tower(TOWER, [(1, 4, 6)]) == Flops(tower=2 * linear + 2 * 2 * 2 * pairs)


def test_longer_prompts_are_not_repeated_over_the_group() -> None:
    short, long = (flops.update(LANGUAGE, [[Group(prompt=size, completions=(2,) * 8)]]) for size in (10, 20))
    assert long.linear - short.linear == 3 * 10 * LANGUAGE.per_token
    assert long.head == short.head


def test_other_towers_are_refused(tmp_path: Path) -> None:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(tiny_checkpoints.write_qwen3_vl(tmp_path))
    with pytest.raises(ValueError, match="qwen3_vl"):
        TowerShape.of(config.vision_config)


@pytest.fixture(scope="module")
def vlm(tmp_path_factory: pytest.TempPathFactory) -> VLM:
    folder = tiny_checkpoints.write_qwen2_5_vl(tmp_path_factory.mktemp("checkpoint"))
    return VLM.load(model_config(folder, max_pixels=252 * 252), train=True)


@pytest.fixture
def encoded(vlm: VLM, tmp_path: Path) -> EncodedPrompt:
    """A prompt of 252 x 168 pixels, 54 image tokens, among which no end of turn can be drawn for long."""
    path = tmp_path / "tile.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (168, 252, 3), dtype=np.uint8)).save(path)
    key = vlm.tower.reader.key(path)
    ids = torch.tensor([*[vlm.image_token_id] * vlm.tower.reader.token_count(key.grid), 10, 11, 12])
    positions = torch.arange(len(ids)).expand(3, -1)
    return EncodedPrompt(ids, positions, len(ids), (key,))


def counted_by_torch(run: Callable[[], object]) -> int:
    """Operations that torch counts; the plain attention, since its counter knows no fused kernel of the CPU."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        run()
    return counter.get_total_flops()


def test_tower_agrees_with_torch(vlm: VLM, encoded: EncodedPrompt) -> None:
    shape = TowerShape.of(vlm.base.config.vision_config)
    counted = counted_by_torch(lambda: vlm.features([encoded]))
    assert flops.tower(shape, [key.grid for key in encoded.images]).total == counted


def test_update_agrees_with_torch(vlm: VLM, encoded: EncodedPrompt) -> None:
    vlm.features([encoded])
    completions = tuple(torch.full((12,), 10 + index) for index in range(4))
    scorer = Scorer(vlm)
    packed = pack_row([PackItem(encoded=encoded, completions=completions)])
    counted = counted_by_torch(lambda: scorer(packed).logprob.sum().backward())
    vlm.base.zero_grad()
    row = [Group(prompt=len(encoded.token_ids), completions=(12,) * 4)]
    language = LanguageShape.of(vlm.base.config.text_config)
    assert flops.update(language, [row], dense=True).total == counted  # dense, for torch's counter knows no mask
    assert flops.update(language, [row]).total < counted


def test_rollout_agrees_with_torch(vlm: VLM, encoded: EncodedPrompt) -> None:
    vlm.features([encoded])
    vlm.base.eval()
    drawn: list[tuple[Completion, ...]] = []
    draw = partial(generate, vlm, [encoded], group_size=3, temperature=0.0, completion_tokens=9)
    counted = counted_by_torch(lambda: drawn.extend(draw()))
    lengths = tuple(len(completion.token_ids) for completion in drawn[0])
    language = LanguageShape.of(vlm.base.config.text_config)
    group = Group(prompt=len(encoded.token_ids), completions=lengths)
    assert flops.rollout(language, [group], dense=True).total == counted


def test_fit_recovers_planted_shares() -> None:
    sizes = [
        {"prompt": prompt, "group": group, "completion": completion}
        for prompt in (100, 300, 2000)
        for group in (2, 8)
        for completion in (32, 256)
    ]
    planted = {"1": 0.2, "P + G C": 1e-4}
    seconds = [0.2 + 1e-4 * (one["prompt"] + one["group"] * one["completion"]) for one in sizes]
    packed, padded = (fits.fit(terms, sizes, seconds) for terms in fits.LAWS["update_else"].values())
    assert packed.seconds == pytest.approx(planted, rel=1e-6)
    assert packed.relative_error < 1e-6
    assert padded.relative_error > 0.05


def test_fit_never_takes_a_share_below_zero() -> None:
    sizes = [{"prompt": prompt, "group": 8, "completion": 32} for prompt in (100, 200, 400)]
    assert min(fits.fit(("1", "P + G C"), sizes, [3.0, 2.0, 1.0]).seconds.values()) >= 0


def test_slope_of_a_square() -> None:
    assert fits.slope([1, 2, 4], [3, 12, 48]) == pytest.approx(2)


def test_attention_clock_sees_forward_and_backward(vlm: VLM, encoded: EncodedPrompt) -> None:
    packed = pack_row([PackItem(encoded=encoded, completions=(torch.full((12,), 10),) * 4)])
    scorer, clock = Scorer(vlm), AttentionClock()
    with clock.watching():
        logprob = scorer(packed).logprob
        forward = clock.seconds["update"]
        logprob.sum().backward()
        both = clock.seconds["update"]
        with torch.no_grad():
            scorer(packed)
    vlm.base.zero_grad()
    assert 0 < forward < both == clock.seconds["update"]
    assert clock.seconds["rollout"] > 0
    scorer(packed)
    assert clock.seconds["update"] == both


def toy(axis: str, value: int) -> Cell:
    return Cell(**{"image": 16, "group": 2, "completion": 4, "axis": axis, axis: value})


def test_sweep_goes_on_where_it_stopped(tmp_path: Path) -> None:
    path, asked = tmp_path / "scaling.json", []

    def measure(cell: Cell) -> scaling.Record:
        if cell.key == "group=4":
            raise KeyboardInterrupt
        asked.append(cell.key)
        return {"sizes": asdict(cell)}

    cells = [toy("group", 2), toy("completion", 4), toy("group", 4)]
    with pytest.raises(KeyboardInterrupt):
        scaling.sweep(path, cells, measure)
    assert asked == ["group=2", "completion=4"]
    changed = Cell(axis="completion", image=16, group=3, completion=4)
    scaling.sweep(path, [cells[0], changed, toy("completion", 8)], measure)
    assert asked == ["group=2", "completion=4", "completion=4", "completion=8"]


def test_sweep_refuses_another_machine(tmp_path: Path) -> None:
    path = tmp_path / "scaling.json"
    scaling.sweep(path, [], lambda cell: {})
    path.write_text(json.dumps({"machine": {"processor": "another"}, "cells": {}}))
    with pytest.raises(SystemExit, match="--fresh"):
        scaling.sweep(path, [], lambda cell: {})


def test_toy_cells_are_measured_and_reported(tmp_path: Path) -> None:
    cells = [toy("group", 2), toy("group", 3)]
    results = scaling.sweep(tmp_path / "scaling.json", cells, partial(scaling.measure, steps=1))
    summary.write(results, tmp_path)
    seconds = results["cells"]["group=3"]["seconds"]
    for part in ("rollout", "update"):
        assert seconds[part] == pytest.approx(seconds[f"{part}_attention"] + seconds[f"{part}_else"])
        assert 0 < results["cells"]["group=3"]["share"][part] < 1
    with (tmp_path / "scaling.csv").open() as file:
        assert [line["group"] for line in csv.DictReader(file)] == ["2", "3"]
    assert "| group=3 |" in (tmp_path / "scaling.md").read_text()
    pytest.importorskip("matplotlib", reason="figures need the extra `bench`")
    import plots

    plots.draw(results["cells"], tmp_path / "scaling.png")
    assert (tmp_path / "scaling.png").stat().st_size > 10_000


def test_laws_tell_packed_from_padded() -> None:
    cells = {}
    for axis in summary.LAW_AXES:
        for cell in scaling.CELLS[axis]:
            sizes = asdict(cell) | {"prompt": cell.image + 80}
            tokens = sizes["prompt"] + cell.group * cell.completion
            pairs = sizes["prompt"] ** 2 / 2 + cell.group * cell.completion * (sizes["prompt"] + cell.completion / 2)
            seconds = {"update_else": 0.1 + 1e-4 * tokens, "update_attention": 3e-7 * pairs}
            seconds |= {"rollout_else": 2e-3 * cell.completion + 1e-4 * tokens, "rollout_attention": 3e-7 * pairs}
            cells[cell.key] = {"sizes": sizes, "seconds": seconds}
    for forms in summary.laws(cells).values():
        assert forms["packed"]["relative_error"] < 1e-6 < 0.02 < forms["padded"]["relative_error"]
    assert summary.laws({key: cell for key, cell in cells.items() if cell["sizes"]["axis"] == "image"}) == {}


def test_profile_gives_the_backward_to_what_its_forward_served() -> None:
    inputs, weight = torch.randn(64, 64), torch.randn(64, 64, requires_grad=True)
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        with record_function("adfm:linear"):
            hidden = inputs @ weight
        with record_function("adfm:elementwise"):
            hidden = hidden.tanh()
        (hidden * 2).sum().backward()
        with record_function(profile_step.ROLLOUT), record_function("adfm:attention"):
            hidden.detach().softmax(-1)
    found = {(use.part, use.serves, use.operator) for use in profile_step.uses(profiler.events() or [])}
    serves = {operator: (part, served) for part, served, operator in found}
    assert serves["aten::mm"] == serves["MmBackward0"] == ("update", "linear")
    assert serves["aten::tanh"] == serves["aten::tanh_backward"] == ("update", "norms, rotation, activation")
    assert serves["aten::sum"] == serves["SumBackward0"] == ("update", "loss, packing, gradients")
    assert serves["aten::softmax"] == ("rollout", "attention")
