"""The own decode loop against transformers' `generate`, and against the training forward."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import GenerationConfig

from adfm.grpo import decoder, rollout
from adfm.grpo.attention import stock_attention
from adfm.grpo.decode_attention import SharedPrompts
from adfm.grpo.logprob import score
from adfm.grpo.packing import PackItem, pack_row
from adfm.grpo.rollout import Sampling, generate
from adfm.models.vlm import VLM, EncodedPrompt
from adfm.types import Completion, Prompt

TOKENS = 12
decoders = pytest.mark.parametrize("kind", [decoder.GrowingDecoder, decoder.StaticDecoder])


@pytest.fixture
def encoded(vlm: VLM, make_prompt: Callable[..., Prompt]) -> list[EncodedPrompt]:
    """Prompts of three lengths, one with two images."""
    prompts = [
        make_prompt("short", [(56, 56)], "Defect?"),
        make_prompt("two images", [(84, 56), (56, 84)], "Compare it with the first image."),
        make_prompt("long", [(112, 112)], "Look at every part of this surface before you say anything about it."),
    ]
    return [vlm.encode(prompt) for prompt in prompts]


def stock_greedy(vlm: VLM, encoded: EncodedPrompt) -> list[int]:
    settings = GenerationConfig(
        do_sample=False,
        max_new_tokens=TOKENS,
        suppress_tokens=list(vlm.suppressed_token_ids),
        eos_token_id=list(vlm.end_token_ids),
        pad_token_id=vlm.pad_token_id,
        repetition_penalty=1.0,
        top_k=0,
        top_p=1.0,
        temperature=1.0,
    )
    type_ids = (encoded.token_ids == vlm.image_token_id).int()[None]
    with stock_attention(vlm):
        tokens = vlm.base.generate(
            input_ids=encoded.token_ids[None],
            position_ids=encoded.positions[:, None],
            attention_mask=torch.ones_like(encoded.token_ids)[None],
            mm_token_type_ids=type_ids,
            mm_encoder_outputs=vlm.features([encoded]),
            image_grid_thw=torch.tensor([image.grid for image in encoded.images]),
            generation_config=settings,
        )
    return tokens[0, len(encoded.token_ids) :].tolist()


@decoders
def test_greedy_equals_generate_token_for_token(
    vlm: VLM, encoded: list[EncodedPrompt], kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(decoder.DECODERS, "cpu", kind)
    groups = generate(vlm, encoded, group_size=2, temperature=0, completion_tokens=TOKENS)
    for prompt, group in zip(encoded, groups, strict=True):
        expected = stock_greedy(vlm, prompt)
        assert [completion.token_ids.tolist() for completion in group] == [expected, expected]
    assert_drawn_as_trained(vlm, encoded, groups)


def test_sampler_logprob_equals_the_training_pass(vlm: VLM, encoded: list[EncodedPrompt]) -> None:
    assert_drawn_as_trained(vlm, encoded, sampled(vlm, encoded, temperature=0.7), temperature=0.7)


def test_a_number_chooses_the_token_that_holds_its_share_of_the_probability() -> None:
    logits = torch.tensor([[0.0, 0.2, 0.3, 0.0, 0.5]]).log().clamp(min=torch.finfo(torch.float32).min)
    numbers = [0.0, 0.19, 0.21, 0.49, 0.51, 1 - 2**-53]
    uniforms = torch.tensor([[9.0, number] for number in numbers], dtype=torch.float64)
    choose = rollout._Choice(1.0, None, uniforms)
    drawn, logprob = choose(logits.expand(6, -1), torch.arange(6), 1)
    assert drawn.tolist() == [1, 1, 2, 2, 4, 4]
    np.testing.assert_allclose(logprob.exp(), [0.2, 0.2, 0.3, 0.3, 0.5, 0.5], rtol=1e-6)
    assert choose(logits, torch.tensor([2]), 1)[0].tolist() == [2]


def test_completions_drawn_by_numbers_do_not_depend_on_each_other(
    vlm: VLM, encoded: list[EncodedPrompt], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vlm, "end_token_ids", tuple(range(0, 150, 8)))  # rows leave at any time
    uniforms = np.random.default_rng(0).random((6, TOKENS))

    def drawn(prompts: list[EncodedPrompt], size: int, numbers: np.ndarray) -> list[Completion]:
        settings = {"temperature": 0.7, "completion_tokens": TOKENS, "uniforms": numbers}
        return [one for group in generate(vlm, prompts, group_size=size, **settings) for one in group]

    together = drawn(encoded, 2, uniforms)
    alone = [drawn([encoded[row // 2]], 1, uniforms[row : row + 1])[0] for row in range(6)]
    assert len({len(one.token_ids) for one in together}) > 1
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_array_equal(one.token_ids, other.token_ids)
        np.testing.assert_allclose(one.sampler_logprob, other.sampler_logprob, atol=1e-5)
    groups = [tuple(together[start : start + 2]) for start in (0, 2, 4)]
    assert_drawn_as_trained(vlm, encoded, groups, temperature=0.7)
    with pytest.raises(ValueError, match="uniforms are"):
        drawn(encoded, 3, uniforms)


def assert_drawn_as_trained(
    vlm: VLM, encoded: list[EncodedPrompt], groups: list[tuple[Completion, ...]], temperature: float = 1.0
) -> None:
    """The sampler's log-probabilities are those of the training pass within 1e-4."""
    items = [
        PackItem(encoded=prompt, completions=tuple(torch.from_numpy(completion.token_ids) for completion in group))
        for prompt, group in zip(encoded, groups, strict=True)
    ]
    with torch.no_grad():
        trained = score(vlm, pack_row(items), temperature=temperature).logprob.numpy()
    drawn = np.concatenate([completion.sampler_logprob for group in groups for completion in group])
    np.testing.assert_allclose(trained, drawn, atol=1e-4)


def sampled(
    vlm: VLM, encoded: list[EncodedPrompt], *, temperature: float = 1.0, seed: int = 0
) -> list[tuple[Completion, ...]]:
    generator = torch.Generator().manual_seed(seed)
    return generate(vlm, encoded, group_size=6, temperature=temperature, completion_tokens=40, generator=generator)


@decoders
def test_rows_end_on_their_own(
    vlm: VLM, encoded: list[EncodedPrompt], kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Make a third of the vocabulary end a row, so that rows leave the cache all the time."""
    monkeypatch.setitem(decoder.DECODERS, "cpu", kind)
    monkeypatch.setattr(vlm, "end_token_ids", tuple(range(0, 150, 3)))
    groups = sampled(vlm, encoded)
    lengths = {len(completion.token_ids) for group in groups for completion in group}
    assert len(lengths) > 3
    for group in groups:
        for completion in group:
            ends = [int(token) in vlm.end_token_ids for token in completion.token_ids]
            assert not any(ends[:-1])
            assert completion.truncated is not ends[-1]
    assert_drawn_as_trained(vlm, encoded, groups)


def test_static_shapes_write_what_growing_columns_write(
    vlm: VLM, encoded: list[EncodedPrompt], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step that a CUDA graph captures, on the CPU: the same tokens, with rows that end and leave in halves."""
    monkeypatch.setattr(vlm, "end_token_ids", tuple(range(0, 150, 8)))
    monkeypatch.setattr(decoder, "FEWEST_ROWS", 2)
    kept: list[int] = []

    class Watched(decoder.StaticDecoder):
        def keep(self, rows: torch.Tensor) -> None:
            kept.append(len(rows))
            super().keep(rows)

    monkeypatch.setattr(decoder.GrowingDecoder, "rows_for", decoder.StaticDecoder.rows_for)  # the same draws to rows
    growing = sampled(vlm, encoded)
    monkeypatch.setitem(decoder.DECODERS, "cpu", Watched)
    static = sampled(vlm, encoded)
    assert len(kept) > 1
    assert set(kept) <= {9, 5, 3, 2}
    for one, other in zip(growing, static, strict=True):
        for grown, fixed in zip(one, other, strict=True):
            np.testing.assert_array_equal(grown.token_ids, fixed.token_ids)
            np.testing.assert_allclose(grown.sampler_logprob, fixed.sampler_logprob, atol=1e-5)


@decoders
def test_groups_shrink_unevenly_and_leave(
    vlm: VLM, encoded: list[EncodedPrompt], kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prompt's keys are held once for its rows, and go with the last of them."""
    monkeypatch.setitem(decoder.DECODERS, "cpu", kind)
    monkeypatch.setattr(vlm, "end_token_ids", tuple(range(0, 150, 6)))
    monkeypatch.setattr(decoder, "FEWEST_ROWS", 1)
    rows_of_groups: list[list[int]] = []

    class Watched(SharedPrompts):
        def keep(self, rows: torch.Tensor) -> None:
            super().keep(rows)
            rows_of_groups.append(self.group_of_row.bincount().tolist())
            assert {len(keys) for keys, _ in self.layers} == {len(rows_of_groups[-1])}

    monkeypatch.setattr(rollout, "SharedPrompts", Watched)
    groups = sampled(vlm, encoded)
    assert any(len(set(rows)) > 1 for rows in rows_of_groups)
    assert {len(rows) for rows in rows_of_groups} == {3, 2, 1}
    assert_drawn_as_trained(vlm, encoded, groups)


class RecordedGraph(torch.cuda.CUDAGraph):
    """Stands for a graph: what is captured does not run, and a replay reads and writes the tensors of the capture."""

    captured = 0
    run: Callable[..., torch.Tensor]
    static: decoder.StaticDecoder
    token_ids: torch.Tensor
    hidden: torch.Tensor

    def __new__(cls) -> RecordedGraph:
        RecordedGraph.captured += 1
        return object.__new__(cls)

    def __init__(self) -> None: ...

    def replay(self) -> None:
        self.hidden.copy_(self.run(self.static, self.token_ids))

    @classmethod
    @contextmanager
    def recording(cls, graph: RecordedGraph, stream: object) -> Iterator[None]:
        graph.run = decoder.StaticDecoder.step

        def step(self: decoder.StaticDecoder, token_ids: torch.Tensor) -> torch.Tensor:
            graph.static, graph.token_ids = self, token_ids
            graph.hidden = torch.full((len(token_ids), self.vlm.base.lm_head.in_features), torch.nan)
            return graph.hidden

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(decoder.StaticDecoder, "step", step)
            yield


def test_a_graph_is_fed_and_read_as_it_was_captured(
    vlm: VLM, encoded: list[EncodedPrompt], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of the graphed decoder but CUDA itself, which test_gpu.py has: one graph for each number of rows."""
    monkeypatch.setattr(vlm, "end_token_ids", tuple(range(0, 150, 8)))
    monkeypatch.setitem(decoder.DECODERS, "cpu", decoder.StaticDecoder)
    static = sampled(vlm, encoded)
    stream = SimpleNamespace(wait_stream=lambda other: None)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", RecordedGraph)
    monkeypatch.setattr(torch.cuda, "graph", RecordedGraph.recording)
    monkeypatch.setattr(RecordedGraph, "captured", 0)
    monkeypatch.setitem(decoder.DECODERS, "cpu", decoder.GraphedDecoder)
    graphed = sampled(vlm, encoded)
    assert RecordedGraph.captured > 1
    for one, other in zip(static, graphed, strict=True):
        for fixed, replayed in zip(one, other, strict=True):
            np.testing.assert_array_equal(fixed.token_ids, replayed.token_ids)
            np.testing.assert_array_equal(fixed.sampler_logprob, replayed.sampler_logprob)


def test_the_seed_decides(vlm: VLM, make_prompt: Callable[..., Prompt]) -> None:
    prompts = [make_prompt("one", [(56, 56)]), make_prompt("three", [(84, 84)])]
    sampling = Sampling(vlm, completion_tokens=8, group_size=4)

    def texts(seed: int) -> list[list[str]]:
        return [[completion.text for completion in group] for group in sampling.sample(prompts, seed=seed)]

    assert texts(1) == texts(1)
    assert texts(1) != texts(2)


def test_image_tokens_are_never_sampled(vlm: VLM, encoded: list[EncodedPrompt]) -> None:
    head = vlm.base.lm_head
    groups = sampled(vlm, encoded, temperature=50.0)
    drawn = {int(token) for group in groups for completion in group for token in completion.token_ids}
    assert head.out_features > len(drawn)
    assert not drawn & set(vlm.suppressed_token_ids)


def test_train_mode_is_refused(vlm: VLM, encoded: list[EncodedPrompt]) -> None:
    vlm.base.train()
    with pytest.raises(RuntimeError, match="eval mode"):
        generate(vlm, encoded, group_size=2, temperature=1.0, completion_tokens=2)
    vlm.base.eval()
