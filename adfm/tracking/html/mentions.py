"""Which box a text names where: so that a page can light up the one when the other is pointed at."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from adfm.reasoning import parse
from adfm.types import Box

_BRACKETS = re.compile(r"(\[[^\[\]]*\])")


def pieces(text: str, written: Sequence[Box]) -> list[tuple[str, int | None]]:
    """Cut a text where it names one of the boxes `written`; each piece has the box's place in the list, or None.

    >>> pieces("left [1, 2, 3, 4], not [5]", [(1.0, 2.0, 3.0, 4.0)])
    [('left ', None), ('[1, 2, 3, 4]', 0), (', not ', None), ('[5]', None)]
    """
    places = {box: place for place, box in reversed(list(enumerate(written)))}
    found = []
    for piece in _BRACKETS.split(text):
        named, _ = parse.boxes(piece)
        if piece:
            found.append((piece, places.get(named[0].box) if len(named) == 1 else None))
    return found


def written_in(texts: Iterable[str], count: int) -> tuple[Box, ...]:
    """Return the boxes that texts name, each once; none where they are not `count`, and none can be told apart.

    >>> written_in(["at [1, 2, 3, 4]", "again [1, 2, 3, 4]"], 1)
    ((1.0, 2.0, 3.0, 4.0),)
    """
    named = tuple(dict.fromkeys(found.box for text in texts for found in parse.boxes(text)[0]))
    return named if len(named) == count else ()
