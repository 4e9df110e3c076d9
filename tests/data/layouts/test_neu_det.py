from __future__ import annotations

import re
from pathlib import Path

import pytest
from data_support import opened
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trees import SIZE, counts, draw, samples, told

from adfm.data.benchmark import Source
from adfm.data.layouts.neu_det import neu_det
from adfm.data.layouts.voc import read_voc
from adfm.errors import DataError

STEEL = "hot-rolled steel strip"
OBJECT = "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"


def _xml(*objects: tuple[str, int, int, int, int], size: tuple[int, int] = SIZE) -> str:
    found = "".join(OBJECT.format(*one) for one in objects)
    return (
        f"<annotation><filename>wrong</filename><size><width>{size[0]}</width><height>{size[1]}</height></size>"
        f"{found}</annotation>"
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """As on Kaggle: 5 + 1 images of two types, one with its annotation in the wrong part."""
    home = tmp_path / "NEU-DET"
    for kind in ("crazing", "rolled-in_scale"):
        for number in range(6):
            part = "train" if number < 5 else "validation"
            draw(home / part / "images" / kind / f"{kind}_{number}.jpg")
            told = "validation" if (kind, number) == ("crazing", 0) else part
            file = home / told / "annotations" / f"{kind}_{number}.xml"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(_xml((kind, 1, 2, 10, 12), ("inclusion", 3, 3, 4, 4), (kind, 20, 20, 40, 24)))
    return tmp_path


def test_validation_is_what_is_left_to_test(root: Path):
    assert counts(opened("neu_det", root)) == {
        "train": {(STEEL, "crazing"): 4, (STEEL, "rolled-in scale"): 4},
        "val": {(STEEL, "crazing"): 1, (STEEL, "rolled-in scale"): 1},
        "test": {(STEEL, "crazing"): 1, (STEEL, "rolled-in scale"): 1},
    }


def test_boxes_count_from_one_and_are_cut_at_the_edge(root: Path):
    sample = samples(opened("neu_det", root))["train/images/crazing/crazing_0"]
    assert sample.boxes == ((0.0, 1.0, 10.0, 12.0), (2.0, 2.0, 4.0, 4.0), (19.0, 19.0, 32.0, 24.0))
    assert sample.attributes == {"defects": "2 crazing, 1 inclusion"}
    assert (sample.stated_size, sample.mask, sample.references) == (SIZE, None, ())


def test_the_original_has_no_parts(tmp_path: Path):
    draw(tmp_path / "IMAGES" / "patches_1.jpg")
    (tmp_path / "ANNOTATIONS").mkdir()
    (tmp_path / "ANNOTATIONS" / "patches_1.xml").write_text(_xml(("patches", 1, 1, 5, 5)))
    listing = neu_det(Source(root=tmp_path))
    assert {part: len(found) for part, found in listing.parts.items()} == {"train": 0, "val": 0, "test": 1}


def test_damage_is_named(root: Path):
    home = root / "NEU-DET"
    file = home / "train" / "annotations" / "crazing_1.xml"
    for content, message in (
        (_xml(("crazing", 5, 5, 3, 9)), ", object 1: box from (4, 4) to (3, 9) has no area in the 32 x 24 image"),
        (_xml(("crazing", 1, 1, 5, 5), ("", 1, 1, 5, 5)), ", object 2: has no <name>"),
        (_xml(("crazing", 1, 1, 5, 5)).replace("<xmax>5", "<xmax>five"), ", object 1: 'five' is not a number"),
        (_xml(("crazing", 1, 1, 5, 5), size=(0, 9)), ": size 0 x 9 is not that of an image"),
        (_xml(), ": has no object"),
        ("<annotation>", ": not XML (no element found"),
        ("<html/>", ": starts with <html>, not <annotation>"),
    ):
        file.write_text(content)
        with pytest.raises(DataError, match=re.escape(f"{file}{message}")):
            opened("neu_det", root).split("train")
    file.unlink()
    image = home / "train" / "images" / "crazing" / "crazing_1.jpg"
    with pytest.raises(DataError, match=re.escape(f"{image}: there is no annotation of this name in {home}")):
        opened("neu_det", root).split("train")
    file.write_text(_xml(("crazing", 1, 1, 5, 5)))
    image.unlink()
    with pytest.raises(DataError, match=re.escape(f"{file}: there is no image of this name in {home}")):
        opened("neu_det", root).split("train")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_are_refused(tmp_path: Path, encoding: str):
    file = tmp_path / "bomb.xml"
    entities = "".join(f'<!ENTITY b{n} "{f"&b{n - 1};" * 10}">' for n in range(1, 10))
    bomb = f'<!DOCTYPE a [<!ENTITY b0 "boom">{entities}]><annotation>&b9;</annotation>'
    file.write_bytes(f'<?xml version="1.0" encoding="{encoding}"?>{bomb}'.encode(encoding))
    with pytest.raises(DataError, match=re.escape(f"{file}: declares a document type")):
        read_voc(file)


_TEXTS = st.sampled_from(["1", "0", "-5", "9e999", "nan", "", " 7 ", "&amp;", "1.5", "9" * 5000, "x"])
_FIELDS = ("width", "height", "name", "xmin", "ymin", "xmax", "ymax", "size", "object", "bndbox", "annotation")
_NODES = st.recursive(
    _TEXTS, lambda inner: st.lists(st.tuples(st.sampled_from(_FIELDS), inner), max_size=6).map(lambda found: found)
)


def _written(node: str | list) -> str:
    return node if isinstance(node, str) else "".join(f"<{name}>{_written(inner)}</{name}>" for name, inner in node)


_SHAPED = st.tuples(*[_TEXTS] * 7).map(
    lambda told: (
        f"<size><width>{told[0]}</width><height>{told[1]}</height></size>"
        + OBJECT.format("dent", *(told[2:6]))
        + OBJECT.format(told[6], 1, 1, 2, 2)
    )
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=(_NODES.map(_written) | _SHAPED).map(lambda text: f"<annotation>{text}</annotation>".encode()) | st.binary()
)
def test_whatever_an_annotation_holds_the_error_names_it(tmp_path: Path, content: bytes):
    file = tmp_path / "1.xml"
    file.write_bytes(content)
    found = told(lambda: read_voc(file))
    if isinstance(found, str):
        assert found.startswith(str(file))
    else:
        assert len(found.types) == len(found.boxes)
        assert all(0 <= x0 < x1 and 0 <= y0 < y1 for x0, y0, x1, y1 in found.boxes)
