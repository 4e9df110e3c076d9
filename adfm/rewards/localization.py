"""AD-FM's reward of the boxes: matched by generalised IoU, counted, and normalised.

Source: `anomaly_loc_reward` of `hanawall/AD-FM:scripts/grpo/plugin_adfm.py` (`normalization=shifted`) and of the byte
code released beside it (`clipped`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment

from adfm.types import Box, Prompt, Verdict

NORMALIZATIONS: Mapping[str, Callable[[float], float]] = {
    "shifted": lambda raw: min(1.0, max(0.0, (raw + 0.5) / 1.5)),
    "clipped": lambda raw: min(1.0, max(0.0, raw)),
}


def generalized_iou(found: Sequence[Box], true: Sequence[Box]) -> Float[np.ndarray, "found true"]:
    """Return the generalised IoU of every found with every true box.

    A reversed box has no area, as in the released code.

    >>> generalized_iou([(0.0, 0.0, 2.0, 2.0)], [(0.0, 0.0, 2.0, 1.0), (2.0, 0.0, 4.0, 2.0)]).tolist()
    [[0.5, 0.0]]
    """
    one, other = np.array(found, dtype=float)[:, None], np.array(true, dtype=float)[None]
    overlap = (np.minimum(one, other)[..., 2:] - np.maximum(one, other)[..., :2]).clip(min=0).prod(-1)
    union = _area(one) + _area(other) - overlap
    hull = (np.maximum(one, other)[..., 2:] - np.minimum(one, other)[..., :2]).clip(min=0).prod(-1)
    iou = np.divide(overlap, union, out=np.zeros_like(union), where=union > 0)
    return iou - np.divide(hull - union, hull, out=np.zeros_like(union), where=hull > 0)


def _area(boxes: Float[np.ndarray, "*some 4"]) -> Float[np.ndarray, "*some"]:
    return (boxes[..., 2:] - boxes[..., :2]).clip(min=0).prod(-1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Localization:
    """Pay for boxes that match the true ones in place and number.

    On an anomalous sample without a found box 0; else the boxes are assigned one to one for the largest total of
    generalised IoU, and `mean IoU + alpha * count` is normalised to 0 to 1, where count is 1 for the right number of
    boxes, 0.5 for one off, -0.1 otherwise.

    Holes of the released values, and what closes each:

    - a useless box of the right number earns 0.53: `normalization=clipped` (then 0.3) and `count_above=0` (then 0);
    - the mean is over the found boxes only, so that a missed one costs little: `mean_over=larger`;
    - normal samples are paid for nominating one box, not for silence: `normal_no_box=1 normal_single_box=0`;
    - an anomalous sample without true boxes counts as normal: `unlabelled=0` pays it the same whatever is found.

    >>> from adfm.rewards.examples import judged
    >>> beside = judged(boxes=[(0.0, 0.0, 2.0, 2.0)], true=[(2.0, 0.0, 4.0, 2.0)])
    >>> strict = Localization(normalization="clipped", count_above=0.0)
    >>> round(Localization()(*beside), 2), strict(*beside)
    (0.53, 0.0)
    """

    alpha: float = 0.3
    normalization: Literal["shifted", "clipped"] = "shifted"
    """`shifted`: (r + 0.5) / 1.5, then cut to 0 to 1; `clipped`: r cut to 0 to 1."""
    count_above: float | None = None
    """The count is paid only if the mean IoU is above this; None pays it always."""
    mean_over: Literal["found", "larger"] = "found"
    """What the matched IoU is divided by: the number of found boxes, or the larger of found and true."""
    normal_no_box: float = 0.0
    normal_single_box: float = 0.5
    normal_many_boxes: float = -0.1
    unlabelled: float | None = None
    """What an anomalous sample without true boxes earns; None pays it as a normal one."""
    needs: ClassVar[frozenset[str]] = frozenset({"boxes"})

    def __call__(self, verdict: Verdict, prompt: Prompt) -> float:
        """Judge one verdict."""
        found, true = verdict.boxes, prompt.sample.boxes
        if not prompt.sample.anomalous or not true:
            return self._without_truth(len(found), prompt)
        if not found:
            return 0.0
        matrix = generalized_iou(found, true)
        matched = matrix[linear_sum_assignment(matrix, maximize=True)].sum()
        mean = float(matched) / (max(len(found), len(true)) if self.mean_over == "larger" else len(found))
        counts = self.count_above is None or mean > self.count_above
        count = {0: 1.0, 1: 0.5}.get(abs(len(found) - len(true)), -0.1)
        return NORMALIZATIONS[self.normalization](mean + self.alpha * count * counts)

    def best(self, prompt: Prompt) -> float:
        """Return what a completion which is right by the labels can earn: with no box for a normal sample."""
        if prompt.sample.anomalous and prompt.sample.boxes:
            return NORMALIZATIONS[self.normalization](1 + self.alpha)
        return self._without_truth(0, prompt)

    def _without_truth(self, found: int, prompt: Prompt) -> float:
        if prompt.sample.anomalous and self.unlabelled is not None:
            return self.unlabelled
        return {0: self.normal_no_box, 1: self.normal_single_box}.get(found, self.normal_many_boxes)
