"""Classical masks of hand-made images whose right mask is known, and of boxes that nobody should draw."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from adfm.config.compose import build, conf_folder
from adfm.config.signatures import signature_problems
from adfm.errors import ConfigError
from adfm.masks import candidates
from adfm.masks.candidates import Cutout
from adfm.masks.classical import Classical
from adfm.masks.segmenter import BoxMasks, Segmenter

SQUARE = (slice(20, 32), slice(25, 40))
LOOSE = (20.0, 15.0, 46.0, 38.0)
EDGES = st.floats(-30, 90)


def scene(
    square: tuple[slice, slice] = SQUARE, *, dark: float = 60, bright: float = 180, noise: float = 0
) -> np.ndarray:
    """A square on a surface, 60 x 70, every colour alike."""
    grey = np.full((60, 70), dark)
    grey[square] = bright
    grey = grey + noise * np.random.default_rng(0).standard_normal(grey.shape)
    return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def truth(square: tuple[slice, slice] = SQUARE) -> np.ndarray:
    mask = np.zeros((60, 70), bool)
    mask[square] = True
    return mask


@pytest.mark.parametrize(("dark", "bright"), [(60, 180), (180, 60)])
@pytest.mark.parametrize("noise", [0.0, 6.0])
def test_a_square_in_a_loose_box_is_found_exactly(dark: float, bright: float, noise: float) -> None:
    masks = Classical()(scene(dark=dark, bright=bright, noise=noise), [LOOSE])
    assert np.array_equal(masks[0], truth())


def test_a_square_in_its_own_box_is_all_of_it() -> None:
    assert np.array_equal(Classical()(scene(), [(25.0, 20.0, 40.0, 32.0)])[0], truth())


def test_a_square_in_colour_is_found_where_its_grey_differs() -> None:
    image = scene()
    image[..., 1:] = 90
    assert np.array_equal(Classical()(image, [LOOSE])[0], truth())


def test_every_box_has_its_own_mask() -> None:
    image = np.maximum(scene(), scene((slice(44, 52), slice(50, 60))))
    masks = Classical()(image, [LOOSE, (46.0, 41.0, 64.0, 56.0)])
    assert np.array_equal(masks[0], truth())
    assert np.array_equal(masks[1], truth((slice(44, 52), slice(50, 60))))


def test_a_square_at_the_border_is_found_although_the_box_reaches_out() -> None:
    corner = (slice(0, 12), slice(58, 70))
    assert np.array_equal(Classical()(scene(corner), [(52.0, -6.0, 76.0, 17.0)])[0], truth(corner))


@given(right=st.integers(-12, 12), down=st.integers(-10, 10))
@settings(max_examples=8, deadline=None)
def test_the_mask_moves_with_image_and_box(right: int, down: int) -> None:
    image = np.random.default_rng(1).integers(100, 130, (120, 120, 3), dtype=np.uint8)
    image[50:60, 45:70] = 200
    moved = np.roll(image, (down, right), (0, 1))
    box = (42.0, 46.0, 75.0, 66.0)
    elsewhere = (42.0 + right, 46.0 + down, 75.0 + right, 66.0 + down)
    before, after = Classical()(image, [box])[0], Classical()(moved, [elsewhere])[0]
    assert before.any()
    assert np.array_equal(np.roll(before, (down, right), (0, 1)), after)


@given(boxes=st.lists(st.tuples(EDGES, EDGES, EDGES, EDGES), max_size=3), noise=st.sampled_from([0.0, 20.0]))
@settings(max_examples=20, deadline=None)
def test_any_box_gives_a_mask_inside_it(boxes: list[tuple[float, float, float, float]], noise: float) -> None:
    image = scene(noise=noise)
    masks = Classical()(image, boxes)
    whole = BoxMasks()(image, boxes)
    assert masks.shape == whole.shape
    assert not (masks & ~whole).any()
    assert np.array_equal(masks.any((1, 2)), whole.any((1, 2)))
    assert np.array_equal(masks, Classical()(image, boxes))


@pytest.mark.parametrize("large", ["vote", "box", "chan_vese"])
def test_a_constant_image_leaves_the_box(large: str) -> None:
    image = np.full((40, 50, 3), 77, np.uint8)
    boxes = [(10.0, 10.0, 20.0, 25.0), (0.0, 0.0, 50.0, 40.0), (3.0, 3.0, 4.0, 4.0)]
    node = {"_target_": "adfm.masks.classical.Classical", "large": large}
    assert np.array_equal(build(node)(image, boxes), BoxMasks()(image, boxes))


def test_boxes_without_a_pixel_are_empty_and_one_pixel_is_itself() -> None:
    boxes = [(10.0, 10.0, 10.0, 20.0), (90.0, 5.0, 99.0, 9.0), (20.0, 9.0, 10.0, 3.0), (30.0, 25.0, 31.0, 26.0)]
    masks = Classical()(scene(noise=9), boxes)
    assert masks.sum((1, 2)).tolist() == [0, 0, 0, 1]
    assert masks[3, 25, 30]
    assert Classical()(scene(), []).shape == (0, 60, 70)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 40), (40, 1), (2, 2)])
@pytest.mark.parametrize("segmenter", [Classical(large="vote"), Classical(large="chan_vese")])
def test_images_of_one_row_or_column(segmenter: Classical, height: int, width: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    assert segmenter(image, [(0.0, 0.0, width, height), (0.0, 0.0, 1.0, 1.0)]).any((1, 2)).all()


def test_a_large_box_becomes_what_is_asked_for() -> None:
    half = (slice(15, 45), slice(20, 55))
    image, box = scene(half, noise=4), [(15.0, 10.0, 60.0, 50.0)]
    assert np.array_equal(Classical(large="box")(image, box), BoxMasks()(image, box))
    assert np.array_equal(Classical(large="box", large_from=0.5)(image, box), Classical(large="vote")(image, box))
    assert np.array_equal(Classical(large="vote")(image, box)[0], truth(half))
    moved = Classical(large="chan_vese")(image, box)[0]
    assert not np.array_equal(moved, truth(half))  # its corners are round
    assert (moved & truth(half)).sum() / (moved | truth(half)).sum() > 0.95


def test_a_box_in_a_large_image_is_looked_at_in_reduced_size() -> None:
    grey = np.full((3000, 4000), 80, np.uint8)
    grey[600:1500, 500:2000] = 170
    image = np.repeat(grey[..., None], 3, axis=2)
    mask = Classical(large="vote")(image, [(400.0, 500.0, 2100.0, 1600.0)])[0]
    true = grey > 100
    assert (mask & true).sum() / (mask | true).sum() > 0.97


def test_a_thin_box_keeps_its_pixels_in_reduced_size() -> None:
    grey = np.full((300, 6000), 80, np.uint8)
    grey[150:152, 200:5800] = 170
    image = np.repeat(grey[..., None], 3, axis=2)
    mask = Classical()(image, [(190.0, 146.0, 5810.0, 156.0)])[0]
    true = grey > 100
    assert (mask & true).sum() / true.sum() > 0.95
    assert mask.sum() < 3 * true.sum()


def cutout(image: np.ndarray) -> Cutout:
    return Cutout.of(image, (20, 15, 46, 38))


def test_the_surface_is_the_median_of_the_ring() -> None:
    assert cutout(scene()).surface == pytest.approx(60 / 255)
    filled = Cutout.of(scene(), (0, 0, 70, 60))
    assert filled.around.sum() == 2 * 70 + 2 * 58
    assert filled.surface == pytest.approx(60 / 255)


def test_each_method_alone_finds_the_square() -> None:
    part = cutout(scene())
    assert np.array_equal(candidates.otsu(part), truth())
    assert np.array_equal(candidates.watershed(part, seeds=0.1), truth())
    segments = candidates.felzenszwalb(part, scale=50, sigma=0.1, min_size=10, within=0.8)
    assert np.array_equal(segments, truth())
    outline = candidates.chan_vese(part, steps=30, smoothing=1)
    assert (outline & truth()).sum() / (outline | truth()).sum() > 0.8


def test_an_ellipse_fits_its_box() -> None:
    found = candidates.ellipse(Cutout.of(scene(), (20, 10, 50, 30)))
    assert found.sum() == pytest.approx(np.pi / 4 * 30 * 20, rel=0.02)
    assert found[20, 20]
    assert not found[10, 20]


def test_a_segment_that_reaches_far_out_of_the_box_does_not_count() -> None:
    wide = scene((slice(22, 28), slice(0, 70)))
    assert not candidates.felzenszwalb(cutout(wide), scale=50, sigma=0.1, min_size=10, within=0.8)[22:28].any()
    assert candidates.felzenszwalb(cutout(wide), scale=50, sigma=0.1, min_size=10, within=0.3)[22:28, 20:46].all()


def test_the_config_is_the_class_with_its_defaults() -> None:
    node = OmegaConf.to_container(OmegaConf.load(conf_folder() / "masks" / "classical.yaml"))
    assert isinstance(node, dict)
    assert not signature_problems({"masks": node})
    segmenter = build(node)
    assert isinstance(segmenter, Segmenter)
    assert segmenter == Classical()
    assert segmenter.settings == {name: value for name, value in node.items() if name != "_target_"}


@pytest.mark.parametrize(("name", "value"), [("margin", -1.0), ("pixels", 0), ("within", 1.5), ("large_from", -0.1)])
def test_a_number_out_of_its_range_is_named(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"masks\.{name} must be between"):
        build({"_target_": "adfm.masks.classical.Classical", name: value})
