from __future__ import annotations

import csv
import json
import math
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_support import opened
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from adfm.data.coco_masks import CocoMask, RunLengths
from adfm.data.images import read_image
from adfm.data.kept import store
from adfm.data.manifest import PARTS, Manifest, export, read_manifest, write_manifest
from adfm.data.masks import MaskFiles
from adfm.data.rows import KEYS, Reader
from adfm.errors import DataError
from adfm.types import Dataset, Question, Sample


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two images and a mask whose defect is 6 x 4 pixels at (10, 5)."""
    monkeypatch.setenv("ADFM_CACHE", str(tmp_path / "cache"))
    Image.new("RGB", (40, 30), (90, 120, 90)).save(tmp_path / "a.png")
    Image.new("L", (40, 30), 90).save(tmp_path / "b.png")
    mask = np.zeros((30, 40), np.uint8)
    mask[5:9, 10:16] = 200
    mask[20, 20] = 127
    Image.fromarray(mask).save(tmp_path / "a_mask.png")
    return tmp_path


def _write(folder: Path, *lines: object) -> Path:
    path = folder / "train.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return path


def test_the_shortest_line_is_completed_from_the_image_and_the_mask(folder: Path):
    path = _write(folder, {"image": "a.png", "category": "plate", "anomalous": True, "mask": "a_mask.png"})
    (sample,) = read_manifest(path, Reader(root=folder, knowledge={"plate": "Plates are flat."}))
    assert (sample.id, sample.width, sample.height) == ("a.png", 40, 30)
    assert sample.boxes == ((10.0, 5.0, 16.0, 9.0),)
    assert sample.knowledge == "Plates are flat."


QUESTION = Question(text="What is wrong?", options={"A": "a crack", "B": "nothing"}, answer="A", kind="type")
RUNS = RunLengths((40, 30), (30 * 10 + 5, 4, 30 * 30 - 9))
"""Of one column of four pixels, at (10, 5)."""


def _samples(folder: Path) -> list[Sample]:
    """One sample with everything, one with nothing, and one for each kind of mask."""
    whole = Sample(
        id="one",
        image=folder / "a.png",
        stated_size=(40, 30),
        category="plate",
        anomalous=True,
        defect_type="crack",
        stated_boxes=((10.0, 5.0, 16.1, 9.0),),
        mask=MaskFiles((folder / "a_mask.png",)),
        references=(folder / "b.png",),
        knowledge='Flat,\u2028and "grey".\n',
        question=QUESTION,
        attributes={"bin": "easy", "contrast": 2.5, "count": 3},
    )
    masks = (
        MaskFiles((folder / "a_mask.png",), above=None),
        MaskFiles((folder / "a_mask.png", folder / "b.png"), above=0, dilation=0.0, min_area=1),
        CocoMask((RUNS,)),
        CocoMask((replace(RUNS, counts="ab?"), (1.0, 2.0, 9.5, 2.0, 9.5, 8.0)), dilation=0.2),
    )
    return [
        whole,
        Sample(id="two", image=folder / "b.png", category="plate", anomalous=False),
        replace(whole, id="empty boxes", anomalous=False, defect_type=None, stated_boxes=(), mask=None),
        *(replace(whole, id=f"mask {number}", stated_boxes=None, mask=mask) for number, mask in enumerate(masks)),
    ]


def test_what_is_written_is_read_back(folder: Path):
    write_manifest(folder / "train.jsonl", _samples(folder))
    assert list(Manifest(folder).split("train")) == _samples(folder)
    assert isinstance(Manifest(folder), Dataset)


class Parts:
    """A data set that holds given parts."""

    name = "given"

    def __init__(self, **parts: list[Sample]) -> None:
        self.parts = parts

    def split(self, name: str) -> list[Sample]:
        return self.parts.get(name, [])

    def fingerprint(self) -> str:
        return "0" * 16


def _parts(data: Dataset) -> dict[str, list[Sample]]:
    return {part: list(data.split(part)) for part in PARTS}


def test_a_second_round_trip_through_an_export_is_identical(folder: Path, tmp_path_factory: pytest.TempPathFactory):
    one, *others = _samples(folder)
    given = Parts(train=others, test=[one])
    out = tmp_path_factory.mktemp("out")
    for target in (out / "first", out / "second"):
        target.mkdir()
        assert export(given, target) == folder
        given = Manifest(folder, manifest=target)
        assert _parts(given) == {"train": others, "val": [], "test": [one]}
    assert (out / "first" / "manifest.jsonl").read_bytes() == (out / "second" / "manifest.jsonl").read_bytes()


def test_an_export_is_whole_or_not_there(folder: Path):
    class Grown(MaskFiles):
        """Of another kind, which only its name tells."""

    out, samples = folder / "out", _samples(folder)
    out.mkdir()
    with pytest.raises(DataError, match=f"^mask 0: {folder}/a_mask.png does not lie in {folder}/else$"):
        export(Parts(test=[replace(samples[3], image=folder / "else" / "a.png", references=())]), out, folder / "else")
    with pytest.raises(DataError, match=r"^two: a manifest has no form for a mask of the kind Grown$"):
        export(Parts(train=samples[:1], test=[replace(samples[1], mask=Grown(()))]), out)
    with pytest.raises(DataError, match="no part has a sample, so there is nothing to write"):
        export(Parts(), out)
    assert not list(out.iterdir())
    (out / "val.csv").write_text("")
    with pytest.raises(DataError, match=re.escape(f"{out}: holds another manifest (val.csv); take an empty folder")):
        export(Parts(train=samples), out)


def test_a_run_keeps_its_split(folder: Path, monkeypatch: pytest.MonkeyPatch):
    samples = _samples(folder)
    store(Parts(train=samples[:2], val=samples[2:]), folder / "data")
    about = json.loads((folder / "data" / "about.json").read_text())
    assert about == {"dataset": "given", "train": 2, "val": 5, "test": 0, "root": str(folder)}
    assert _parts(Manifest(about["root"], manifest=folder / "data"))["val"] == samples[2:]
    monkeypatch.setattr("adfm.data.kept.STORED_ROWS", 6)
    store(Parts(train=samples[:2], val=samples[2:]), folder / "large")
    assert (folder / "large" / "manifest.jsonl").read_text().splitlines()[1] == '{"split": "train", "id": "two"}'
    assert json.loads((folder / "large" / "about.json").read_text())["ids_only"] == "more than 6 samples"


def test_relative_and_absolute_paths_have_a_root_in_common(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(folder)
    given = Sample(id="x", image=Path("a.png"), category="plate", anomalous=False, references=(folder / "b.png",))
    (folder / "out").mkdir()
    assert export(Parts(train=[given]), folder / "out") == folder
    assert Manifest(folder, manifest=folder / "out").split("train") == [replace(given, image=folder / "a.png")]


FLAT = {
    "image": "a.png",
    "category": "plate",
    "label": "Bad",
    "type": "crack",
    "split": "val",
    "mask": ["a_mask.png", "b.png"],
    "boxes": [[10, 5, 16, 9]],
    "references": ["b.png"],
    "question": "What is wrong?",
    "options": ["a crack", "nothing"],
    "answer": "A",
    "kind": "type",
    "attributes": {"count": 3},
}
"""Of the short names, as a row of CSV or parquet holds them."""
NORMAL = {"image": "b.png", "category": "plate", "label": "normal", "type": "good", "split": "train"}


def _csv(path: Path, *rows: dict[str, Any]) -> None:
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for row in rows:
            writer.writerow({k: json.dumps(v) if isinstance(v, list | dict) else v for k, v in row.items()})


def _parquet(path: Path, *rows: dict[str, Any]) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="parquet manifests need pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)


def _jsonl(path: Path, *rows: dict[str, Any]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


WRITERS = {"manifest.csv": _csv, "manifest.parquet": _parquet, "manifest.jsonl": _jsonl}


@pytest.mark.parametrize("name", WRITERS)
def test_short_names_mean_the_same_in_every_kind_of_file(folder: Path, name: str):
    lists = folder / "lists"
    lists.mkdir()
    WRITERS[name](lists / name, FLAT, NORMAL)
    data = Manifest(folder, manifest=lists / name)
    assert _parts(data) == {
        "train": [Sample(id="b.png", image=folder / "b.png", category="plate", anomalous=False)],
        "val": [
            Sample(
                id="a.png",
                image=folder / "a.png",
                category="plate",
                anomalous=True,
                defect_type="crack",
                mask=MaskFiles((folder / "a_mask.png", folder / "b.png"), above=None),
                stated_boxes=((10.0, 5.0, 16.0, 9.0),),
                references=(folder / "b.png",),
                question=QUESTION,
                attributes={"count": 3},
            )
        ],
        "test": [],
    }


@pytest.mark.parametrize("label", ["TRUE", 1, "1", "anomalous", "ng"])
def test_labels_are_words_or_numbers(folder: Path, label: object):
    path = _write(folder, {"image": "a.png", "category": 7, "label": label, "width": "40", "height": 30.0})
    (sample,) = read_manifest(path)
    assert (sample.anomalous, sample.category, sample.stated_size) == (True, "7", (40, 30))


def test_rows_without_a_part_are_divided(folder: Path):
    (folder / "mine.csv").write_text(
        "image,category,label\n" + "".join(f"{number}.png,plate,{number % 2}\n" for number in range(20))
    )
    with pytest.raises(DataError, match=re.escape("'0.png' lacks split (train, val, test); add it, or choose a split")):
        Manifest(folder, manifest=folder / "mine.csv")
    data = opened("manifest", folder, f"dataset.manifest={folder}/mine.csv", "dataset/split=fraction")
    assert {part: len(samples) for part, samples in _parts(data).items()} == {"train": 4, "val": 2, "test": 14}


def test_a_file_that_is_missing_is_named_when_it_is_needed(folder: Path):
    _write(folder, GOOD, GOOD | {"image": "c.png"})
    data = Manifest(folder)
    with pytest.raises(DataError, match=re.escape(f"{folder / 'c.png'}: no such image")):
        _ = data.split("train")[1].size
    with pytest.raises(DataError, match=re.escape(f"{folder / 'c.png'}: cannot be read (No such file")):
        data.fingerprint()


def test_a_link_inside_the_root_is_followed(folder: Path, tmp_path_factory: pytest.TempPathFactory):
    disk = tmp_path_factory.mktemp("disk")
    Image.new("L", (12, 10)).save(disk / "x.png")
    (folder / "linked").symlink_to(disk)
    _write(folder, GOOD | {"image": "linked/x.png"})
    assert Manifest(folder).split("train")[0].size == (12, 10)


GOOD = {"image": "b.png", "category": "plate", "anomalous": False}
SIZE = {"width": 40, "height": 30}
ASKED = {"question": "What?", "options": {"A": "x"}}
MASK = "mask must be a path, several, COCO's size and counts, polygons, or an object with files or segments, not "


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not JSON (Expecting property name enclosed in double quotes: line 1 column 2 (char 1))"),
        ("[" * 100_000, "not JSON (nested too deep)"),
        ("[]", "not a JSON object"),
        ({"image": "a.png", "category": None}, "lacks category, anomalous"),
        (GOOD | {"tags": 1}, "unknown key tags; known are anomalous, answer, attributes, boxes, category, "),
        (GOOD | {"label": 1}, "has both label and anomalous, which mean the same"),
        (GOOD | {"anomalous": 2}, "anomalous must be true or false (or one of false, 0, normal, good, ok, true, 1"),
        (GOOD | {"split": "dev"}, "split must be train, val, test, not 'dev'"),
        (GOOD | {"category": "a\ud800"}, "category 'a\\ud800' is not valid Unicode (surrogates not allowed)"),
        (GOOD | {"image": "../b.png"}, "image: path '../b.png' leaves {folder}"),
        (GOOD | {"image": "/b.png"}, "image: path '/b.png' leaves {folder}"),
        (GOOD | {"references": ["x/../../b.png"]}, "references: path 'x/../../b.png' leaves {folder}"),
        (GOOD | {"references": "b.png"}, "references must be a list, not 'b.png'"),
        (GOOD | {"image": "./"}, "image: './' names no file"),
        (GOOD | {"image": "b\0.png"}, "image: 'b\\x00.png' names no file"),
        (GOOD | {"mask": 3}, "mask: 3 is not a path"),
        (GOOD | {"mask": []}, f"{MASK}[]"),
        (GOOD | {"mask": {"files": ["a.png"], "segments": []}}, MASK),
        (GOOD | {"mask": {"files": ["a.png"], "above": 256}}, "mask: above must be a whole number up to 255, not 256"),
        (GOOD | {"mask": {"size": [4, "4"], "counts": [16]}}, "run lengths need size: [height, width]"),
        (GOOD | {"defect_type": "crack"}, "has defect_type 'crack' but anomalous is false"),
        (GOOD | {"boxes": [[0, 0, 1, 1]]}, "has boxes but anomalous is false"),
        (GOOD | {"boxes": [[0, 0, 1]]}, "box [0, 0, 1] is not [x0, y0, x1, y1]"),
        (GOOD | {"boxes": [[0, 0, True, 1]]}, "box [0, 0, True, 1] is not [x0, y0, x1, y1]"),
        (GOOD | {"boxes": [[0, 0, math.inf, 1]]}, "box [0, 0, inf, 1] does not lie in the image"),
        (GOOD | {"boxes": [[0, 0, 10**40, 1e400]]}, f"box [0, 0, {10**40}, inf] does not lie in the image"),
        (GOOD | {"boxes": [[0, 0, 10**400, 1]]}, f"box [0, 0, {10**400}, 1] does not lie in the image"),
        (GOOD | SIZE | {"boxes": [[0, 0, 41, 1]]}, "box [0, 0, 41, 1] does not lie in the 40 x 30 image"),
        (GOOD | {"width": 40}, "height must be a whole number, not None"),
        (GOOD | SIZE | {"width": 0.5}, "width must be a whole number, not 0.5"),
        (GOOD | SIZE | {"width": 0}, "an image of 0 x 30 pixels has no content"),
        (GOOD | {"attributes": {"a": [1]}}, "attributes: a must be a text, not [1]"),
        (GOOD | ASKED, "question: lacks answer"),
        (GOOD | ASKED | {"answer": "B"}, "question: answer 'B' is not one of A"),
        (GOOD | ASKED | {"answer": "A", "options": "x"}, "question: options must map letters to texts, or list"),
        (GOOD | {"answer": "A", "question": {"text": "What?"}}, "question: is an object that holds its answer"),
        (
            GOOD | {"question": {"text": "?", "options": ["x"], "answer": "A", "hint": "x"}},
            "question: unknown key hint",
        ),
        (GOOD, "id 'b.png' was already used in line 1"),
    ],
)
def test_a_wrong_line_is_named(folder: Path, line: object, message: str):
    path = _write(folder, GOOD, line)
    with pytest.raises(DataError, match=re.escape(f"{path}, line 2: {message.replace('{folder}', str(folder))}")):
        Manifest(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"image,category,label\na.png,plate\n", "line 2: has 2 cells, and the header 3"),
        (b'image,category,label\na.png,plate,"0\n', "line 2: not CSV in UTF-8 (unexpected end of data)"),
        (b"image,category,label\n\xff.png,plate,0\n", "line 2: not CSV in UTF-8 ('utf-8' codec can't decode byte 0xff"),
        (b"image,category,label,boxes\na.png,plate,1,1 2 3 4\n", "line 2: boxes '1 2 3 4' is not JSON (Extra data"),
        (b"image;category;label\na.png;plate;0\n", "line 2: unknown key image;category;label; known are"),
        (b"image,image\n", "has the column 'image' twice"),
        (b"image,category,label\n", "lists no sample"),
    ],
)
def test_wrong_csv_is_named(folder: Path, text: bytes, message: str):
    (folder / "train.csv").write_bytes(text)
    with pytest.raises(DataError, match=re.escape(str(folder)) + ".*" + re.escape(message)):
        Manifest(folder)


def test_parquet_without_pyarrow_says_what_to_install(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (folder / "train.parquet").write_bytes(b"")
    with pytest.raises(DataError, match=r"train.parquet: reading parquet needs pyarrow; pip install pyarrow, or save"):
        Manifest(folder)


def test_a_folder_without_manifest_or_with_two_is_named(folder: Path):
    with pytest.raises(DataError, match=re.escape(f"{folder}: has none of train.jsonl, val.jsonl, test.jsonl")):
        Manifest(folder)
    with pytest.raises(DataError, match=re.escape(f"{folder}/none: no such folder; set dataset.root")):
        Manifest(folder / "none")
    _write(folder, GOOD)
    (folder / "manifest.csv").write_text("")
    with pytest.raises(DataError, match=re.escape(f"{folder}: has train.jsonl and manifest.csv; keep one, or name it")):
        Manifest(folder)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["a.png", "A", "train", "../x"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*"AB", "files", "size", "text"]), inner)
    ),
    max_leaves=8,
)
ROWS = st.builds(
    lambda start, row: start | row,
    st.sampled_from([GOOD, FLAT, NORMAL, {}]),
    st.dictionaries(st.sampled_from(sorted(KEYS)) | st.text(max_size=3), VALUES, max_size=3),
)
FUZZ = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _read_or_told(path: Path) -> None:
    """Read; whatever is wrong must be told with the file."""
    try:
        for sample in read_manifest(path):
            assert sample.image.is_relative_to(path.parent)
            json.dumps(sample.id).encode()
    except DataError as error:
        assert str(error).startswith(str(path))  # noqa: PT017


@FUZZ
@given(rows=st.lists(ROWS, min_size=1, max_size=3))
def test_no_json_row_gives_a_raw_traceback(folder: Path, rows: list[dict[str, Any]]):
    _jsonl(folder / "fuzz.jsonl", *rows)
    _read_or_told(folder / "fuzz.jsonl")


@FUZZ
@given(rows=st.lists(ROWS, min_size=1, max_size=3))
def test_no_csv_row_gives_a_raw_traceback(folder: Path, rows: list[dict[str, Any]]):
    keys = sorted({key for row in rows for key in row} or {"image"})
    try:
        _csv(folder / "fuzz.csv", *({key: row.get(key) for key in keys} for row in rows))
    except UnicodeEncodeError:
        return
    _read_or_told(folder / "fuzz.csv")


@FUZZ
@given(rows=st.lists(ROWS, min_size=1, max_size=3))
def test_no_parquet_row_gives_a_raw_traceback(folder: Path, rows: list[dict[str, Any]]):
    arrow = pytest.importorskip("pyarrow", reason="parquet manifests need pyarrow")
    try:
        _parquet(folder / "fuzz.parquet", *rows)
    except (arrow.ArrowException, ValueError, OverflowError, TypeError):  # columns of several types, half characters
        return
    _read_or_told(folder / "fuzz.parquet")


@FUZZ
@given(content=st.binary(max_size=200), name=st.sampled_from(["fuzz.jsonl", "fuzz.csv"]))
def test_no_bytes_give_a_raw_traceback(folder: Path, content: bytes, name: str):
    (folder / name).write_bytes(content)
    _read_or_told(folder / name)


@FUZZ
@given(place=st.integers(0, 4000), value=st.integers(0, 255))
def test_no_damaged_parquet_gives_a_raw_traceback(folder: Path, place: int, value: int):
    path = folder / "fuzz.parquet"
    _parquet(path, FLAT, NORMAL)
    content = bytearray(path.read_bytes())
    content[place % len(content)] = value
    path.write_bytes(content)
    _read_or_told(path)


def test_unreadable_images_are_named(folder: Path):
    broken = folder / "broken.png"
    broken.write_bytes((folder / "a.png").read_bytes()[:60])
    with pytest.raises(DataError, match=re.escape(f"{broken}: cannot be decoded")):
        read_image(broken)
    broken.write_text("no image")
    with pytest.raises(DataError, match=re.escape(f"{broken}: is not an image that can be read")):
        read_image(broken)
    with pytest.raises(DataError, match=re.escape(f"{folder / 'none.png'}: no such image")):
        read_image(folder / "none.png")


def test_a_mask_is_what_lies_above_127_and_has_the_size_of_its_image(folder: Path):
    mask = MaskFiles((folder / "a_mask.png",)).read((40, 30))
    assert mask.sum() == 24
    with pytest.raises(DataError, match=re.escape(f"{folder / 'a_mask.png'}: the mask is 40 x 30, its image 30 x 40")):
        MaskFiles((folder / "a_mask.png",)).read((30, 40))


def test_the_fingerprint_follows_labels_and_bytes_but_not_the_place(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
):
    _write(folder, GOOD)
    before = Manifest(folder).fingerprint()
    assert Manifest(folder).fingerprint() == before
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for name in ("train.jsonl", "b.png"):
        (elsewhere / name).write_bytes((folder / name).read_bytes())
    assert Manifest(elsewhere).fingerprint() == before
    Image.new("L", (40, 30), 91).save(elsewhere / "b.png")
    assert Manifest(elsewhere).fingerprint() != before
    _write(folder, GOOD | {"category": "disc"})
    assert Manifest(folder).fingerprint() != before


def test_an_unknown_part_is_refused(folder: Path):
    _write(folder, GOOD)
    with pytest.raises(DataError, match=r"no part 'dev'; there are train, val, test"):
        Manifest(folder).split("dev")
