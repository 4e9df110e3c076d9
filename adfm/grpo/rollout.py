"""How completions are made: one prefill per prompt, one cache for the group, an own decode loop.

The prompts of a batch are prefilled as a packed row, so nothing is padded and nothing runs twice, nor does what
prompts about one image share (see `stems`). The keys and
values of each prompt are held once for its group, and every step writes one column of each completion. Rows that are
finished leave the cache. The sampler is ours, so no generation config of a checkpoint can touch the distribution,
and it returns the log-probability of what it wrote: under the distribution that was drawn from, and of a greedy
completion under that of temperature 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from adfm.grpo.decode_attention import SharedPrompts
from adfm.grpo.decoder import DECODERS, Decoder, PromptCache, Rows
from adfm.grpo.logprob import sampled_logits
from adfm.grpo.stems import read_prompts
from adfm.grpo.written import Written
from adfm.models.vlm import VLM, EncodedPrompt
from adfm.types import Completion, Prompt

ONE_THREAD_BELOW = 2**24
"""Multiply-adds of a decode step's largest product. Below, waking a thread that sleeps (`OMP_WAIT_POLICY=passive`)
takes longer than it saves: experiments/step_time/decode_threads.py."""


class Sampling:
    """Draw the completions of a group from the policy itself."""

    def __init__(
        self,
        vlm: VLM,
        *,
        completion_tokens: int,
        group_size: int = 8,
        temperature: float = 1.0,
        resample: int = 0,
        rows: int = 256,
    ) -> None:
        """Set how groups are drawn.

        Args:
            vlm: The policy; its weights are read at each call.
            completion_tokens: A completion is cut here.
            group_size: Completions of a prompt.
            temperature: Of the distribution that is sampled, and trained.
            resample: How often at most a group whose rewards are all equal is drawn again.
            rows: Completions that are written at once; more is faster and takes more memory.
        """
        self.vlm = vlm
        self.completion_tokens = completion_tokens
        self.group_size = group_size
        self.temperature = temperature
        self.resample = resample
        self.rows = rows

    def sample(self, prompts: Sequence[Prompt], *, seed: int) -> list[tuple[Completion, ...]]:
        """Draw a group for each prompt; the same seed, prompts and weights give the same completions."""
        generator = torch.Generator(self.vlm.device).manual_seed(seed)
        encoded = [self.vlm.encode(prompt) for prompt in prompts]
        batch = max(1, self.rows // self.group_size)
        return [
            group
            for start in range(0, len(encoded), batch)
            for group in generate(
                self.vlm,
                encoded[start : start + batch],
                group_size=self.group_size,
                temperature=self.temperature,
                completion_tokens=self.completion_tokens,
                generator=generator,
            )
        ]


@torch.no_grad()
def generate(
    vlm: VLM,
    encoded: Sequence[EncodedPrompt],
    *,
    group_size: int,
    temperature: float,
    completion_tokens: int,
    generator: torch.Generator | None = None,
    uniforms: Float64[np.ndarray, "row token"] | None = None,
    written: list[Written] | None = None,
) -> list[tuple[Completion, ...]]:
    """Write `group_size` completions for each encoded prompt; temperature 0 is greedy.

    With `uniforms`, numbers in [0, 1) with a row for each completion, prompt after prompt, every token is the one whose
    share of the cumulated probability holds its number. So a completion does not depend on which others are written
    beside it, but for rounding. Without, tokens are drawn by `generator`. To the list `written` is added what is needed
    to force other ends behind prompts and completions.

    Each has at most `completion_tokens` tokens. The model must be in eval mode. Raises RuntimeError if it is not,
    for in train mode gradient checkpointing would drop the cache and the text would be wrong without a word.
    """
    if vlm.base.training:
        raise RuntimeError(
            "generate needs the model in eval mode: use it inside engine.gathered() or call vlm.base.eval()"
        )
    hidden, rows = _prefill(vlm, encoded, group_size, completion_tokens)
    left = None if written is None else Written(encoded, rows)
    decoder = DECODERS[vlm.device.type](vlm, rows)
    count = len(encoded) * group_size
    tokens = torch.full((count, completion_tokens), vlm.pad_token_id, dtype=torch.long, device=vlm.device)
    logprob = torch.zeros(count, completion_tokens, device=vlm.device)
    with _threads_for(vlm, count):
        choice = _Choice(temperature, generator, _on_device(vlm, uniforms, tokens.shape))
        _write(vlm, hidden, decoder, tokens, logprob, choice)
    completions = _completions(vlm, tokens, logprob, group_size)
    if written is not None and left is not None:
        left.close([one.token_ids.tolist() for group in completions for one in group])
        written.append(left)
    return completions


@torch.no_grad()
def only_read(vlm: VLM, encoded: Sequence[EncodedPrompt], group_size: int = 1) -> Written:
    """Read prompts for `group_size` rows each, and write nothing behind them."""
    _, rows = _prefill(vlm, encoded, group_size, completion_tokens=1)
    return Written(encoded, rows)


@contextmanager
def _threads_for(vlm: VLM, rows: int) -> Iterator[None]:
    """Decode on one thread of the CPU where a step is too small for more."""
    config = vlm.base.model.language_model.config
    threads = torch.get_num_threads()
    if vlm.device.type == "cpu" and rows * config.hidden_size * config.intermediate_size < ONE_THREAD_BELOW:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _write(
    vlm: VLM,
    hidden: Float[Tensor, "row hidden"],
    decoder: Decoder,
    tokens: Int[Tensor, "row token"],
    logprob: Float[Tensor, "row token"],
    choice: _Choice,
) -> None:
    """Fill `tokens` and `logprob` column by column until every row has ended."""
    count, completion_tokens = tokens.shape
    ends = torch.tensor(vlm.end_token_ids, device=vlm.device)
    active = torch.arange(count, device=vlm.device)
    finished = torch.zeros(count, dtype=torch.bool, device=vlm.device)
    for column in range(completion_tokens):
        logits = sampled_logits(vlm.base.lm_head, hidden, choice.temperature or 1.0, vlm.suppressed_token_ids)
        drawn, drawn_logprob = choice(logits, active, column)
        tokens[active, column] = drawn
        logprob[active, column] = drawn_logprob
        finished |= torch.isin(drawn, ends)
        writing = int((~finished).sum())
        if not writing or column + 1 == completion_tokens:
            break
        if (rows := decoder.rows_for(writing)) < len(active):
            keep = finished.int().argsort(stable=True)[:rows].sort().values
            active, finished, drawn = active[keep], finished[keep], drawn[keep]
            decoder.keep(keep)
        hidden = decoder.step(drawn)


def _on_device(
    vlm: VLM, uniforms: Float64[np.ndarray, "row token"] | None, shape: torch.Size
) -> Float64[Tensor, "row token"] | None:
    if uniforms is None:
        return None
    if uniforms.shape != shape:
        raise ValueError(f"uniforms are {uniforms.shape}, the completions {tuple(shape)}")
    return torch.from_numpy(uniforms).to(vlm.device)


@dataclass(frozen=True, slots=True)
class _Choice:
    """How the next token of each row is chosen."""

    temperature: float
    generator: torch.Generator | None
    uniforms: Float64[Tensor, "row token"] | None

    def __call__(
        self, logits: Float[Tensor, "row vocabulary"], rows: Int[Tensor, " row"], column: int
    ) -> tuple[Int[Tensor, " row"], Float[Tensor, " row"]]:
        """Return the token of each of the `rows`, and its log-probability."""
        logprob = logits.log_softmax(-1)
        if self.temperature == 0:
            drawn = logits.argmax(-1, keepdim=True)
        elif self.uniforms is not None:
            cumulated = logprob.double().exp().cumsum(-1)
            drawn = torch.searchsorted(cumulated, self.uniforms[rows, column, None] * cumulated[:, -1:], right=True)
        else:
            drawn = torch.multinomial(logprob.exp(), 1, generator=self.generator)
        return drawn[:, 0], logprob.gather(-1, drawn)[:, 0]


def _completions(
    vlm: VLM, tokens: Int[Tensor, "row token"], logprob: Float[Tensor, "row token"], group_size: int
) -> list[tuple[Completion, ...]]:
    """Cut each row behind its first end token; what is written behind it belongs to nobody."""
    completions = []
    for ids, drawn_logprob in zip(tokens.cpu().numpy(), logprob.cpu().numpy(), strict=True):
        ended = np.isin(ids, vlm.end_token_ids)
        length = int(ended.argmax()) + 1 if ended.any() else len(ids)
        completions.append(
            Completion(
                token_ids=ids[:length].copy(),
                sampler_logprob=drawn_logprob[:length].astype(np.float32),
                text=vlm.decode(ids[:length].tolist()),
                truncated=not ended.any(),
            )
        )
    return [tuple(completions[start : start + group_size]) for start in range(0, len(completions), group_size)]


def _prefill(
    vlm: VLM, encoded: Sequence[EncodedPrompt], group_size: int, completion_tokens: int
) -> tuple[Float[Tensor, "row hidden"], Rows]:
    """Run the prompts once, packed; give the hidden state of each row's last prompt token, and the rows behind."""
    cache = PromptCache()
    read = read_prompts(vlm, encoded, past_key_values=cache, use_cache=True)
    group_of_row = torch.arange(len(encoded), device=vlm.device).repeat_interleave(group_size)
    for layer, (keys, values) in enumerate(cache.layers):
        cache.layers[layer] = (_of_groups(keys, read.index), _of_groups(values, read.index))
    prompts = SharedPrompts(cache.layers, read.valid, group_of_row)
    store = [
        (keys.new_zeros(room), keys.new_zeros(room))
        for keys, _ in prompts.layers
        for room in [(len(group_of_row), keys.shape[1], completion_tokens - 1, keys.shape[3])]
    ]
    next_position = torch.tensor([item.next_position for item in encoded], device=vlm.device)[group_of_row]
    return read.last_hidden[group_of_row], Rows(prompts, store, next_position)


def _of_groups(
    states: Float[Tensor, "1 kv_head token dim"], index: Int[Tensor, "group prompt"]
) -> Float[Tensor, "group kv_head prompt dim"]:
    return states[0].transpose(0, 1)[index].transpose(1, 2).contiguous()
