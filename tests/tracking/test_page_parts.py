import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from fake_run import CONFIG
from PIL import Image

from adfm.masks.rle import union_rle
from adfm.tracking.html import difference, report
from adfm.tracking.html.cards import Said
from adfm.tracking.html.folder import RunFiles
from adfm.tracking.html.layers import COLOURS, OPACITY, is_empty, mask_png
from adfm.tracking.html.mentions import pieces, written_in
from adfm.tracking.html.pictures import Pictures, small


def test_a_mask_becomes_a_transparent_picture_in_its_colour() -> None:
    mask = np.zeros((1, 4, 6), bool)
    mask[0, 1:3, 2:5] = True
    png = base64.b64decode(mask_png(union_rle(mask), "true").partition(",")[2])
    with Image.open(io.BytesIO(png)) as opened:
        drawn = np.asarray(opened.convert("RGBA"))
    assert drawn.shape == (4, 6, 4)
    assert (drawn[..., 3] == np.where(mask[0], OPACITY, 0)).all()
    assert tuple(drawn[1, 2, :3]) == COLOURS["true"]


def test_a_line_of_one_pixel_outlives_the_small_picture() -> None:
    mask = np.zeros((1, 3000, 2000), bool)
    mask[0, :, 1001] = True
    png = base64.b64decode(mask_png(union_rle(mask), "predicted").partition(",")[2])
    assert len(png) < 2000
    with Image.open(io.BytesIO(png)) as opened:
        drawn = np.asarray(opened.convert("RGBA"))[..., 3]
    assert drawn.shape == (320, 213)
    assert (drawn > 0).any(axis=1).all()


def test_an_empty_mask_is_known() -> None:
    mask = np.zeros((1, 4, 6), bool)
    assert is_empty(union_rle(mask))
    mask[0, 0, 0] = True
    assert not is_empty(union_rle(mask))


def test_text_names_boxes_by_their_numbers() -> None:
    text = "one at [1, 2, 3, 4.5], one at [ 5,6,7,8 ], again [1.0, 2, 3, 4.5] and [x]"
    written = [(5.0, 6.0, 7.0, 8.0), (1.0, 2.0, 3.0, 4.5)]
    found = pieces(text, written)
    assert [box for _, box in found if box is not None] == [1, 0, 1]
    assert "".join(piece for piece, _ in found) == text
    assert pieces(text, []) == pieces(text, [(9.0, 9.0, 9.0, 9.0)])


def test_boxes_of_a_text_are_told_apart_only_by_their_number() -> None:
    text = "[1, 2, 3, 4] and [5, 6, 7, 8]"
    assert written_in([text], 2) == ((1, 2, 3, 4), (5, 6, 7, 8))
    assert written_in([text], 1) == ()


def test_long_text_is_cut_and_says_so() -> None:
    said = Said(kind="right", verdict=True, stages={"think": "a" * 50, "answer": "b"}, text="")
    assert said.cut(100) == [("think", "a" * 50), ("answer", "b")]
    (_, think), (_, answer) = said.cut(20)
    assert think == "a" * 20 + " … (30 more characters in the file)"
    assert answer == " … (1 more characters in the file)"


def test_pictures_shrink_until_they_fit(tmp_path: Path) -> None:
    path = tmp_path / "noise.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (500, 700, 3), dtype=np.uint8)).save(path)
    for most in (60_000, 20_000, 6_000):
        drawn = small(path, most)
        assert drawn is not None
        assert most / 3 < len(drawn) <= most
    (tmp_path / "text.png").write_text("no image")
    assert small(tmp_path / "text.png", 1000) is None


def test_a_page_of_many_pictures_keeps_to_its_budget(tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    pictures = Pictures(tmp_path)
    for number in range(20):
        path = tmp_path / f"{number}.jpg"
        Image.fromarray(noise.integers(0, 256, (300, 300, 3), dtype=np.uint8)).save(path)
        assert pictures.add(path.name, 300, 300) == f"p{number}"
    assert pictures.add("0.jpg", 300, 300) == "p0"
    pictures.add("gone.png", 40, 30)
    drawn = pictures.defined(200_000)
    assert 60_000 < len(drawn) < 200_000
    assert drawn.count("<image ") == 20
    assert drawn.count("image not readable") == 1
    assert pictures.address("gone.png") is None


def test_only_what_differs_between_two_runs_is_listed(run_folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "runs" / "other-1"
    other.mkdir()
    (other / "config.yaml").write_text(CONFIG.replace("beta: 0.0", "clip: 0.2").replace("seed: 0", "seed: 3"))
    (other / "env.json").write_text(json.dumps({"cpus": 2}))
    config, environment = difference.tables(RunFiles.read(run_folder), RunFiles.read(other))
    assert [(key, [cell.text for cell in cells]) for key, cells in config.rows] == [
        ("seed", ["0", "3"]),
        ("objective.beta", ["0.0", "—"]),
        ("objective.clip", ["—", "0.2"]),
    ]
    assert [key for key, _ in environment.rows] == ["cpus"]
    page = report.write(run_folder, against=other).read_text(encoding="utf-8")
    assert "Config: difference from other-1" in page
    assert "objective.beta" in page


@pytest.mark.parametrize("image", ["", "gone.png"])
def test_no_file_has_no_address(tmp_path: Path, image: str) -> None:
    assert Pictures(tmp_path).address(image) is None
