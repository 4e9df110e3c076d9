"""Ends that are forced behind what a rollout wrote are as likely as in the whole text, read anew."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from adfm.grpo import decoder
from adfm.grpo.logprob import forced
from adfm.grpo.packing import PackItem
from adfm.grpo.rollout import generate, only_read
from adfm.grpo.written import Ends, Written
from adfm.models.vlm import VLM, EncodedPrompt
from adfm.types import Prompt

TOKENS = 24
RESTS = ([5, 6, 7], [8], [5, 9], [])


@pytest.fixture
def encoded(vlm: VLM, make_prompt: Callable[..., Prompt]) -> list[EncodedPrompt]:
    prompts = [
        make_prompt("short", [(56, 56)], "Defect?"),
        make_prompt("two images", [(84, 56), (56, 84)], "Compare it with the first image."),
        make_prompt("long", [(112, 112)], "Look at every part of this surface before you say anything about it."),
    ]
    return [vlm.encode(prompt) for prompt in prompts]


def read_anew(vlm: VLM, encoded: EncodedPrompt, ends: Ends) -> list[float]:
    whole = encoded.extended(ends.stem)
    return forced(
        vlm, [PackItem(encoded=whole, completions=tuple(torch.tensor(rest, dtype=torch.long) for rest in ends.rests))]
    )[0]


@pytest.mark.parametrize("kind", [decoder.GrowingDecoder, decoder.StaticDecoder])
def test_ends_are_as_likely_as_in_the_whole_text(
    vlm: VLM, encoded: list[EncodedPrompt], kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Completions end at different times, so rows are dropped; stems leave them at their start, within and behind."""
    monkeypatch.setitem(decoder.DECODERS, "cpu", kind)
    monkeypatch.setattr(decoder, "FEWEST_ROWS", 1)
    monkeypatch.setattr(vlm, "end_token_ids", tuple(range(0, 800, 12)))
    written: list[Written] = []
    settings = {"group_size": 4, "temperature": 1.0, "completion_tokens": TOKENS}
    groups = generate(vlm, encoded, generator=torch.Generator().manual_seed(1), written=written, **settings)
    again = generate(vlm, encoded, generator=torch.Generator().manual_seed(1), **settings)
    ids = [one.token_ids.tolist() for group in groups for one in group]
    assert ids == [one.token_ids.tolist() for group in again for one in group]
    assert len({len(row) for row in ids}) > 3
    (part,) = written
    stems = {
        row: [one[:at], [*one[: at // 2], 11, 12], [13], one][row % 4]
        for row, one in enumerate(ids)
        for at in [len(one) // 2]
    }
    ends = {row: Ends(stem=stem, rests=RESTS) for row, stem in stems.items() if row != 1}
    found = part.forced(vlm, ends)
    assert list(found) == list(ends)
    for row, logprobs in found.items():
        assert logprobs == pytest.approx(read_anew(vlm, encoded[row // 4], ends[row]), abs=1e-4)
        assert logprobs[3] == 0


def test_ends_behind_prompts_alone(vlm: VLM, encoded: list[EncodedPrompt]) -> None:
    ends = {0: Ends(stem=[], rests=RESTS), 1: Ends(stem=[3, 4], rests=RESTS[:1])}
    found = only_read(vlm, encoded).forced(vlm, ends)
    for row, one in ends.items():
        assert found[row] == pytest.approx(read_anew(vlm, encoded[row], one), abs=1e-4)
    assert only_read(vlm, encoded).forced(vlm, {}) == {}
