from __future__ import annotations

import numpy as np
import pytest

from adfm.data.masks import boxes_from_mask, ellipse, kernel_size


def test_kernel_size_is_odd_and_at_least_three():
    assert kernel_size(112, 200, 0.01) == 3
    assert kernel_size(900, 1000, 0.01) == 9
    assert kernel_size(1000, 1000, 0.01) == 11


def test_kernel_is_an_ellipse():
    assert ellipse(3).tolist() == [[0, 1, 0], [1, 1, 1], [0, 1, 0]]
    assert ellipse(5)[0].tolist() == [0, 0, 1, 0, 0]
    assert ellipse(5)[1].tolist() == [1, 1, 1, 1, 1]
    assert ellipse(7).sum(1).tolist() == [1, 5, 7, 7, 7, 5, 1]


def test_fragments_join_and_the_box_encloses_the_original_pixels():
    mask = np.zeros((20, 30), bool)
    mask[5:8, 10:14] = True
    mask[5:8, 16:19] = True  # two columns away: a 3 x 3 kernel reaches from both sides
    mask[15:18, 2:5] = True
    assert boxes_from_mask(mask, dilation=0.01, min_area=5) == ((10.0, 5.0, 19.0, 8.0), (2.0, 15.0, 5.0, 18.0))
    assert len(boxes_from_mask(mask, dilation=0, min_area=5)) == 3


def test_components_below_the_smallest_area_are_dropped_by_their_original_pixels():
    mask = np.zeros((20, 20), bool)
    mask[3, 3:7] = True  # 4 pixels, 14 when dilated
    assert boxes_from_mask(mask, dilation=0.01, min_area=5) == ()
    assert boxes_from_mask(mask, dilation=0.01, min_area=4) == ((3.0, 3.0, 7.0, 4.0),)


def test_a_defect_at_the_border_and_an_empty_mask():
    mask = np.zeros((10, 10), bool)
    assert boxes_from_mask(mask, dilation=0.1, min_area=1) == ()
    mask[8:, 9:] = True
    assert boxes_from_mask(mask, dilation=0.1, min_area=1) == ((9.0, 8.0, 10.0, 10.0),)


@pytest.mark.parametrize("dilation", [0.0, 0.05])
def test_boxes_cover_every_pixel_of_a_random_mask(dilation: float):
    mask = np.random.default_rng(0).random((40, 60)) > 0.97
    covered = np.zeros_like(mask)
    for x0, y0, x1, y1 in boxes_from_mask(mask, dilation=dilation, min_area=1):
        covered[int(y0) : int(y1), int(x0) : int(x1)] = True
    assert (covered | ~mask).all()
