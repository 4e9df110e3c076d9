"""Run lengths: pycocotools reads what is written, and it comes back."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pycocotools import mask

from adfm.errors import DataError
from adfm.masks.rle import rle_mask, union_rle

MASKS = arrays.arrays(bool, st.tuples(st.integers(0, 3), st.integers(1, 12), st.integers(1, 12)))
coco: Any = mask


def test_columns_come_first_in_a_mask_that_is_no_square() -> None:
    lower_left = np.zeros((1, 2, 3), bool)
    lower_left[0, 1, 0] = True  # column after column: 0 1 | 0 0 | 0 0, so one off, one on, four off
    rle = union_rle(lower_left)
    assert rle["size"] == [2, 3]
    assert rle["counts"] == coco.frPyObjects({"size": [2, 3], "counts": [1, 1, 4]}, 2, 3)["counts"].decode()


def test_several_masks_become_their_union() -> None:
    masks = np.zeros((2, 3, 4), bool)
    masks[0, :2, :2] = True
    masks[1, 1:, 1:] = True
    union = rle_mask(union_rle(masks))
    assert union.sum() == 4 + 6 - 1
    assert np.array_equal(union, masks[0] | masks[1])


def test_no_mask_and_an_empty_mask_are_empty_masks_of_the_images_size() -> None:
    for masks in (np.zeros((0, 5, 7), bool), np.zeros((1, 5, 7), bool)):
        empty = rle_mask(union_rle(masks))
        assert empty.shape == (5, 7)
        assert empty.dtype == bool
        assert not empty.any()


@given(MASKS)
def test_a_mask_survives_json_and_is_the_one_that_pycocotools_reads(masks: np.ndarray) -> None:
    rle = json.loads(json.dumps(union_rle(masks)))
    assert np.array_equal(rle_mask(rle), masks.any(0))
    assert coco.area({**rle, "counts": rle["counts"].encode()}) == masks.any(0).sum()


def test_cut_counts_are_an_error_and_no_pixels() -> None:
    rle = union_rle(np.eye(40, dtype=bool)[None])
    with pytest.raises(DataError, match="do not add up to 40 x 40"):
        rle_mask({**rle, "counts": rle["counts"][:-3]})
