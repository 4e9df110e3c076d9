"""The seconds of a step that go into attention, measured where it happens, forward and backward.

It wraps the function that transformers' registry holds under adfm's name. The backward of a call begins when the
gradient of its output is there and ends when the first producer of its inputs goes on: autograd runs what was recorded
last first, so everything in between is attention. Only on the CPU, where a call returns when its work is done.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from adfm.grpo.attention import ATTENTION


class AttentionClock:
    """Adds up seconds of attention without gradients (`rollout`) and with them (`update`)."""

    def __init__(self) -> None:
        """Start at zero."""
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Measure every call inside."""
        plain = ALL_ATTENTION_FUNCTIONS[ATTENTION]

        def attention(module: Any, query: Tensor, key: Tensor, value: Tensor, *others: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            out = plain(module, query, key, value, *others, **kwargs)
            self._add("update" if torch.is_grad_enabled() else "rollout", start)
            if out[0].requires_grad:
                self._watch_backward(out[0], (query, key, value))
            return out

        ALL_ATTENTION_FUNCTIONS.register(ATTENTION, attention)
        try:
            yield
        finally:
            ALL_ATTENTION_FUNCTIONS.register(ATTENTION, plain)

    def _watch_backward(self, out: Tensor, inputs: Sequence[Tensor]) -> None:
        started: list[float] = []

        def end(_: Tensor) -> None:
            if started:
                self._add("update", started.pop())

        out.register_hook(lambda _: started.append(time.perf_counter()))
        for tensor in inputs:
            tensor.register_hook(end)

    def _add(self, part: str, start: float) -> None:
        self.seconds[part] += time.perf_counter() - start
