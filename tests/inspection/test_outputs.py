"""What lies in the folder: table, COCO file, pictures, exit status, and whose folder it is."""

from __future__ import annotations

import csv
import io
import json
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from inspection_support import cracked, image, inspected, row
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from adfm.errors import ConfigError
from adfm.evaluation.localization import average_precision
from adfm.inspection import outputs, overlay
from adfm.inspection.folder import Folder
from adfm.inspection.inspected import Inspected


def table(path: Path) -> list[dict[str, str]]:
    raw = path.read_bytes()
    assert raw.startswith(b"\xef\xbb\xbf")
    return list(csv.DictReader(io.StringIO(raw.decode("utf-8-sig"), newline="")))


def test_a_spreadsheet_gets_words_numbers_and_no_formula(tmp_path: Path) -> None:
    broken = inspected("+b.png", predicted=None, score=None, error='cannot be "read", sorry', size=None, stages={})
    wrapped = inspected("ä.png", stages={"think": "-1\nand more"})
    outputs.write_csv(tmp_path / "t.csv", [row(one) for one in (cracked("=a.png"), broken, wrapped)])
    first, second, third = table(tmp_path / "t.csv")
    assert first == {
        "path": "'=a.png",
        "verdict": "anomalous",
        "score": "2.5",
        "probability": "",
        "type": "crack",
        "boxes": "2",
        "largest_box": "2 1 6 3",
        "explanation": "A crack at [2, 1, 6, 3]. =It is real.",
        "error": "",
    }
    assert (second["path"], second["verdict"], second["error"]) == ("'+b.png", "error", 'cannot be "read", sorry')
    assert (second["score"], second["boxes"], second["largest_box"]) == ("", "0", "")
    assert (third["path"], third["score"], third["explanation"]) == ("ä.png", "-1.5", "'-1 and more")


@pytest.mark.parametrize(
    ("images", "status"),
    [
        ([inspected("a")], 0),
        ([inspected("a"), cracked("b")], 1),
        ([inspected("a"), cracked("b"), inspected("c", predicted=None, score=None, error="broken")], 2),
        ([inspected("a", predicted=None)], 2),
    ],
)
def test_the_exit_status_says_the_worst(images: list[Inspected], status: int) -> None:
    assert outputs.exit_status(row(one) for one in images) == status


def test_counts_and_rates() -> None:
    unread = inspected("d", predicted=None)
    broken = inspected("e", predicted=None, error="broken")
    found = outputs.counts([row(one) for one in (inspected("a"), cracked("b"), cracked("c"), unread, broken)])
    assert found["counts"] == {"anomalous": 2, "normal": 1, "unreadable": 1, "error": 1}
    assert found["rates"] == {"anomalous": 2 / 3, "normal": 1 / 3}
    assert outputs.counts([row(broken)])["rates"] == {"anomalous": None, "normal": None}


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    flat = cracked("d", boxes=((5.0, 5.0, 5.0, 9.0),), confidences=(0.9,), mask=None)
    broken = inspected("c", predicted=None, score=None, size=None, error="broken")
    unmasked = cracked("b", mask=None, named_type="rust")
    return [row(one) for one in (cracked("a"), unmasked, broken, flat)]


def test_pycocotools_reads_images_boxes_and_masks(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    outputs.write_coco(tmp_path / "coco.json", rows, ["crack", "dent"])
    found = COCO(str(tmp_path / "coco.json"))
    assert [entry["file_name"] for entry in found.loadImgs(found.getImgIds())] == ["a", "b", "d"]
    assert [entry["name"] for entry in found.loadCats(found.getCatIds())] == ["defect", "crack", "dent"]
    first, second, third, fourth = found.loadAnns(found.getAnnIds())
    assert (first["image_id"], first["category_id"], first["bbox"], first["score"]) == (1, 2, [2, 1, 4, 2], 0.75)
    assert (third["image_id"], third["category_id"]) == (2, 1)
    # half of the first box is mask, nothing of the second; without a mask the whole boxes are
    assert [entry["area"] for entry in (first, second, third, fourth)] == [4, 0, 8, 4]
    pixels = np.asarray(found.annToMask(first))
    assert pixels.shape == (10, 20)
    assert pixels[1:3, 2:4].all()
    assert pixels.sum() == 4
    assert coco_mask.toBbox(third["segmentation"]).tolist() == [2, 1, 4, 2]


def test_the_annotations_are_results_with_the_average_precision_of_an_evaluation(
    tmp_path: Path, rows: list[dict[str, Any]]
) -> None:
    outputs.write_coco(tmp_path / "coco.json", rows, ["crack"])
    content = json.loads((tmp_path / "coco.json").read_text())
    results = COCO(str(tmp_path / "coco.json")).loadRes(content["annotations"])
    read = [one for one in rows if one["error"] is None]
    found = [results.imgToAnns[number] for number in (1, 2, 3)]
    assert [len(one) for one in found] == [2, 2, 0]  # the flat box is left out
    boxes = [[(x, y, x + w, y + h) for x, y, w, h in (entry["bbox"] for entry in one)] for one in found]
    scores = [[entry["score"] for entry in one] for one in found]
    true = [[(2.0, 1.0, 6.0, 3.0)], [(10.0, 5.0, 12.0, 7.0), (0.0, 0.0, 1.0, 1.0)], []]
    read = [one for one in rows if one["error"] is None]
    evaluated = average_precision(
        [[tuple(box) for box in one["boxes"]] for one in read], [one["confidences"] for one in read], true
    )
    assert average_precision(boxes, scores, true) == evaluated
    # by confidence: true .75, false .75, false .5, true .5: precision 1 up to recall 1/3, then 1/2 up to 2/3, then 0
    assert evaluated[0.5] == pytest.approx((34 * 1 + 33 * 0.5) / 101)


def test_no_image_gives_a_coco_file_that_loads(tmp_path: Path) -> None:
    outputs.write_coco(tmp_path / "coco.json", [])
    assert COCO(str(tmp_path / "coco.json")).getImgIds() == []


def test_the_overlay_shows_box_and_mask_and_the_mask_is_black_and_white(tmp_path: Path) -> None:
    file = image(tmp_path / "in.png", (200, 100))
    union = np.zeros((100, 200), np.uint8, order="F")
    union[40:60, 50:90] = 1
    encoded: Any = coco_mask.encode(union)
    mask = {"size": [100, 200], "counts": encoded["counts"].decode()}
    found = cracked("deep/in.png", size=(200, 100), boxes=((50, 40, 100, 60),), confidences=(0.5,), mask=mask)
    assert overlay.write(tmp_path, file, found.row()) == {
        "overlay": "overlay/deep/in.png",
        "mask_file": "mask/deep/in.png",
    }
    pixels = np.asarray(Image.open(tmp_path / "mask" / "deep" / "in.png"))
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, union * 255)
    drawn = np.asarray(Image.open(tmp_path / "overlay" / "deep" / "in.png"))
    red = np.array(overlay.COLOURS["anomalous"])
    assert drawn.shape == (100, 200, 3)
    for y, x in ((40, 50), (59, 50), (40, 99), (59, 99)):  # the box's corners are its outermost pixels
        assert drawn[y, x].tolist() == red.tolist()
    assert np.abs(drawn[50, 70] - (0.6 * 100 + 0.4 * red)).max() <= 1  # tinted
    assert drawn[50, 95].tolist() == [100, 100, 100]  # in the box, outside the mask
    assert drawn[70, 150].tolist() == [100, 100, 100]
    assert (drawn[:12, :30] != 100).any()  # the caption


def test_an_image_called_normal_has_a_black_mask(tmp_path: Path) -> None:
    file = image(tmp_path / "in.jpg")
    found = overlay.write(tmp_path, file, cracked("in.jpg", predicted=False).row())
    assert found == {"overlay": "overlay/in.jpg.png", "mask_file": "mask/in.jpg.png"}
    assert not np.asarray(Image.open(tmp_path / "mask" / "in.jpg.png")).any()


@pytest.mark.parametrize("boxes", [((6.0, 3.0, 2.0, 1.0),), ((-5.0, -5.0, 500.0, 500.0),), ((3.0, 3.0, 3.0, 3.0),)])
def test_strange_boxes_are_drawn_too(tmp_path: Path, boxes: Any) -> None:
    one = cracked("in.png", boxes=boxes, confidences=(0.5,))
    overlay.write(tmp_path, image(tmp_path / "in.png"), one.row())
    assert Image.open(tmp_path / "overlay" / "in.png").size == (20, 10)


def test_a_broken_image_and_one_without_masks_leave_nothing_there(tmp_path: Path) -> None:
    broken = inspected("a.png", predicted=None, error="broken").row()
    assert overlay.write(tmp_path, tmp_path / "a.png", broken) == {"overlay": None, "mask_file": None}
    assert overlay.write(tmp_path, image(tmp_path / "b.png"), inspected("b.png").row())["mask_file"] is None
    assert not (tmp_path / "mask").exists()


def test_rows_that_were_added_are_found_again_without_a_line_that_was_cut_off(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    with Folder.opened(out, {"weights": "1"}) as folder:
        folder.add([row(inspected("a")), row(inspected("b"))])
    with (out / "predictions.jsonl").open("a") as file:
        file.write('{"path": "c", "sc')
    with Folder.opened(out, {"weights": "1"}) as folder:
        assert [one["path"] for one in folder.rows] == ["a", "b"]
        folder.keep(folder.rows[1:])
        folder.add([row(inspected("d"))])
    with Folder.opened(out, {"weights": "1"}) as folder:
        assert [one["path"] for one in folder.rows] == ["b", "d"]


def test_what_a_kill_left_of_a_file_is_removed(tmp_path: Path) -> None:
    names = [".summary.json.4711", "predictions.jsonl.4711", ".predictions.csv.draft", ".settings.json.4711"]
    for name in [*names, "notes.txt"]:
        (tmp_path / name).write_text("half")
    with Folder.opened(tmp_path, {}):
        assert sorted(file.name for file in tmp_path.iterdir()) == [".lock", "notes.txt", "settings.json"]


def test_pictures_of_images_that_are_gone_are_removed(tmp_path: Path) -> None:
    with Folder.opened(tmp_path, {}) as folder:
        file = image(tmp_path / "overlay" / "a.png")
        folder.add([row(inspected("a.png")) | {"overlay": "overlay/a.png"}])
        folder.keep([])
    assert not file.exists()


def test_another_key_is_refused_by_name_and_fresh_drops_only_what_is_ours(tmp_path: Path) -> None:
    with Folder.opened(tmp_path, {"weights": "1", "threshold": None}) as folder:
        folder.add([row(inspected("a"))])
    image(tmp_path / "overlay" / "a.png")
    (tmp_path / "notes.txt").write_text("mine")
    other = {"weights": "1", "threshold": 0.5}
    with (
        pytest.raises(ConfigError, match=r"other settings \(threshold\).*fresh=true"),
        Folder.opened(tmp_path, other),
    ):
        pass
    with Folder.opened(tmp_path, other, fresh=True) as folder:
        assert folder.rows == []
    assert sorted(file.name for file in tmp_path.iterdir()) == [".lock", "notes.txt", "settings.json"]


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    file = image(tmp_path / "mask" / "mine.png")
    for fresh in (False, True):
        with (
            pytest.raises(ConfigError, match=r"files of something else \(mask\)"),
            Folder.opened(tmp_path, {}, fresh=fresh),
        ):
            pass
    assert file.exists()


def _open(path: Path) -> str:
    try:
        with Folder.opened(path, {}):
            return "opened"
    except ConfigError as error:
        return str(error)


def test_two_processes_do_not_share_a_folder(tmp_path: Path) -> None:
    with Folder.opened(tmp_path, {}), get_context("spawn").Pool(1) as pool:
        assert "is in use by another process" in pool.apply(_open, (tmp_path,))
    assert _open(tmp_path) == "opened"
