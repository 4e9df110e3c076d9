import json
import random
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from elements import Elements, kinds
from fake_run import draw_sample, predict

from adfm.errors import DataError
from adfm.evaluation.inspection import Inspection
from adfm.inspection.inspected import Inspected
from adfm.tracking.html import prediction


def row(folder: Path, number: int, **changes: Any) -> dict[str, Any]:
    """A line of `predictions.jsonl`, as adfm.predict writes it."""
    rng = random.Random(number)
    sample = draw_sample(folder, number, rng)
    said = predict(sample, rng, 1.0)
    inspection = {entry.name: getattr(said, entry.name) for entry in fields(Inspection)}
    known = Inspected(**inspection, name=sample.image.name, path=sample.image, size=sample.size, category="brick")
    return replace(known, **changes).row()


def write(folder: Path, rows: list[dict[str, Any]], root: Path) -> Path:
    folder.mkdir()
    (folder / "predictions.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
    (folder / "summary.json").write_text(
        json.dumps({"images": len(rows), "input": str(root), "timing": {"seconds": 2}})
    )
    return prediction.write(folder)


@pytest.fixture
def rows(tmp_path: Path) -> list[dict[str, Any]]:
    """An image that is normal, one that is anomalous, one whose verdict and one whose file could not be read."""
    broken = Inspected(predicted=None, score=None, name="broken.png", error="broken.png: is empty (0 bytes)").row()
    return [
        row(tmp_path / "in", 1, predicted=False, boxes=(), confidences=(), draws=()),
        row(tmp_path / "in", 2, predicted=True, probability=0.875),
        row(tmp_path / "in", 3, predicted=None, text="<think>well", stages={"think": None}, reasons=("no_think",)),
        broken,
    ]


def test_what_could_not_be_read_comes_first_and_all_are_counted(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    page = write(tmp_path / "out", rows, tmp_path / "in")
    assert page == (tmp_path / "out" / "index.html").resolve()
    text = page.read_text(encoding="utf-8")
    elements = Elements(text)
    assert kinds(elements) == ["error", "unread", "anomalous", "normal"]
    counts = {"anomalous": 1, "normal": 1, "verdict not readable": 1, "image not readable": 1}
    assert all(f"<b>{count}</b> {words}" in text for words, count in counts.items())
    assert "broken.png: is empty (0 bytes)" in text
    assert "probability 0.875" in text
    assert "is normal" not in text  # nobody knows what is true
    assert "timing.seconds" in text


def test_pictures_are_found_below_the_input_root(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    elements = Elements(write(tmp_path / "out", rows, tmp_path / "in").read_text(encoding="utf-8"))
    links = [found["href"] for found in elements.of("a", class_="full")]
    assert links == ["../in/0003.png", "../in/0002.png", "../in/0001.png"]
    assert len([found for found in elements.of("image") if "jpeg" in (found["href"] or "")]) == 3


def test_a_name_that_looks_like_a_script_is_only_a_name(tmp_path: Path) -> None:
    image = tmp_path / "javascript:alert(1).png"
    rows = [row(tmp_path, 2) | {"path": image.name}]
    (tmp_path / "0002.png").rename(image)
    elements = Elements(write(tmp_path / "out", rows, tmp_path).read_text(encoding="utf-8"))
    (link,) = [found["href"] for found in elements.of("a", class_="full")]
    assert link == "../javascript%3Aalert%281%29.png"


def test_no_folder_of_predictions_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no predictions\.jsonl"):
        prediction.write(tmp_path)
    (tmp_path / "predictions.jsonl").write_text('{"path": "a.png"}\n')
    with pytest.raises(DataError, match="a line is no prediction"):
        prediction.write(tmp_path)
