from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from adfm.errors import DataError
from adfm.reasoning.frames import AbsoluteFrames, IdentityFrame, RelativeFrames, resized
from adfm.types import Frame, Frames

SIDE = st.integers(1, 6000)


@settings(deadline=None)
@given(SIDE, SIDE, st.sampled_from([28, 32]), st.integers(1, 2_000_000), st.floats(1, 400))
def test_the_resized_size_is_that_of_the_image_processor(width, height, factor, min_pixels, span):
    max_pixels = int(min_pixels * span)
    try:
        expected = smart_resize(height, width, factor, min_pixels, max_pixels)
    except ValueError:
        with pytest.raises(DataError, match="too elongated"):
            resized(width, height, factor=factor, min_pixels=min_pixels, max_pixels=max_pixels)
    else:
        assert resized(width, height, factor=factor, min_pixels=min_pixels, max_pixels=max_pixels) == expected[::-1]


@st.composite
def framed_boxes(draw):
    width, height = draw(st.integers(56, 1000)), draw(st.integers(56, 1000))
    x0, y0 = draw(st.integers(0, width - 2)), draw(st.integers(0, height - 2))
    x1, y1 = draw(st.integers(x0 + 1, width)), draw(st.integers(y0 + 1, height))
    return width, height, (float(x0), float(y0), float(x1), float(y1))


@pytest.mark.parametrize(
    "frames",
    [
        AbsoluteFrames(min_pixels=56 * 56, max_pixels=16384 * 28 * 28),
        RelativeFrames(min_pixels=64 * 64, max_pixels=16384 * 32 * 32),
    ],
)
@settings(deadline=None)
@given(framed_boxes())
def test_boxes_come_back_within_a_pixel(frames, framed):
    width, height, box = framed
    frame = frames(width, height)
    written = frame.written([box])
    (back,) = frame.original(written)
    assert all(value == int(value) for value in written[0])
    assert written[0][0] < written[0][2]
    assert written[0][1] < written[0][3]
    assert max(abs(one - other) for one, other in zip(box, back, strict=True)) <= 1


def test_written_boxes_stay_inside_a_frame_that_shrinks():
    frame = AbsoluteFrames(min_pixels=56 * 56, max_pixels=112 * 112)(2000, 2000)
    assert (frame.width, frame.height, frame.image_size) == (112, 112, (112, 112))
    assert frame.written([(1999.0, 0.0, 2000.0, 2000.0)]) == ((111.0, 0.0, 112.0, 112.0),)
    assert frame.written([(0.0, 0.0, 1.0, 1.0)]) == ((0.0, 0.0, 1.0, 1.0),)


def test_each_family_says_its_coordinates_and_the_size_that_it_sees():
    absolute = AbsoluteFrames(min_pixels=3136, max_pixels=50176)(512, 256)
    relative = RelativeFrames(min_pixels=4096, max_pixels=65536)(512, 256)
    assert absolute.describe() == f"in pixels of the {absolute.image_size[0]} x {absolute.image_size[1]} image"
    assert relative.describe().startswith("from 0 to 1000 ")
    assert "352 x 160" in relative.describe()
    assert relative.written([(0.0, 0.0, 512.0, 128.0)]) == ((0.0, 0.0, 1000.0, 500.0),)


def test_the_identity_frame_changes_nothing():
    frame = IdentityFrame(width=512.0, height=512.0)
    assert frame.written([(0.5, 1.25, 2.0, 3.0)]) == frame.original([(0.5, 1.25, 2.0, 3.0)])
    assert isinstance(frame, Frame)
    assert isinstance(AbsoluteFrames(min_pixels=1, max_pixels=2), Frames)


def test_an_empty_image_is_an_error():
    with pytest.raises(DataError, match="0 x 10"):
        resized(0, 10, factor=28, min_pixels=1, max_pixels=100)
