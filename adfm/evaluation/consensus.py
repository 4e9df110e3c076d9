"""What several completions about one image agree on (self-consistency): one verdict, and how sure it is of each box."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from adfm.evaluation.localization import overlaps
from adfm.types import Box, Prompt, Verdict

SAME = 0.5
"""IoU from which two boxes mean the same place."""


def consensus(verdicts: Sequence[Verdict], prompt: Prompt, *, score: float | None) -> tuple[Verdict, tuple[float, ...]]:
    """Return the verdict of several draws, at least one, and the confidence of each of its boxes.

    The majority says normal or anomalous; draws that could not be read do not vote, and a tie is decided by the sign of
    the anomaly score (without a score it stays open: `no_majority`). Of the letters that mean so, or of all letters
    under a question that does not decide it, the one said most often counts, the earlier one of two. Boxes of all draws
    are clustered (see `clusters`). A cluster is kept if half of the draws that agree with the verdict, or more, have a
    box in it; its box has the median of their edges, its confidence is the share of all draws with a box in it. Text,
    stages and reasons are those of the draw, among those that agree, whose boxes are most like these.
    """
    called = [one.anomalous for one in verdicts if one.anomalous is not None]
    anomalous = _majority(called, score)
    undecided = bool(called) and anomalous is None
    said = Counter(one.answer_letter for one in verdicts if one.answer_letter and one.anomalous == anomalous)
    letter = said.most_common(1)[0][0] if said and not undecided else None
    agree = [index for index, one in enumerate(verdicts) if (one.anomalous, one.answer_letter) == (anomalous, letter)]
    agree = agree or list(range(len(verdicts)))
    found = [
        members
        for members in clusters([one.boxes_written for one in verdicts])
        if 2 * sum(draw in agree for draw, _ in members) >= len(agree)
    ]
    boxes = tuple(_median([box for _, box in members]) for members in found)
    nearest = max((verdicts[index] for index in agree), key=lambda one: likeness(one.boxes_written, boxes))
    verdict = replace(
        nearest,
        answer_letter=letter,
        anomalous=anomalous,
        boxes_written=boxes,
        boxes=prompt.frame.original(boxes),
        box_spans=(),
        reasons=(*nearest.reasons, "no_majority") if undecided else nearest.reasons,
    )
    return verdict, tuple(len(members) / len(verdicts) for members in found)


def clusters(boxes: Sequence[Sequence[Box]]) -> list[list[tuple[int, Box]]]:
    """Group the boxes of several draws by place: lists of (draw, box) with at most one box of a draw.

    The box that most draws have a box near to (IoU of at least `SAME`) comes first, among equals the one whose nearest
    boxes overlap it most; it takes the nearest of each draw with it. The rest goes on in the same way.
    """
    drawn = [(draw, box) for draw, of_draw in enumerate(boxes) for box in of_draw]
    owners = [np.array([owner == draw for owner, _ in drawn]) for draw in range(len(boxes))]
    near = overlaps([box for _, box in drawn], [box for _, box in drawn])
    np.fill_diagonal(near, 1.0)
    near[near < SAME] = 0.0
    free = np.ones(len(drawn), dtype=bool)
    found = []
    while free.any():
        reach = near * free
        nearest = np.stack([reach.max(1, where=owner, initial=0.0) for owner in owners], axis=1)
        ranks = zip(free.tolist(), (nearest > 0).sum(1).tolist(), nearest.sum(1).tolist(), strict=True)
        seed = max(enumerate(ranks), key=lambda entry: entry[1])[0]
        members = [int((reach[seed] * owners[draw]).argmax()) for draw in np.flatnonzero(nearest[seed])]
        free[members] = False
        found.append([drawn[member] for member in members])
    return found


def likeness(some: Sequence[Box], others: Sequence[Box]) -> float:
    """Mean IoU of every box of both sides with the nearest of the other side; 1 where neither has any.

    >>> likeness([(0.0, 0.0, 2.0, 2.0)], [(0.0, 0.0, 2.0, 1.0), (5.0, 5.0, 6.0, 6.0)])
    0.3333333333333333
    """
    if not some or not others:
        return float(not some and not others)
    iou = overlaps(some, others)
    return float(np.concatenate([iou.max(0), iou.max(1)]).mean())


def _majority(called: Sequence[bool], score: float | None) -> bool | None:
    lead = 2 * sum(called) - len(called)
    if lead:
        return lead > 0
    return score > 0 if called and score is not None else None


def _median(boxes: Sequence[Box]) -> Box:
    x0, y0, x1, y1 = np.median(np.array(boxes, dtype=np.float64), axis=0).tolist()
    return x0, y0, x1, y1
