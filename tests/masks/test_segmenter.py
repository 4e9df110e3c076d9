"""The box as mask, no masks, and which pixels a box has."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from adfm.config.compose import build, conf_folder
from adfm.evaluation.localization import boxes_mask
from adfm.masks.segmenter import BoxMasks, Segmenter, pixels_of

EDGES = st.floats(-20, 40, allow_nan=False) | st.sampled_from([-math.inf, math.inf])


def picture(height: int = 9, width: int = 13) -> np.ndarray:
    return np.zeros((height, width, 3), np.uint8)


def test_a_box_has_the_pixels_whose_centres_are_in_it() -> None:
    assert pixels_of((2.0, 3.0, 5.0, 4.0), width=13, height=9) == (2, 3, 5, 4)
    assert pixels_of((2.4, 3.6, 5.4, 4.6), width=13, height=9) == (2, 4, 5, 5)
    assert pixels_of((-5.0, -1.0, 99.0, 2.0), width=13, height=9) == (0, 0, 13, 2)


def test_the_box_is_its_own_mask_cut_off_at_the_border() -> None:
    masks = BoxMasks()(picture(), [(11.0, 7.0, 20.0, 20.0), (3.0, 3.0, 3.0, 8.0), (50.0, 50.0, 60.0, 60.0)])
    assert masks.shape == (3, 9, 13)
    assert masks[0, 7:, 11:].all()
    assert masks.sum(axis=(1, 2)).tolist() == [4, 0, 0]


def test_no_boxes_give_no_masks() -> None:
    assert BoxMasks()(picture(), []).shape == (0, 9, 13)


@given(st.lists(st.tuples(EDGES, EDGES, EDGES, EDGES), max_size=4))
def test_the_union_is_what_the_evaluation_makes_of_the_boxes(boxes: list[tuple[float, float, float, float]]) -> None:
    assert np.array_equal(BoxMasks()(picture(), boxes).any(0), boxes_mask(boxes, width=13, height=9))


def test_the_options_of_masks_build() -> None:
    assert build({"_target_": "adfm.masks.segmenter.no_segmenter"}) is None
    assert isinstance(BoxMasks(), Segmenter)
    for file in (conf_folder() / "masks").glob("*.yaml"):
        assert file.read_text(encoding="utf-8").startswith("# "), f"{file.name} must open with what it is"
