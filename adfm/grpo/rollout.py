"""How completions are made: one prefill per prompt, one cache for the group, an own decode loop.

The prompts of a batch are prefilled as a packed row, so nothing is padded and nothing runs twice. The keys and
values of each prompt are then laid out once per completion, and every step writes one column. Rows that are
finished leave the cache. The sampler is ours, so no generation config of a checkpoint can touch the distribution,
and it returns the log-probability of what it drew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from adfm.grpo.logprob import hidden_states, sampled_logits
from adfm.grpo.packing import PackItem, attend_by_layout, pack_row
from adfm.models.vlm import VLM, EncodedPrompt
from adfm.types import Completion, Prompt

COMPACT_BELOW = 0.8
"""The cache is compacted when less than this share of its rows still writes."""


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
) -> list[tuple[Completion, ...]]:
    """Write `group_size` completions for each encoded prompt; temperature 0 is greedy.

    Each has at most `completion_tokens` tokens. The model must be in eval mode. Raises RuntimeError if it is not,
    for in train mode gradient checkpointing would drop the cache and the text would be wrong without a word.
    """
    if vlm.base.training:
        raise RuntimeError(
            "generate needs the model in eval mode: use it inside engine.gathered() or call vlm.base.eval()"
        )
    attend_by_layout(vlm)
    hidden, decoder = _prefill(vlm, encoded, group_size, completion_tokens)
    count = len(encoded) * group_size
    tokens = torch.full((count, completion_tokens), vlm.pad_token_id, dtype=torch.long, device=vlm.device)
    logprob = torch.zeros(count, completion_tokens, device=vlm.device)
    lengths = torch.full((count,), completion_tokens, device=vlm.device)
    ends = torch.tensor(vlm.end_token_ids, device=vlm.device)
    active = torch.arange(count, device=vlm.device)
    finished = torch.zeros(count, dtype=torch.bool, device=vlm.device)
    for column in range(completion_tokens):
        logits = sampled_logits(vlm.base.lm_head, hidden, temperature or 1.0, vlm.suppressed_token_ids)
        drawn, drawn_logprob = _draw(logits, temperature, generator)
        tokens[active, column] = drawn
        logprob[active, column] = drawn_logprob
        done = torch.isin(drawn, ends) & ~finished
        lengths[active[done]] = column + 1
        finished |= done
        writing = int((~finished).sum())
        if not writing or column + 1 == completion_tokens:
            break
        if writing < COMPACT_BELOW * len(active):
            keep = (~finished).nonzero()[:, 0]
            active, finished, drawn = active[keep], finished[keep], drawn[keep]
            decoder.keep(keep)
        hidden = decoder.step(drawn)
    return _completions(vlm, tokens, logprob, lengths, group_size)


def _draw(
    logits: Float[Tensor, "row vocabulary"], temperature: float, generator: torch.Generator | None
) -> tuple[Int[Tensor, " row"], Float[Tensor, " row"]]:
    if temperature == 0:
        return logits.argmax(-1), logits.new_zeros(len(logits))
    logprob = logits.log_softmax(-1)
    drawn = torch.multinomial(logprob.exp(), 1, generator=generator)
    return drawn[:, 0], logprob.gather(-1, drawn)[:, 0]


def _completions(
    vlm: VLM, tokens: Tensor, logprob: Tensor, lengths: Tensor, group_size: int
) -> list[tuple[Completion, ...]]:
    token_rows, logprob_rows = tokens.cpu().numpy(), logprob.cpu().numpy()
    completions = []
    for ids, drawn_logprob, length in zip(token_rows, logprob_rows, lengths.tolist(), strict=True):
        ids = ids[:length]
        completions.append(
            Completion(
                token_ids=ids.copy(),
                sampler_logprob=drawn_logprob[:length].astype(np.float32),
                text=vlm.decode(ids.tolist()),
                truncated=int(ids[-1]) not in vlm.end_token_ids,
            )
        )
    return [tuple(completions[start : start + group_size]) for start in range(0, len(completions), group_size)]


def _prefill(
    vlm: VLM, encoded: Sequence[EncodedPrompt], group_size: int, completion_tokens: int
) -> tuple[Float[Tensor, "row hidden"], Decoder]:
    """Run the prompts once, packed; give the hidden state of each row's last prompt token, and the rows' decoder."""
    packed = pack_row([PackItem(encoded=item, completions=()) for item in encoded], vlm.device)
    cache = PromptCache()
    hidden = hidden_states(vlm, packed, past_key_values=cache, use_cache=True)[0]
    layout = packed.layout
    sizes = layout.prompt_valid.sum(1)
    group_of_row = torch.arange(len(encoded), device=vlm.device).repeat_interleave(group_size)
    index = layout.prompt_index[group_of_row]
    last = layout.prompt_index.gather(1, sizes[:, None] - 1)[:, 0]
    room = index.shape[1] + completion_tokens - 1
    store = []
    for layer in cache.layers:
        pair = []
        for packed_states in layer:
            states = packed_states.new_empty(len(index), packed_states.shape[1], room, packed_states.shape[3])
            states[:, :, : index.shape[1]] = packed_states[0].transpose(0, 1)[index].transpose(1, 2)
            pair.append(states)
        store.append((pair[0], pair[1]))
    valid = layout.prompt_valid[group_of_row]
    next_position = torch.tensor([item.next_position for item in encoded], device=vlm.device)[group_of_row]
    return hidden[last][group_of_row], Decoder(
        vlm, store, None if bool(valid.all()) else valid, next_position, index.shape[1]
    )


class PromptCache:
    """Keeps the keys and values of one forward, a pair a layer (the protocol of transformers' caches)."""

    def __init__(self) -> None:
        """Start empty."""
        self.layers: list[tuple[Tensor, Tensor]] = []

    def update(self, key: Tensor, value: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """Keep a layer's keys and values, and return them."""
        self.layers.append((key, value))
        return key, value

    def get_seq_length(self, layer: int = 0) -> int:
        """Return the tokens before this forward: none."""
        return 0


class Decoder:
    """The growing rows of a batch: their keys and values, and the one-token forward that adds a column."""

    def __init__(
        self,
        vlm: VLM,
        store: list[tuple[Tensor, Tensor]],
        prompt_valid: Bool[Tensor, "row prompt"] | None,
        next_position: Int[Tensor, " row"],
        columns: int,
    ) -> None:
        """Start from keys and values of `columns` columns, a pair a layer, each `[row, kv_head, room, dim]`."""
        self.vlm = vlm
        self.store = store
        self.prompt_valid = prompt_valid
        self.next_position = next_position
        self.columns = columns

    def step(self, token_ids: Int[Tensor, " row"]) -> Float[Tensor, "row hidden"]:
        """Append one token to every row and return its hidden state."""
        self.columns += 1
        output = self.vlm.base.model.language_model(
            inputs_embeds=self.vlm.base.get_input_embeddings()(token_ids[:, None]),
            position_ids=self.next_position.view(1, -1, 1).expand(3, -1, -1),
            past_key_values=self,
            use_cache=True,
            layout=DecodeLayout(self._mask()),
        )
        self.next_position = self.next_position + 1
        return output.last_hidden_state[:, 0]

    def update(self, key: Tensor, value: Tensor, layer: int, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """Write a layer's newest column and return all columns so far (the protocol of transformers' caches)."""
        keys, values = self.store[layer]
        keys[:, :, self.columns - 1 : self.columns] = key
        values[:, :, self.columns - 1 : self.columns] = value
        return keys[:, :, : self.columns], values[:, :, : self.columns]

    def get_seq_length(self, layer: int = 0) -> int:
        """Return the number of columns before the current one (the protocol of transformers' caches)."""
        return self.columns - 1

    def keep(self, rows: Int[Tensor, " kept"]) -> None:
        """Drop every row that is not in `rows`."""
        self.store = [(keys[rows], values[rows]) for keys, values in self.store]
        self.next_position = self.next_position[rows]
        if self.prompt_valid is not None:
            self.prompt_valid = self.prompt_valid[rows]

    def _mask(self) -> Tensor | None:
        if self.prompt_valid is None:
            return None
        written = self.prompt_valid.new_ones(len(self.prompt_valid), self.columns - self.prompt_valid.shape[1])
        return torch.cat([self.prompt_valid, written], dim=1)[:, None, None]


@dataclass(frozen=True, slots=True)
class DecodeLayout:
    """The attention of one new token a row over all columns of its cache."""

    mask: Bool[Tensor, "row 1 1 column"] | None

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """Attend with the query heads of one key head side by side, so that no key is repeated; see `Layout.attend`."""
        row, heads, _, dim = query.shape
        grouped = query.view(row, key.shape[1], heads // key.shape[1], dim)
        out = scaled_dot_product_attention(grouped, key, value, attn_mask=self.mask, scale=scaling)
        return out.reshape(row, 1, heads, dim)
