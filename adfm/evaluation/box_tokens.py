"""How sure a model was of a box that it wrote: the probability of the tokens of its coordinates."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import cache

import numpy as np

from adfm.models.vlm import VLM
from adfm.types import Completion, Span, Verdict


def box_confidences(vlm: VLM, completion: Completion, verdict: Verdict) -> tuple[float, ...]:
    """Return, for each box, the geometric mean probability of the tokens in which its four numbers stand, in [0, 1].

    `verdict` is how a template read `completion`. A token that holds a part of several numbers counts once.
    """
    ids = completion.token_ids.tolist()

    @cache
    def length(count: int) -> int:
        return len(vlm.decode(ids[:count]))

    def tokens(span: Span) -> range:
        """Tokens that reach into a span: from the one that ends behind its start to the one that reaches its end."""
        first = bisect_right(range(1, len(ids) + 1), span[0], key=length)
        last = bisect_right(range(1, len(ids) + 1), span[1] - 1, key=length)
        return range(first, last + 1)

    def confidence(spans: Sequence[Span]) -> float:
        places = sorted({place for span in spans for place in tokens(span)})
        return float(np.exp(completion.sampler_logprob[places].mean(dtype=np.float64)))

    return tuple(confidence(spans) for spans in verdict.box_spans)
