from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from adfm.data.masks import MaskFiles, boxes_from_mask, ellipse, kernel_size, threshold
from adfm.errors import DataError


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


def _file(path: Path, values: np.ndarray | Image.Image, **options: object) -> Path:
    (values if isinstance(values, Image.Image) else Image.fromarray(values)).save(path, **options)
    return path


DEFECT = np.zeros((20, 30), bool)
DEFECT[4:9, 11:17] = True


def _noisy(seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 9, DEFECT.shape, dtype=np.uint8)
    return np.where(DEFECT, 255 - noise, noise).astype(np.uint8)


def _colours() -> np.ndarray:
    values = np.zeros((20, 30, 3), np.uint8)
    values[4:9, 11:14] = (255, 0, 0)
    values[4:9, 14:17] = (0, 0, 200)
    return values


def _palette() -> Image.Image:
    image = Image.fromarray(np.where(DEFECT, 1, 0).astype(np.uint8)).convert("P")
    image.putpalette([0, 0, 0, 128, 0, 0])
    return image


KINDS = {
    "0 and 1": np.where(DEFECT, 1, 0).astype(np.uint8),
    "0 and 255": np.where(DEFECT, 255, 0).astype(np.uint8),
    "noise": _noisy(),
    "classes": np.where(DEFECT, np.arange(30, dtype=np.uint8)[None] % 7 + 1, 0).astype(np.uint8),
    "one bit": Image.fromarray(DEFECT),
    "colours": _colours(),
    "palette": _palette(),
    "16 bits": np.where(DEFECT, 65535, 0).astype(np.uint16),
    "16 bits of 0 and 1": np.where(DEFECT, 1, 0).astype(np.uint16),
    "transparent": np.dstack([np.full((20, 30, 3), 255, np.uint8), np.where(DEFECT, 255, 0).astype(np.uint8)]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_automatic_rule_reads_every_kind_of_mask(tmp_path: Path, kind: str):
    mask = MaskFiles((_file(tmp_path / "mask.png", KINDS[kind]),), above=None)
    assert np.array_equal(mask.read((30, 20)), DEFECT)
    assert mask.boxes((30, 20)) == ((11.0, 4.0, 17.0, 9.0),)


@pytest.mark.parametrize(("largest", "name", "above"), [(31, "a.png", 0), (32, "a.png", 127), (9, "a.JPG", 127)])
def test_small_values_are_classes_unless_they_may_be_noise(largest: int, name: str, above: int):
    assert threshold(Path(name), np.array([[0, largest]], np.uint8)) == above


def test_an_empty_mask_has_no_boxes_whatever_the_rule(tmp_path: Path):
    empty = _file(tmp_path / "mask.png", np.zeros((20, 30), np.uint8))
    jpeg = _file(tmp_path / "mask.jpg", np.random.default_rng(0).integers(0, 9, (20, 30), dtype=np.uint8))
    for file in (empty, jpeg):
        assert not MaskFiles((file,), above=None).read((30, 20)).any()
    assert MaskFiles((empty,), above=0).boxes((30, 20)) == ()


def test_a_mask_in_several_files_is_their_union(tmp_path: Path):
    parts = np.zeros((2, 20, 30), np.uint8)
    parts[0, 2:6, 3:9], parts[1, 10:15, 20:28] = 255, 1
    files = tuple(_file(tmp_path / f"{number}.png", values) for number, values in enumerate(parts))
    assert np.array_equal(MaskFiles(files, above=None).read((30, 20)), parts.any(0))


def test_a_mask_of_another_size_is_brought_to_the_images(tmp_path: Path):
    mask = MaskFiles((_file(tmp_path / "mask.png", np.where(DEFECT, 255, 0).astype(np.uint8)),))
    assert np.array_equal(mask.read((60, 40)), np.kron(DEFECT, np.ones((2, 2), bool)))
    assert mask.boxes((15, 10))  # smaller than the mask
    assert mask.read((298, 199)).shape == (199, 298)  # within 1 % of the shape


def test_a_mask_of_another_shape_is_refused(tmp_path: Path):
    mask = MaskFiles((_file(tmp_path / "mask.png", np.zeros((20, 30), np.uint8)),))
    with pytest.raises(DataError, match=r"mask.png: the mask is 30 x 20, its image 40 x 20: another shape"):
        mask.read((40, 20))
    with pytest.raises(DataError, match=r"the mask is 30 x 20, its image 40 x 60: it fits the image as stored, not as"):
        mask.read((40, 60))


def test_a_mask_with_the_images_orientation_is_turned_with_it(tmp_path: Path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    mask = MaskFiles((_file(tmp_path / "mask.png", np.where(DEFECT, 255, 0).astype(np.uint8), exif=exif),))
    assert np.array_equal(mask.read((20, 30)), np.rot90(DEFECT, -1))
