"""How sure a model was of a box that it wrote: the probability of the tokens of its coordinates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from adfm.models.token_places import TokenPlaces
from adfm.models.vlm import VLM
from adfm.types import Completion, Span, Verdict


def box_confidences(vlm: VLM, completion: Completion, verdict: Verdict) -> tuple[float, ...]:
    """Return, for each box, the geometric mean probability of the tokens in which its four numbers stand, in [0, 1].

    `verdict` is how a template read `completion`. A token that holds a part of several numbers counts once.
    """
    tokens = TokenPlaces(completion.token_ids, vlm.decode)

    def confidence(spans: Sequence[Span]) -> float:
        places = sorted({place for span in spans for place in tokens.of(span)})
        return float(np.exp(completion.sampler_logprob[places].mean(dtype=np.float64)))

    return tuple(confidence(spans) for spans in verdict.box_spans)
