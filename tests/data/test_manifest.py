from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adfm.data.images import read_image
from adfm.data.manifest import Manifest, read_manifest, write_manifest
from adfm.data.masks import MaskFiles
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
    (sample,) = read_manifest(path, knowledge={"plate": "Plates are flat."})
    assert (sample.id, sample.width, sample.height) == ("a.png", 40, 30)
    assert sample.boxes == ((10.0, 5.0, 16.0, 9.0),)
    assert sample.knowledge == "Plates are flat."


def test_what_is_written_is_read_back(folder: Path):
    question = Question(text="What is wrong?", options={"A": "a crack", "B": "nothing"}, answer="A", kind="type")
    samples = [
        Sample(
            id="one",
            image=folder / "a.png",
            stated_size=(40, 30),
            category="plate",
            anomalous=True,
            defect_type="crack",
            stated_boxes=((10.0, 5.0, 16.0, 9.0),),
            mask=MaskFiles((folder / "a_mask.png",)),
            references=(folder / "b.png",),
            knowledge="Flat.",
            question=question,
            attributes={"bin": "easy", "contrast": 2.5},
        ),
        Sample(id="two", image=folder / "b.png", stated_size=(40, 30), category="plate", anomalous=False),
    ]
    write_manifest(folder / "train.jsonl", samples)
    assert list(Manifest(folder).split("train")) == samples
    assert isinstance(Manifest(folder), Dataset)


GOOD = {"image": "b.png", "category": "plate", "anomalous": False}
SIZE = {"width": 40, "height": 30}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not JSON (Expecting property name enclosed in double quotes: line 1 column 2 (char 1))"),
        ("[]", "not a JSON object"),
        ({"image": "a.png"}, "lacks category, anomalous"),
        (
            GOOD | {"label": 1},
            "unknown key label; known are anomalous, attributes, boxes, category, defect_type, height, ",
        ),
        (GOOD | {"anomalous": 1}, "anomalous must be true or false, not 1"),
        (GOOD | {"image": "c.png"}, "{folder}/c.png: no such file"),
        (GOOD | {"mask": "c.png"}, "{folder}/c.png: no such file"),
        (GOOD | {"image": "../b.png"}, "path '../b.png' leaves the manifest's folder"),
        (GOOD | {"boxes": [[0, 0, 1, 1]]}, "has boxes but anomalous is false"),
        (GOOD | {"boxes": [[0, 0, 1]]}, "box [0, 0, 1] is not [x0, y0, x1, y1]"),
        (
            GOOD | SIZE | {"boxes": [[0, 0, 41, 1]]},
            "box [0, 0, 41, 1] does not lie in the 40 x 30 image",
        ),
        (GOOD, "id 'b.png' was already used in line 1"),
    ],
)
def test_a_wrong_line_is_named(folder: Path, line: object, message: str):
    path = _write(folder, GOOD, line)
    with pytest.raises(DataError, match=re.escape(f"{path}, line 2: {message.format(folder=folder)}")):
        Manifest(folder)


def test_a_folder_without_manifest_is_named(folder: Path):
    with pytest.raises(DataError, match=re.escape(f"{folder}: has none of train.jsonl, val.jsonl, test.jsonl")):
        Manifest(folder)


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
