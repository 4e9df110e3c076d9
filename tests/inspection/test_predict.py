"""`python -m adfm.predict`: a folder of images to a folder of results, whatever happens in between."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from inspection_support import content, image, rows
from PIL import Image
from pycocotools.coco import COCO

from adfm.inspection import run
from adfm.inspection.inspector import Inspector
from adfm.predict import INTERRUPTED, main

BATCH = 3
Predict = Callable[..., int]


@pytest.fixture
def predict(monkeypatch: pytest.MonkeyPatch, checkpoint: Path, parts: Path, tmp_path: Path) -> Predict:
    """Run the command on the images of `parts` into `out`; return its exit status."""

    def command(*arguments: str, images: str | Path = parts) -> int:
        always = [f"images='{images}'", f"out={tmp_path / 'out'}", f"model.path={checkpoint}", f"batch={BATCH}"]
        monkeypatch.setattr(sys, "argv", ["adfm.predict", *always, *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        assert isinstance(left.value.code, int)
        return left.value.code

    return command


def test_a_folder_of_images_becomes_a_folder_of_results(
    predict: Predict, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict() == 2
    out = tmp_path / "out"
    printed = capsys.readouterr().out
    assert printed.startswith("8 images: ")
    assert "1 error" in printed
    assert "images/s" in printed
    found = {row["path"]: row for row in rows(out)}
    assert list(found) == [
        *("0.png", "2 broken.png", "3.png", "6.png"),
        *("größe/2.png", "größe/5.png", "line 1/1.png", "line 1/4.png"),
    ]
    broken = found.pop("2 broken.png")
    assert (broken["verdict"], broken["overlay"], broken["mask_file"]) == ("error", None, None)
    assert "2 broken.png: cannot be decoded" in broken["error"]
    for path, row in found.items():
        assert (row["overlay"], row["mask_file"]) == (f"overlay/{path}", f"mask/{path}")
        assert Image.open(out / row["overlay"]).size == Image.open(out / row["mask_file"]).size == (112, 84)
        assert (row["width"], row["height"], row["category"], row["error"]) == (112, 84, "object", None)
        assert isinstance(row["score"], float)
        assert len(row["weights"]) == len(row["prompt"]) == 16
        assert row["milliseconds"] > 0
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["images"], summary["counts"]["error"], summary["exit_status"]) == (8, 1, 2)
    assert summary["input"] == str(tmp_path / "parts")
    assert summary["timing"]["images"] == 8
    assert len(COCO(str(out / "coco.json")).getImgIds()) == 7
    assert (out / "predictions.csv").read_text(encoding="utf-8-sig").count("\n") == 9
    assert "größe/2.png" in (out / "index.html").read_text()


def test_the_exit_status_says_what_was_found(predict: Predict, parts: Path) -> None:
    (parts / "2 broken.png").unlink()
    assert predict("threshold=1000") == 0
    assert predict("threshold=-1000", "fresh=true") == 1
    assert predict("threshold=null", "fresh=true", "reasoning=single_stage") == 2  # a random model writes no answer
    assert predict("threshold=-1000", "fresh=true", images=parts / "**" / "[05].png") == 1


def test_a_kill_at_any_point_changes_no_file(predict: Predict, tmp_path: Path) -> None:
    predict("threshold=0")
    out = tmp_path / "out"
    whole = content(out)
    lines = (out / "predictions.jsonl").read_bytes().splitlines(keepends=True)
    cuts = [0, len(lines[0]) // 2, len(lines[0]), sum(map(len, lines[:BATCH])), sum(map(len, lines[:5])) + 7]
    for cut in cuts:
        for name in ("predictions.csv", "coco.json", "summary.json"):
            (out / name).unlink()
        shutil.rmtree(out / "overlay" / "line 1")  # pictures are older than their row: those without one may lack
        kept = b"".join(lines)[:cut]
        (out / "predictions.jsonl").write_bytes(kept)
        assert predict("threshold=0") == 2
        assert content(out) == whole, cut


def test_done_images_are_not_inspected_again(
    predict: Predict, parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict()
    asked: list[str] = []
    inspect = Inspector.inspect_sources

    def listening(self: Inspector, batch: Any) -> Any:
        asked.extend(source.name for source in batch)
        return inspect(self, batch)

    monkeypatch.setattr(Inspector, "inspect_sources", listening)
    whole = content(tmp_path / "out")
    predict()
    assert asked == []
    assert content(tmp_path / "out") == whole
    Image.new("RGB", (56, 56)).save(parts / "0.png")
    (parts / "3.png").unlink()
    Image.new("RGB", (56, 56)).save(parts / "9.png")
    predict("batch=1")
    assert asked == ["0.png", "9.png"]
    assert [row["path"] for row in rows(tmp_path / "out")][:4] == ["0.png", "2 broken.png", "6.png", "9.png"]
    assert rows(tmp_path / "out")[0]["width"] == 56
    assert not (tmp_path / "out" / "overlay" / "3.png").exists()


def test_what_the_user_can_mend_is_said_and_nothing_is_lost(
    predict: Predict, parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = image(tmp_path / "other" / "0.png")
    predict("threshold=0")
    capsys.readouterr()
    for arguments, message in [
        ([f"images={other}", "threshold=0"], "holds the results of other images"),
        (["threshold=1"], "was made with other settings (threshold)"),
        (["threshold=maybe"], "threshold is 'maybe'; it must be a number, auto or null"),
        ([f"images={parts / 'nothing'}"], "there is no such file or folder"),
        (["samples=0"], "samples is 0; it must be at least 1"),
        ([f"out={parts}"], "is the folder of the images"),
    ]:
        assert predict(*arguments) == 2
        assert message in capsys.readouterr().err
    assert len(rows(tmp_path / "out")) == 8
    assert predict("threshold=1", "fresh=true") == 2


def test_an_interrupt_leaves_a_word_and_what_was_done(
    predict: Predict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    inspect = Inspector.inspect_sources

    def interrupted(self: Inspector, batch: Any) -> Any:
        if batch[0].name != "0.png":
            raise KeyboardInterrupt
        return inspect(self, batch)

    with monkeypatch.context() as patched:
        patched.setattr(Inspector, "inspect_sources", interrupted)
        assert predict() == INTERRUPTED
    assert "The same command goes on" in capsys.readouterr().err
    assert [row["path"] for row in rows(tmp_path / "out")] == ["0.png", "2 broken.png", "3.png"]
    assert predict() == 2
    assert len(rows(tmp_path / "out")) == 8


def test_knowledge_may_be_a_file(predict: Predict, tmp_path: Path) -> None:
    (tmp_path / "bolt.txt").write_text("A bolt has a thread.\n")
    predict(f"knowledge={tmp_path / 'bolt.txt'}", "category=bolt")
    settings = json.loads((tmp_path / "out" / "settings.json").read_text())
    assert (settings["knowledge"], settings["category"]) == ("A bolt has a thread.", "bolt")
    assert settings["reasoning"]["knowledge"] is True


def test_the_pace_is_of_what_was_done_now() -> None:
    assert run.timing(10, 200, 4.0) == {
        **{"images": 10, "seconds": 4.0},
        **{"images_per_second": 2.5, "tokens_per_second": 50.0},
    }
    assert run.timing(0, 0, 0.0)["images_per_second"] is None
