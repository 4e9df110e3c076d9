from __future__ import annotations

import re
from pathlib import Path

import pytest
from data_support import opened
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trees import counts, draw, samples, told

from adfm.data.benchmark import Source
from adfm.data.layouts.deeppcb import deeppcb, read_defects
from adfm.errors import ConfigError, DataError

BOARD = "printed circuit board"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Five pairs of one group to train on, one of another to test."""
    home = tmp_path / "PCBData"
    for group, numbers, split in (("00041", range(5), "trainval.txt"), ("20085", (7,), "test.txt")):
        rows = []
        for number in numbers:
            name = f"{group}{number:03d}"
            for kind in ("test", "temp"):
                draw(home / f"group{group}" / group / f"{name}_{kind}.jpg", (2, 2, 9, 5))
            text = home / f"group{group}" / f"{group}_not" / f"{name}.txt"
            text.parent.mkdir(exist_ok=True)
            text.write_text("2 3 10 12 4\n12 3 20 9 6\n1 1 5 5 6\n\n")
            rows.append(f"group{group}/{group}/{name}.jpg group{group}/{group}_not/{name}.txt\n")
        (home / split).write_text("".join(rows))
    return tmp_path


def test_each_board_comes_with_its_template(root: Path):
    assert counts(opened("deeppcb", root)) == {
        "train": {(BOARD, "pin hole"): 4, (BOARD, None): 4},
        "val": {(BOARD, "pin hole"): 1, (BOARD, None): 1},
        "test": {(BOARD, "pin hole"): 1, (BOARD, None): 1},
    }


@pytest.mark.parametrize("home", ["", "PCBData"])
def test_boxes_types_and_reference(root: Path, home: str):
    template, board = deeppcb(Source(root=root / home)).parts["test"]
    assert (template.id, template.anomalous) == ("group20085/20085/20085007_temp", False)
    assert (board.id, board.defect_type) == ("group20085/20085/20085007_test", "pin hole")
    assert board.boxes == ((2.0, 3.0, 10.0, 12.0), (12.0, 3.0, 20.0, 9.0), (1.0, 1.0, 5.0, 5.0))
    assert board.attributes == {"defects": "2 pin hole, 1 spur"}
    assert board.references == (template.image,)
    assert opened("deeppcb", root / home).split("test")[1].references == (template.image,)
    assert (board.mask, board.stated_size, board.size) == (None, None, (32, 24))


def test_a_group_is_a_category(root: Path):
    found = samples(opened("deeppcb", root, "dataset.category=group20085"))
    assert sorted(found) == ["group20085/20085/20085007_temp", "group20085/20085/20085007_test"]
    with pytest.raises(ConfigError, match=re.escape("dataset.category=group1: not in")):
        opened("deeppcb", root, "dataset.category=group1").split("test")


def test_damage_is_named(root: Path):
    home = root / "PCBData"
    text = home / "group20085" / "20085_not" / "20085007.txt"
    for line, message in (
        ("1 1 5 5 7", "must be x1 y1 x2 y2 and a type from 1 to 6, not '1 1 5 5 7'"),
        ("1 1 5 5", "must be x1 y1 x2 y2 and a type from 1 to 6, not '1 1 5 5'"),
        ("1 1 x 5 2", "'x' is not a number"),
        ("9 1 5 5 2", "box from (9, 1) to (5, 5) has no area in the image"),
    ):
        text.write_text(f"1 1 5 5 1\n{line}\n")
        with pytest.raises(DataError, match=re.escape(f"{home}/test.txt, line 1: {text}, line 2: {message}") + "$"):
            deeppcb(Source(root=root))
    text.write_text("\n")
    with pytest.raises(DataError, match=re.escape(f"{text}: names no defect")):
        deeppcb(Source(root=root))
    (home / "group20085" / "20085" / "20085007_temp.jpg").unlink()
    missing = f"{home}/test.txt, line 1: {home}/group20085/20085/20085007_temp.jpg: no such image"
    with pytest.raises(DataError, match=re.escape(missing)):
        deeppcb(Source(root=root))
    (home / "test.txt").write_text("group20085/20085/20085007.jpg ../secret.txt\n")
    with pytest.raises(DataError, match=re.escape(f"{home}/test.txt, line 1: path '../secret.txt' does not stay in")):
        deeppcb(Source(root=root))
    (home / "test.txt").write_text("one two three\n")
    with pytest.raises(DataError, match=re.escape(f"{home}/test.txt, line 1: must name an image and a text file")):
        deeppcb(Source(root=root))
    (home / "test.txt").unlink()
    with pytest.raises(DataError, match=re.escape(f"{root}: has no test.txt, nor has PCBData in it")):
        opened("deeppcb", root).split("test")


_LINES = st.lists(st.lists(st.sampled_from(["1", "6", "7", "-3", "1e999", "nan", "9" * 400, "x"]), max_size=6))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=_LINES.map(lambda lines: "\n".join(" ".join(line) for line in lines).encode()) | st.binary())
def test_whatever_a_text_file_holds_the_error_names_it(tmp_path: Path, content: bytes):
    file = tmp_path / "1.txt"
    file.write_bytes(content)
    found = told(lambda: read_defects(file))
    if isinstance(found, str):
        assert found.startswith(str(file))
    else:
        types, boxes = found
        assert len(types) == len(boxes) > 0
        assert all(0 <= x0 < x1 and 0 <= y0 < y1 for x0, y0, x1, y1 in boxes)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.text(st.sampled_from("ab/. \n\0"), max_size=30).map(str.encode) | st.binary())
def test_whatever_a_split_file_holds_the_error_names_it(tmp_path: Path, content: bytes):
    (tmp_path / "trainval.txt").write_bytes(content)
    (tmp_path / "test.txt").write_text("")
    with pytest.raises(DataError, match=re.escape(str(tmp_path))):
        deeppcb(Source(root=tmp_path))
