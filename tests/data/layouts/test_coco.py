from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_support import opened
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools import mask as pycoco
from trees import counts, draw, samples, told

from adfm.data.benchmark import Source
from adfm.data.coco_masks import CocoMask, segments_of
from adfm.data.layouts.coco import coco
from adfm.errors import DataError

TYPES = [{"id": 1, "name": "deep_dent"}, {"id": 2, "name": "scratch"}]
SQUARE = [6, 4, 20, 4, 20, 10, 6, 10]


def _drawn(*boxes: tuple[int, int, int, int], size: tuple[int, int] = (32, 24)) -> np.ndarray:
    pixels = np.zeros((size[1], size[0]), np.uint8)
    for x0, y0, x1, y1 in boxes:
        pixels[y0:y1, x0:x1] = 1
    return pixels


def _compressed(pixels: np.ndarray) -> dict[str, Any]:
    found = pycoco.encode(np.asfortranarray(pixels))
    return {"size": [int(side) for side in found["size"]], "counts": found["counts"].decode()}


def _runs(pixels: np.ndarray) -> dict[str, Any]:
    """Counts of a mask whose first pixel is good."""
    columns = pixels.T.ravel()
    changes = np.flatnonzero(np.diff(columns)) + 1
    return {"size": list(pixels.shape), "counts": np.diff([0, *changes, columns.size]).tolist()}


def _note(image: int, kind: int = 1, **more: Any) -> dict[str, Any]:
    return {"id": 0, "image_id": image, "category_id": kind, **more}


def _write(file: Path, names: list[str], notes: list[dict[str, Any]], size: tuple[int, int] | None = (32, 24)) -> Path:
    stated = {"width": size[0], "height": size[1]} if size else {}
    entries = [{"id": number, "file_name": name, **stated} for number, name in enumerate(names)]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"images": entries, "annotations": notes, "categories": TYPES}))
    return file


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """`train.json` and `test.json` in `annotations`, images in `images/<part>`."""
    for part, count in (("train", 10), ("test", 2)):
        names = [f"{number}.jpg" for number in range(count)]
        for name in names:
            draw(tmp_path / "images" / part / name)
        notes = [_note(number, bbox=[6, 4, 14, 6], segmentation=[SQUARE]) for number in range(0, count, 2)]
        _write(tmp_path / "annotations" / f"{part}.json", names, notes)
    return tmp_path


def test_images_without_annotation_are_good(root: Path):
    assert counts(opened("coco", root, "dataset.layout.product=gear")) == {
        "train": {("gear", None): 4, ("gear", "deep dent"): 4},
        "val": {("gear", None): 1, ("gear", "deep dent"): 1},
        "test": {("gear", None): 1, ("gear", "deep dent"): 1},
    }
    sample = samples(opened("coco", root))["images/test/0"]
    assert sample.stated_boxes == ((6.0, 4.0, 20.0, 10.0),)
    assert sample.stated_size == (32, 24)
    assert sample.mask is not None
    assert np.array_equal(sample.mask.read((32, 24)), _drawn((6, 4, 20, 10)))


@pytest.mark.parametrize(
    ("file", "images", "options"),
    [
        ("train.json", ".", []),
        ("annotations/instances_train.json", "train", []),
        ("train/_annotations.coco.json", "train", []),
        ("annotations/train.json", "images", []),
        ("a/b.json", "pictures", ["dataset.layout.annotations={train: a/b.json}", "dataset.layout.images=pictures"]),
        ("b.json", "p", ["dataset.layout.annotations={train: b.json}", "dataset.layout.images={train: p}"]),
    ],
)
def test_where_files_and_images_may_lie(tmp_path: Path, file: str, images: str, options: list[str]):
    names = [f"a/{number}.png" for number in range(5)]
    for name in names:
        draw(tmp_path / images / name)
    _write(tmp_path / file, names, [])
    data = opened("coco", tmp_path, *options)
    assert [len(data.split(part)) for part in ("train", "val", "test")] == [4, 1, 0]


def test_one_file_for_all(root: Path):
    listing = coco(Source(root=root), annotations="annotations/train.json", images="images/train")
    assert [len(found) for found in listing.parts.values()] == [0, 0, 10]


def test_several_defects_of_several_types(tmp_path: Path):
    draw(tmp_path / "0.png")
    notes = [_note(0, 2, bbox=[0, 0, 5, 5]), _note(0, 1, bbox=[28.5, 20, 9, 9]), _note(0, 1, bbox=[-2, 1, 4, 4])]
    _write(tmp_path / "test.json", ["0.png"], notes)
    sample = coco(Source(root=tmp_path)).parts["test"][0]
    assert sample.boxes == ((0.0, 0.0, 5.0, 5.0), (28.5, 20.0, 32.0, 24.0), (0.0, 1.0, 2.0, 5.0))
    assert (sample.defect_type, sample.attributes) == ("deep dent", {"defects": "2 deep dent, 1 scratch"})
    assert sample.mask is None


def test_boxes_come_from_the_mask_where_one_is_not_stated(tmp_path: Path):
    draw(tmp_path / "0.png")
    first, second = (1, 1, 8, 8), (20, 10, 30, 20)
    notes = [_note(0, bbox=[1, 1, 7, 7], segmentation=_runs(_drawn(first)))]
    notes.append(_note(0, segmentation=_compressed(_drawn(second))))
    file = _write(tmp_path / "test.json", ["0.png"], notes, size=None)
    sample = coco(Source(root=tmp_path, dilation=0)).parts["test"][0]
    assert sample.stated_boxes is None
    assert sample.boxes == ((1.0, 1.0, 8.0, 8.0), (20.0, 10.0, 30.0, 20.0))
    assert sample.mask is not None
    assert np.array_equal(sample.mask.read((32, 24)), _drawn(first, second))
    assert sample.mask.files == ()
    with pytest.raises(DataError, match=re.escape(f"{file}, images[0]: run lengths are for 32 x 24, the image is 24")):
        sample.mask.read((24, 32))


@pytest.mark.parametrize(
    ("note", "message"),
    [
        (_note(7, bbox=[1, 1, 2, 2]), "there is no image of id 7"),
        (_note(0, 9, bbox=[1, 1, 2, 2]), "there is no category of id 9"),
        (_note(0), "has neither bbox nor segmentation"),
        (_note(0, bbox=[1, 1, 0, 2]), "box from (1, 1) to (1, 3) has no area in the 32 x 24 image"),
        (_note(0, bbox=[40, 1, 2, 2]), "box from (40, 1) to (42, 3) has no area in the 32 x 24 image"),
        (_note(0, bbox=[1, 2, 3]), "bbox must be [x, y, width, height]"),
        (_note(0, bbox=[1, 2, "x", 3]), "'x' is not a number"),
        (_note(0, segmentation=[[1, 2, 3, 4]]), "a polygon must be a list of at least three x and y"),
        (_note(0, segmentation={"size": [24, 32], "counts": "~"}), "run lengths need counts"),
        (_note(0, segmentation={"size": [24], "counts": []}), "run lengths need size: [height, width]"),
    ],
)
def test_a_wrong_annotation_is_named(tmp_path: Path, note: dict[str, Any], message: str):
    draw(tmp_path / "0.png")
    file = _write(tmp_path / "test.json", ["0.png"], [note])
    with pytest.raises(DataError, match=re.escape(f"{file}, annotations[0]: {message}")):
        coco(Source(root=tmp_path))


def test_a_wrong_image_is_named(tmp_path: Path):
    draw(tmp_path / "0.png")
    for name, message in (
        ("1.png", f"{tmp_path}/1.png: no such image"),
        ("../1.png", f"path '../1.png' does not stay in {tmp_path}"),
        ("0.png", f"image 0 was already listed: {tmp_path}/test.json, images[0]"),
    ):
        file = _write(tmp_path / "test.json", ["0.png", name], [])
        with pytest.raises(DataError, match=re.escape(f"{file}, images[1]: {message}")):
            opened("coco", tmp_path).split("test")
    _write(tmp_path / "test.json", ["2.png"], [])
    with pytest.raises(DataError, match=re.escape(f"{tmp_path}/images; set dataset.layout.images")):
        opened("coco", tmp_path).split("test")
    (tmp_path / "test.json").rename(tmp_path / "other.json")
    with pytest.raises(DataError, match=re.escape(f"{tmp_path}: has no train.json, val.json or test.json")):
        opened("coco", tmp_path).split("test")
    with pytest.raises(DataError, match=re.escape("dataset.layout.annotations: no part all")):
        opened("coco", tmp_path, "dataset.layout.annotations={all: other.json}").split("test")


def test_a_mask_that_some_annotations_lack_is_no_mask(tmp_path: Path):
    draw(tmp_path / "0.png")
    notes = [_note(0, bbox=[1, 1, 5, 5], segmentation=[SQUARE]), _note(0, bbox=[9, 9, 5, 5])]
    _write(tmp_path / "test.json", ["0.png"], notes)
    assert coco(Source(root=tmp_path)).parts["test"][0].mask is None
    del notes[0]["bbox"]
    file = _write(tmp_path / "test.json", ["0.png"], notes)
    with pytest.raises(DataError, match=re.escape(f"{file}, images[0]: some of its annotations lack the bbox")):
        coco(Source(root=tmp_path))


@settings(max_examples=100, deadline=None)
@given(size=st.tuples(st.integers(1, 40), st.integers(1, 40)), share=st.floats(0, 1), seed=st.integers(0, 2**32 - 1))
def test_run_lengths_are_read_as_pycocotools_writes_them(size: tuple[int, int], share: float, seed: int):
    pixels = np.random.default_rng(seed).random(size[::-1]) < share
    assert np.array_equal(CocoMask(segments_of(_compressed(pixels.astype(np.uint8)))).read(size), pixels)


def test_counts_that_do_not_fill_the_image_are_refused():
    for counts_ in ([], [767], [769], "", "0", "PPPPPO"):
        mask = CocoMask(segments_of({"size": [24, 32], "counts": counts_}), place="a.json, images[3]")
        with pytest.raises(
            DataError, match=re.escape("a.json, images[3]: run lengths do not add up to 32 x 24 pixels")
        ):
            mask.read((32, 24))


def test_a_polygon_far_outside_is_refused():
    mask = CocoMask(segments_of([[0, 0, 1e8, 0, 5, 5]]))
    with pytest.raises(DataError, match=re.escape("a polygon lies far outside the 32 x 24 image")):
        mask.read((32, 24))


_KEYS = (
    "id",
    "image_id",
    "category_id",
    "file_name",
    "name",
    "bbox",
    "segmentation",
    "size",
    "counts",
    "width",
    "height",
)
_VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.sampled_from("0PO~x./\0"), max_size=8)
    | st.sampled_from([0, 1, 24, 32, 768, "0.png", "../x"])
)
_JSON = st.recursive(
    _VALUES,
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.sampled_from(_KEYS), inner, max_size=6),
    max_leaves=20,
)
_ENTRIES = st.lists(st.fixed_dictionaries({"id": st.just(0), "file_name": st.just("0.png")}) | _JSON, max_size=2)
_NOTES = st.lists(
    st.fixed_dictionaries(
        {"image_id": st.just(0), "category_id": st.just(1)},
        optional={
            "bbox": st.lists(_VALUES | st.floats(-9, 40), min_size=4, max_size=4) | _JSON,
            "segmentation": st.lists(st.lists(st.floats(-99, 99) | _VALUES, max_size=8), max_size=2)
            | st.fixed_dictionaries(
                {
                    "size": st.just([24, 32]),
                    "counts": st.text(st.sampled_from("0PO`o"), max_size=9) | st.lists(st.integers(0, 768)),
                }
            )
            | _JSON,
        },
    )
    | _JSON,
    max_size=3,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.fixed_dictionaries(
        {"images": _ENTRIES, "annotations": _NOTES, "categories": st.just(TYPES) | _JSON}
    ).map(json.dumps)
    | _JSON.map(json.dumps)
    | st.binary()
)
def test_whatever_a_file_holds_the_error_names_it(tmp_path: Path, content: str | bytes):
    file = tmp_path / "test.json"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    if not (tmp_path / "0.png").exists():
        draw(tmp_path / "0.png")
    listing = told(lambda: coco(Source(root=tmp_path)))
    if isinstance(listing, str):
        assert listing.startswith(str(file))
        return
    for sample in listing.parts["test"]:
        boxes = told(lambda sample=sample: sample.boxes)
        if isinstance(boxes, str):
            assert boxes.startswith(str(file))
        else:
            assert all(0 <= x0 < x1 <= 32 and 0 <= y0 < y1 <= 24 for x0, y0, x1, y1 in boxes if not sample.stated_boxes)
