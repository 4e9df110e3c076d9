"""Where the characters of a completion stand among its tokens."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from jaxtyping import Int

from adfm.types import Span


class TokenPlaces:
    """The tokens of one text, by its characters. It decodes only as many beginnings as it is asked about.

    >>> words = ["a", " long", "er", " text"]
    >>> places = TokenPlaces(np.arange(4), lambda ids: "".join(words[index] for index in ids))
    >>> places.until(4), places.of((2, 8)), places.until(99)
    (2, range(1, 3), 4)
    """

    def __init__(self, token_ids: Int[np.ndarray, " token"], decode: Callable[[Sequence[int]], str]) -> None:
        """Take a completion's tokens, and what makes the text of some of them."""
        self._count = len(token_ids)
        ids = token_ids.tolist()
        self._length = cache(lambda count: len(decode(ids[:count])))

    def until(self, characters: int) -> int:
        """Return how many tokens write the first `characters` of the text; all where they write fewer."""
        return bisect_left(range(self._count), characters, key=self._length)

    def of(self, span: Span) -> range:
        """Return the tokens that reach into a span: from that of its first character to that of its last."""
        return range(self.until(span[0] + 1) - 1, self.until(span[1]))
