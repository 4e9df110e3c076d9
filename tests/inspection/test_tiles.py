"""Large images in tiles: where they are cut, which boxes are one defect, and what is said of the whole image."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from adfm.errors import ConfigError, DataError
from adfm.evaluation.inspection import Draw, Inspection
from adfm.inspection.joining import merged, one_defect
from adfm.inspection.tiles import Tile, Tiling
from adfm.masks.rle import rle_mask, union_rle
from adfm.types import Box, Sample

LEFT, RIGHT = (0, 0, 100, 100), (80, 0, 180, 100)
"""Neighbours that share the columns 80 to 100."""


def test_tiles_are_spread_evenly_and_overlap_by_what_was_asked() -> None:
    """6,000 = 1,024 + 7 steps of 710.86, each below 1,024 - 205 = 819; 4,000 = 1,024 + 4 steps of 744."""
    places = Tiling(size=1024, overlap=0.2).places((6000, 4000))
    assert len(places) == 8 * 5
    assert sorted({x0 for x0, *_ in places}) == [0, 711, 1422, 2133, 2843, 3554, 4265, 4976]
    assert sorted({y0 for _, y0, *_ in places}) == [0, 744, 1488, 2232, 2976]
    assert places[-1] == (4976, 2976, 6000, 4000)


@pytest.mark.parametrize("size", [(100, 100), (101, 40), (333, 257), (160, 1000)])
@pytest.mark.parametrize("overlap", [0.0, 0.15, 0.5])
def test_tiles_cover_every_pixel(size: tuple[int, int], overlap: float) -> None:
    covered = np.zeros((size[1], size[0]), int)
    for x0, y0, x1, y1 in Tiling(size=100, overlap=overlap).places(size):
        assert 0 <= x0 < x1 <= size[0]
        assert 0 <= y0 < y1 <= size[1]
        covered[y0:y1, x0:x1] += 1
    assert covered.min() >= 1


def test_numbers_that_give_no_tiles_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"tiles is 0; it must be at least 1"):
        Tiling(size=0)
    with pytest.raises(ConfigError, match=r"the overlap of tiles is 0\.6; it must be in \[0, 0\.5\]"):
        Tiling(size=10, overlap=0.6)


def gradient(path: Path, width: int, height: int) -> Path:
    """Each pixel says where it is: red its column, green its row."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = np.arange(width), np.arange(height)[:, None]
    Image.fromarray(pixels).save(path)
    return path


def test_a_tile_is_a_sample_of_its_own_pixels(tmp_path: Path) -> None:
    image = gradient(tmp_path / "part.png", 200, 120)
    normal = gradient(tmp_path / "normal.png", 100, 60)
    sample = Sample(id="part", image=image, category="tile", anomalous=False, knowledge="k", references=(normal,))
    with Tiling(size=100, overlap=0.2).cut(sample) as tiles:
        assert [tile.place[:2] for tile in tiles] == [(0, 0), (50, 0), (100, 0), (0, 20), (50, 20), (100, 20)]
        last = tiles[-1].sample
        assert (last.id, last.size, last.boxes, last.knowledge) == ("part at 100,20", (100, 100), (), "k")
        pixels = np.asarray(Image.open(last.image))
        assert pixels.shape == (100, 100, 3)
        assert (pixels[0, 0, 0], pixels[0, 0, 1], pixels[-1, -1, 0], pixels[-1, -1, 1]) == (100, 20, 199, 119)
        reference = np.asarray(Image.open(last.references[0]))
        assert reference.shape == (50, 50, 3), "half as large, so half of the place"
        assert tuple(reference[0, 0, :2]) == (50, 10)
        spool = last.image.parents[1]
        assert spool.is_dir()
    assert not spool.exists()


def test_an_image_no_larger_than_a_tile_stays_as_it_is(tmp_path: Path) -> None:
    sample = Sample(id="a", image=gradient(tmp_path / "a.png", 100, 60), category="tile", anomalous=False)
    with Tiling(size=100).cut(sample) as tiles:
        assert tiles == [Tile(sample, (0, 0, 100, 60))]


def test_files_are_gone_after_an_error_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "spool"))
    (tmp_path / "spool").mkdir()
    sample = Sample(id="a", image=gradient(tmp_path / "a.png", 100, 60), category="tile", anomalous=False)

    def interrupted() -> None:
        with Tiling(size=50).cut(sample) as tiles:
            assert tiles[0].sample.image.exists()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    content = sample.image.read_bytes()
    sample.image.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"a\.png: cannot be decoded"), Tiling(size=50).cut(sample):
        pass
    assert list((tmp_path / "spool").iterdir()) == []


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ((85, 10, 95, 20), (86, 10, 96, 20), True),  # whole in both: 9 of 10 columns agree
        ((85, 10, 95, 20), (85, 50, 95, 60), False),  # both whole, elsewhere
        ((50, 10, 100, 20), (80, 11, 140, 21), True),  # over the seam: 80 to 100 in both, 9 of 10 rows
        ((50, 10, 100, 20), (80, 16, 140, 26), False),  # 4 of 10 rows agree
        ((50, 10, 84, 20), (88, 10, 140, 20), False),  # 4 pixels apart, where both tiles look
        ((60, 10, 100, 60), (90, 20, 95, 25), True),  # the smaller lies in the larger
        ((10, 10, 40, 20), (120, 10, 140, 20), False),  # each in what only its tile shows
        ((50, 10, 100, 20), (120, 10, 140, 20), False),  # the right tile sees where the left box is, and calls nothing
    ],
)
def test_boxes_of_neighbours_are_one_defect_where_they_agree(left: Box, right: Box, same: bool) -> None:
    assert one_defect((LEFT, left), (RIGHT, right)) is same
    assert one_defect((RIGHT, right), (LEFT, left)) is same


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ((60, 10, 99, 30), (101, 15, 130, 40), True),  # both reach the seam at 100 within 2 pixels; 15 of 20 rows
        ((60, 10, 97, 30), (100, 10, 130, 30), False),  # 3 pixels short of it
        ((60, 10, 100, 30), (100, 25, 130, 45), False),  # 5 of 20 rows
        ((60, 10, 100, 30), (100, 30, 130, 45), False),  # corner to corner
    ],
)
def test_tiles_without_overlap_join_what_meets_at_the_seam(first: Box, second: Box, same: bool) -> None:
    beside = (100, 0, 200, 100)
    assert one_defect((LEFT, first), (beside, second)) is same
    turned = [(box[1], box[0], box[3], box[2]) for box in (first, second)]
    below = (0, 100, 100, 200)
    assert one_defect((below, turned[1]), (LEFT, turned[0])) is same


def test_boxes_of_one_tile_are_never_joined() -> None:
    assert not one_defect((LEFT, (10, 10, 40, 40)), (LEFT, (10, 10, 40, 40)))


def tiles(tmp_path: Path) -> list[Tile]:
    sample = Sample(id="a", image=tmp_path / "a.png", category="tile", anomalous=False)
    return [Tile(sample, LEFT), Tile(sample, RIGHT)]


def said(predicted: bool | None, score: float | None, **more: Any) -> Inspection:
    return Inspection(predicted=predicted, score=score, text=f"{predicted} {score}", seconds=1.5, tokens=10, **more)


@pytest.mark.parametrize(
    ("verdicts", "whole"),
    [
        ((False, False), False),
        ((False, True), True),
        ((None, True), True),
        ((None, False), None),
        ((None, None), None),
    ],
)
def test_an_image_is_what_its_worst_tile_is(tmp_path: Path, verdicts: Any, whole: bool | None) -> None:
    found = merged(tiles(tmp_path), [said(verdicts[0], -1.0), said(verdicts[1], -2.0)], (180, 100))
    assert found.predicted is whole
    assert found.score == -1.0
    assert found.text.startswith(str(whole)), "the text is of a tile with that verdict"


def test_boxes_come_back_to_the_image(tmp_path: Path) -> None:
    """A scratch from 50 to 130 is 50-100 in the left tile and, 80 pixels on, 0-50 in the right one."""
    left = said(
        True, 2.0, boxes=((50.0, 10.0, 100.0, 20.0), (5.0, 5.0, 9.0, 9.0)), confidences=(0.5, 0.3), reasons=("x",)
    )
    right = said(True, 3.0, boxes=((0.0, 10.0, 50.0, 21.0),), boxes_written=((0.0, 1.0, 5.0, 2.0),), confidences=(0.9,))
    found = merged(tiles(tmp_path), [left, right], (180, 100))
    assert found.boxes == ((50.0, 10.0, 130.0, 21.0), (5.0, 5.0, 9.0, 9.0))
    assert found.confidences == (0.9, 0.3)
    assert found.boxes_written == ()
    assert (found.text, found.score, found.seconds, found.tokens) == ("True 3.0", 3.0, 3.0, 20)
    assert found.reasons == ("x",)


def test_what_a_normal_tile_points_at_is_no_defect_of_an_anomalous_image(tmp_path: Path) -> None:
    left = said(False, -2.0, boxes=((1.0, 1.0, 2.0, 2.0),))
    right = said(
        True, 1.0, boxes=((10.0, 0.0, 20.0, 5.0),), draws=(Draw(text="d", predicted=None, boxes=((0, 0, 1, 1),)),)
    )
    found = merged(tiles(tmp_path), [left, right], (180, 100))
    assert found.boxes == ((90.0, 0.0, 100.0, 5.0),)
    assert found.confidences == ()
    assert found.draws == (Draw(text="d", predicted=None, boxes=((80, 0, 81, 1),)),)


def test_a_tile_without_a_score_leaves_none(tmp_path: Path) -> None:
    assert merged(tiles(tmp_path), [said(True, None), said(False, 2.0)], (180, 100)).score is None


def test_masks_of_tiles_lie_side_by_side(tmp_path: Path) -> None:
    mask = np.zeros((100, 100), bool)
    mask[10:20, 90:] = True
    other = np.zeros((100, 100), bool)
    other[12:22, :30] = True
    left, right = (said(True, 1.0, mask=union_rle(one[None])) for one in (mask, other))
    whole = merged(tiles(tmp_path), [left, right], (180, 100)).mask
    assert whole is not None
    expected = np.zeros((100, 180), bool)
    expected[10:20, 90:100] = True
    expected[12:22, 80:110] = True
    assert np.array_equal(rle_mask(whole), expected)
    assert merged(tiles(tmp_path), [said(True, 1.0), said(True, 1.0)], (180, 100)).mask is None


LARGE = """
import json, resource, sys
from adfm.inspection.inspector import Inspector
(found,) = Inspector("tiny", tiles=1024, masks="box", threshold=None).inspect(sys.argv[1])
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(json.dumps({"gigabytes": peak, "error": found.error, "size": found.size, "mask": found.mask["size"]}))
"""


@pytest.mark.slow
def test_an_image_of_24_megapixels_takes_less_than_4_gigabytes(tmp_path: Path) -> None:
    """The whole way through the embedded model in 40 tiles, measured as the peak of a process of its own."""
    noise = np.random.default_rng(0).integers(0, 255, (4000, 6000, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "large.jpg", quality=90)
    done = subprocess.run(
        [sys.executable, "-c", LARGE, str(tmp_path / "large.jpg")], capture_output=True, text=True, check=True
    )
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["error"] is None
    assert said["size"] == [6000, 4000]
    assert said["mask"] == [4000, 6000]
    assert said["gigabytes"] < 4
