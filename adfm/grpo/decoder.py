"""The rows of a rollout while they are written: their keys and values, and the one-token forward that adds a column.

`DECODERS` says which decoder a device has. On the CPU `GrowingDecoder` looks at the columns that are written, so that
a token costs what is before it. On CUDA, where a step of a small batch is bound by the launch of its kernels,
`GraphedDecoder` captures the step of a `StaticDecoder`, whose shapes never change, and replays it. All hold a prompt's
keys and values once, for all rows of its group (see `decode_attention`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from adfm.grpo.decode_attention import DecodeLayout, SharedPrompts
from adfm.models.vlm import VLM

COMPACT_BELOW = 0.8
"""A growing decoder is compacted when less than this share of its rows still writes."""
FEWEST_ROWS = 8
"""A static decoder is not halved below this: its step would cost the same, and a graph more."""


@runtime_checkable
class Decoder(Protocol):
    """What appends tokens to rows."""

    def step(self, token_ids: Int[Tensor, " row"]) -> Float[Tensor, "row hidden"]:
        """Append one token to every row and return its hidden state, which the next step may overwrite."""
        ...

    def rows_for(self, writing: int) -> int:
        """Return how many rows are best kept when `writing` of them are not finished."""
        ...

    def keep(self, rows: Int[Tensor, " kept"]) -> None:
        """Drop every row that is not in `rows`, in ascending order."""
        ...


class PromptCache:
    """Keeps the keys and values of one forward, a pair a layer (the protocol of transformers' caches)."""

    def __init__(self) -> None:
        """Start empty."""
        self.layers: list[tuple[Tensor, Tensor]] = []

    def update(self, key: Tensor, value: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """Keep a layer's keys and values, and return them."""
        self.layers.append((key, value))
        return key, value


@dataclass(slots=True)
class Rows:
    """What a decoder starts from: one row a completion, after its prompt."""

    prompts: SharedPrompts
    store: list[tuple[Tensor, Tensor]]
    """Keys and values of each layer behind the prompt, `[row, kv_head, room, dim]`; 0 where nothing is written yet,
    for a mask does not stop NaN."""
    next_position: Int[Tensor, " row"]
    """Rotary position of the first token after the prompt."""
    before_drop: Callable[[Int[Tensor, " kept"]], None] | None = None
    """Is told which rows stay, while all are still there."""

    def keep(self, rows: Int[Tensor, " kept"]) -> None:
        """Drop every row that is not in `rows`, in ascending order, a layer at a time."""
        if self.before_drop is not None:
            self.before_drop(rows)
        self.prompts.keep(rows)
        for layer, (keys, values) in enumerate(self.store):
            self.store[layer] = (keys[rows], values[rows])
        self.next_position = self.next_position[rows]


class GrowingDecoder:
    """Looks at the columns written so far: the cost of a step follows them."""

    def __init__(self, vlm: VLM, rows: Rows) -> None:
        """Start behind the prompts."""
        self.vlm = vlm
        self.rows = rows
        self.columns = 0

    def step(self, token_ids: Int[Tensor, " row"]) -> Float[Tensor, "row hidden"]:
        """See `Decoder.step`."""
        self.columns += 1
        hidden = _forward(self.vlm, token_ids, self.rows, self)
        self.rows.next_position += 1
        return hidden

    def update(self, key: Tensor, value: Tensor, layer: int, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """Write a layer's newest column and return all own columns so far (the protocol of transformers' caches)."""
        keys, values = self.rows.store[layer]
        keys[:, :, self.columns - 1 : self.columns] = key
        values[:, :, self.columns - 1 : self.columns] = value
        return keys[:, :, : self.columns], values[:, :, : self.columns]

    def rows_for(self, writing: int) -> int:
        """See `Decoder.rows_for`: those that write, once enough are finished to pay for a copy."""
        rows = len(self.rows.next_position)
        return writing if writing < COMPACT_BELOW * rows else rows

    def keep(self, rows: Int[Tensor, " kept"]) -> None:
        """See `Decoder.keep`."""
        self.rows.keep(rows)


class StaticDecoder:
    """Looks at its whole room under a mask: a step has the same shapes every time and its state in tensors."""

    def __init__(self, vlm: VLM, rows: Rows) -> None:
        """Start behind the prompts."""
        self.vlm = vlm
        self.rows = rows
        self.column = torch.zeros(1, dtype=torch.long, device=vlm.device)
        """Where the next token is written."""
        self._slots = torch.arange(rows.store[0][0].shape[2], device=vlm.device)

    def step(self, token_ids: Int[Tensor, " row"]) -> Float[Tensor, "row hidden"]:
        """See `Decoder.step`. Nothing in it depends on data or moves any to the host."""
        hidden = _forward(self.vlm, token_ids, self.rows, self, unwritten=self._slots > self.column)
        self.column += 1
        self.rows.next_position += 1
        return hidden

    def update(self, key: Tensor, value: Tensor, layer: int, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """Write a layer's newest own column and return their whole room (the protocol of transformers' caches)."""
        keys, values = self.rows.store[layer]
        return keys.index_copy_(2, self.column, key), values.index_copy_(2, self.column, value)

    def rows_for(self, writing: int) -> int:
        """See `Decoder.rows_for`: halves, so that a rollout sees few shapes."""
        rows = len(self.rows.next_position)
        while rows > FEWEST_ROWS and writing <= (half := (rows + 1) // 2):
            rows = half
        return rows

    def keep(self, rows: Int[Tensor, " kept"]) -> None:
        """See `Decoder.keep`."""
        self.rows.keep(rows)


class GraphedDecoder:
    """Replays the step of a `StaticDecoder` from a CUDA graph, captured anew for each number of rows.

    The first step after a change of rows runs by itself: it is the warm-up that a capture needs. Graphs live as long as
    the decoder, one rollout, so weights may move in between. A kernel that needs the host stops the capture with an
    error.
    """

    def __init__(self, vlm: VLM, rows: Rows) -> None:
        """Start behind the prompts, on a CUDA device."""
        self.decoder = StaticDecoder(vlm, rows)
        self._stream = torch.cuda.Stream(vlm.device)
        self._captured: _Captured | None = None

    def step(self, token_ids: Int[Tensor, " row"]) -> Float[Tensor, "row hidden"]:
        """See `Decoder.step`."""
        if self._captured is None:
            return self._step_and_capture(token_ids.clone())
        self._captured.token_ids.copy_(token_ids)
        self._captured.graph.replay()
        return self._captured.hidden

    def rows_for(self, writing: int) -> int:
        """See `Decoder.rows_for`."""
        return self.decoder.rows_for(writing)

    def keep(self, rows: Int[Tensor, " kept"]) -> None:
        """See `Decoder.keep`; the graph is of the rows before, and goes."""
        self._captured = None
        self.decoder.keep(rows)

    def _step_and_capture(self, token_ids: Tensor) -> Tensor:
        current = torch.cuda.current_stream(token_ids.device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            first = self.decoder.step(token_ids)
        current.wait_stream(self._stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream):
            hidden = self.decoder.step(token_ids)
        self._captured = _Captured(graph, token_ids, hidden)
        return first


@dataclass(frozen=True, slots=True)
class _Captured:
    """A graph with the tensors it reads from and writes to."""

    graph: torch.cuda.CUDAGraph
    token_ids: Int[Tensor, " row"]
    hidden: Float[Tensor, "row hidden"]


DECODERS: dict[str, Callable[[VLM, Rows], Decoder]] = {
    "cpu": GrowingDecoder,
    "cuda": GraphedDecoder,
}
"""What starts the decoder of a device, by the device's type."""


def _forward(
    vlm: VLM,
    token_ids: Int[Tensor, " row"],
    rows: Rows,
    cache: GrowingDecoder | StaticDecoder,
    unwritten: Bool[Tensor, " room"] | None = None,
) -> Float[Tensor, "row hidden"]:
    """Run one token of every row through the language model; `cache` takes its keys and values and gives all own."""
    output = vlm.base.model.language_model(
        inputs_embeds=vlm.base.get_input_embeddings()(token_ids[:, None]),
        position_ids=rows.next_position.view(1, -1, 1).expand(3, -1, -1),
        past_key_values=cache,
        use_cache=True,
        layout=DecodeLayout(rows.prompts, unwritten),
    )
    return output.last_hidden_state[:, 0]
