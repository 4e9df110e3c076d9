"""What was found in the tiles of an image, as one inspection of that image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np

from adfm.data.splits import clusters
from adfm.evaluation.inspection import Draw, Inspection
from adfm.inspection.tiles import Place, Tile
from adfm.masks.rle import rle_mask, union_rle
from adfm.types import Box

TOUCHING = 0.02
"""A box within this share of a tile's side reaches the tile's border: models write boxes no better than that."""
SAME = 0.5
"""Two tiles show one defect if, where both look, the smaller of their boxes lies in the other by this share."""

_Seen = tuple[Place, Box]
"""A box in pixels of the image, and the place of the tile in which it was found."""


def merged(tiles: Sequence[Tile], found: Sequence[Inspection], size: tuple[int, int]) -> Inspection:
    """Put together what was found in the tiles of an image of `size` (width, height).

    It is anomalous if any tile is, else unreadable if any tile is, else normal. The score is the highest. Text, stages,
    letters, type and draws are those of the worst tile: of those that have the image's verdict, the one that scores
    highest. Boxes and mask are those of all tiles with the image's verdict; `boxes_written` is empty, as each tile has
    coordinates of its own. Reasons, seconds and tokens are those of all tiles; a probability has to be made anew.
    """
    predicted = _verdict([one.predicted for one in found])
    agreeing = [(tile, one) for tile, one in zip(tiles, found, strict=True) if one.predicted is predicted]
    worst_tile, worst = max(agreeing, key=lambda pair: -math.inf if pair[1].score is None else pair[1].score)
    scores = [one.score for one in found if one.score is not None]
    boxes, confidences = _merged_boxes(agreeing)
    return replace(
        worst,
        predicted=predicted,
        score=max(scores) if len(scores) == len(found) else None,
        probability=None,
        boxes=boxes,
        boxes_written=(),
        confidences=confidences,
        mask=_merged_mask(agreeing, size),
        reasons=tuple(dict.fromkeys(reason for one in found for reason in one.reasons)),
        draws=tuple(
            Draw(text=draw.text, predicted=draw.predicted, boxes=_moved(draw.boxes, worst_tile)) for draw in worst.draws
        ),
        seconds=sum(one.seconds for one in found),
        tokens=sum(one.tokens for one in found),
    )


def _verdict(verdicts: Sequence[bool | None]) -> bool | None:
    if True in verdicts:
        return True
    return None if None in verdicts else False


def _merged_boxes(found: Sequence[tuple[Tile, Inspection]]) -> tuple[tuple[Box, ...], tuple[float, ...]]:
    """Join the boxes of one defect to the box around them; its confidence is their highest."""
    seen = [(tile.place, box) for tile, one in found for box in _moved(one.boxes, tile)]
    confidences = [confidence for _, one in found for confidence in one.confidences]
    pairs = [(i, j) for i, j in combinations(range(len(seen)), 2) if one_defect(seen[i], seen[j])]
    groups = clusters(len(seen), pairs)
    boxes = tuple(_around([seen[place][1] for place in group]) for group in groups)
    if len(confidences) < len(seen):
        return boxes, ()
    return boxes, tuple(max(confidences[place] for place in group) for group in groups)


def one_defect(first: _Seen, second: _Seen) -> bool:
    """Say whether boxes of two tiles show one defect.

    They do if they agree on the part that both tiles show: the smaller of what the boxes have there lies in the other
    by half or more. They also do if both reach the seam of two neighbours, side by side for half of the shorter.
    """
    (first_place, first_box), (second_place, second_box) = first, second
    if first_place == second_place:
        return False
    both = _common(first_place, second_place)
    parts = _common(first_box, both), _common(second_box, both)
    smaller = min(map(_area, parts))
    if smaller > 0 and _area(_common(*parts)) >= SAME * smaller:
        return True
    return any(_meet(first, second, axis) or _meet(second, first, axis) for axis in (0, 1))


def _meet(before: _Seen, after: _Seen, axis: int) -> bool:
    """Say whether two boxes reach the seam where the tile of one follows the other's along an axis."""
    (place, box), (next_place, next_box) = before, after
    if not place[axis] < next_place[axis] <= place[axis + 2]:
        return False
    reach = TOUCHING * (place[axis + 2] - place[axis])
    if box[axis + 2] < place[axis + 2] - reach or next_box[axis] > next_place[axis] + reach:
        return False
    across = 1 - axis
    beside = min(box[across + 2], next_box[across + 2]) - max(box[across], next_box[across])
    shorter = min(one[across + 2] - one[across] for one in (box, next_box))
    return beside > 0 and beside >= SAME * shorter


def _merged_mask(found: Sequence[tuple[Tile, Inspection]], size: tuple[int, int]) -> dict[str, Any] | None:
    masks = [(tile.place, one.mask) for tile, one in found if one.mask is not None]
    if not masks:
        return None
    whole = np.zeros((size[1], size[0]), bool)
    for (x0, y0, x1, y1), mask in masks:
        whole[y0:y1, x0:x1] |= rle_mask(mask)
    return union_rle(whole[None])


def _moved(boxes: Sequence[Box], tile: Tile) -> tuple[Box, ...]:
    x, y = tile.place[:2]
    return tuple((x0 + x, y0 + y, x1 + x, y1 + y) for x0, y0, x1, y1 in boxes)


def _around(boxes: Sequence[Box]) -> Box:
    x0, y0, x1, y1 = zip(*boxes, strict=True)
    return min(x0), min(y0), max(x1), max(y1)


def _common(first: Box | Place, second: Box | Place) -> Box:
    """Return what two boxes share; a box without area where they share nothing."""
    return (
        max(first[0], second[0]),
        max(first[1], second[1]),
        min(first[2], second[2]),
        min(first[3], second[3]),
    )


def _area(box: Box) -> float:
    return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)
