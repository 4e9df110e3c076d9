from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from data_support import opened
from PIL import ExifTags, Image

from adfm.config.compose import check as check_config
from adfm.config.compose import compose
from adfm.data import __main__ as data_command
from adfm.data import checking
from adfm.data.checking import Finding, check, check_all, doubled
from adfm.data.likeness import alike
from adfm.data.manifest import PARTS
from adfm.data.masks import MaskFiles
from adfm.data.statistics import boxes, counts, masks, sizes
from adfm.errors import ConfigError
from adfm.reasoning.frames import AbsoluteFrames
from adfm.types import Sample

DENT = '{"image": "b.png", "category": "disc", "anomalous": true, "defect_type": "dent", "boxes": [[1, 2, 9, 9]]}\n'


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADFM_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three samples in two parts; the test image is a copy of the train image."""
    folder = tmp_path / "data"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        Image.fromarray(rng.integers(0, 255, (32, 32), np.uint8)).save(folder / f"{name}.png")
    (folder / "copy.png").write_bytes((folder / "a.png").read_bytes())
    (folder / "train.jsonl").write_text('{"image": "a.png", "category": "disc", "anomalous": false}\n' + DENT)
    (folder / "test.jsonl").write_text('{"image": "copy.png", "category": "disc", "anomalous": false}\n')
    return folder


def _examined(folder: Path, *overrides: str) -> bool:
    config = compose("data", ["dataset=manifest", f"dataset.root={folder}", "processes=1", *overrides])
    check_config(config)
    return data_command.examine(config)


def _sample(path: Path, **known: object) -> Sample:
    return Sample(**{"id": "one", "image": path, "category": "disc", "anomalous": False, **known})


def test_the_command_leaves_with_1_and_names_the_file_only_if_something_is_broken(folder: Path, repository: Path):
    command = [sys.executable, "-m", "adfm.data", "dataset=manifest", f"dataset.root={folder}"]
    (folder / "b.png").write_bytes((folder / "b.png").read_bytes()[:200])
    done = subprocess.run(command, cwd=repository, env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert f"problem: 1\n  {folder}/b.png: cannot be decoded" in done.stdout
    assert done.stderr == ""
    (folder / "train.jsonl").unlink()
    (folder / "test.jsonl").unlink()
    done = subprocess.run(command, cwd=repository, env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert str(folder) in done.stderr
    assert "Traceback" not in done.stderr


def test_the_report_names_layout_counts_sizes_boxes_and_leaks(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert _examined(folder)
    report = capsys.readouterr().out
    assert report.startswith("manifest: layout manifest. ")
    assert "images: 3 of 1 sizes" in report
    assert "32 x 32: 3 images, 16 tokens each" in report
    assert "boxes: 1 in 1 images" in report
    assert "masks: none" in report
    assert "leaks between parts: 1 same bytes\n  same bytes: a.png (train) and copy.png (test)" in report
    assert re.search(r"\nfingerprint: [0-9a-f]{16}\n$", report)


def test_leaks_are_problems_or_are_not_looked_for(folder: Path, capsys: pytest.CaptureFixture[str]):
    assert not _examined(folder, "leaks=error")
    assert "problem: 1\n  same bytes: a.png (train) and copy.png (test)" in capsys.readouterr().out
    assert _examined(folder, "leaks=off")
    assert "leaks" not in capsys.readouterr().out
    with pytest.raises(ConfigError, match="leaks is 'maybe'; it must be one of error, warn, off"):
        _examined(folder, "leaks=maybe")


def test_the_written_manifest_gives_the_same_samples_and_the_page_shows_them(folder: Path, tmp_path: Path):
    out = tmp_path / "out"
    assert _examined(folder, f"out={out}")
    again = opened("manifest", folder, f"dataset.manifest={out}")
    first = opened("manifest", folder)
    assert [again.split(part) for part in PARTS] == [first.split(part) for part in PARTS]
    page = (out / "gallery.html").read_text(encoding="utf-8")
    assert page.count("<article") == page.count("data:image/jpeg;base64,") == 3
    assert '<rect class="true-box" x="1" y="2" width="8" height="7">' in page
    found = set(re.findall(r'(?:src|href)="([^"]*)"', page))
    assert {one for one in found if one[0] != "#" and not one.startswith("data:")} == {
        f"../data/{name}.png" for name in ("a", "b", "copy")
    }
    assert "leaks between parts: 1 same bytes" in page


def test_counts_tell_categories_labels_and_types(folder: Path):
    data = opened("manifest", folder)
    parts = {part: data.split(part) for part in PARTS}
    assert [line.split() for line in counts("mine", parts)] == [
        ["mine", "train", "val", "test"],
        ["normal", "1", "0", "1"],
        ["dent", "1", "0", "0"],
        ["all", "normal", "1", "0", "1"],
        ["all", "anomalous", "1", "0", "0"],
        ["all", "2", "0", "1"],
        ["categories", "1", "0", "1"],
    ]
    parts["val"] = [
        _sample(folder / "a.png", category="bolt"),
        _sample(folder / "a.png", category="bolt", anomalous=True),
    ]
    lines = [" ".join(line.split()) for line in counts("mine", parts)]
    assert lines[1:5] == ["bolt, normal 0 1 0", "bolt, anomalous 0 1 0", "disc, normal 1 0 1", "disc, dent 1 0 0"]


def test_statistics_of_boxes_masks_and_tokens_have_hand_made_values():
    findings = [
        Finding(size=(100, 50), boxes=((0, 0, 10, 10), (0, 0, 50, 20)), mask_area=500),
        Finding(size=(200, 50), mask_area=0),
        Finding(),
    ]
    assert [line.split()[-5:] for line in boxes(findings)[1:]] == [
        ["2", "2", "2", "2", "2"],
        ["2", "6.5", "11", "16", "20"],
        ["10", "20", "30", "40", "50"],
        ["10", "12", "15", "18", "20"],
    ]
    assert masks(findings)[0].startswith("masks: 2, of which 1 empty")
    assert masks(findings)[1].split()[-5:] == ["10"] * 5
    frames = AbsoluteFrames(min_pixels=12544, max_pixels=12544)
    lines, problems = sizes([*findings, Finding(size=(2000, 2))], frames, 28, "tiny")
    assert lines[0].startswith("images: 3 of 3 sizes")
    assert "  100 x 50: 1 images, 18 tokens each" in "\n".join(lines)
    assert "  2000 x 2: 1 images, cannot be shown to the model" in lines[-1]
    assert problems == ["1 images: an image of 2000 x 2 pixels cannot be shown to the model: too elongated or empty"]


def test_what_is_wrong_with_a_sample_is_named(folder: Path):
    image, empty, full = folder / "a.png", folder / "empty.png", folder / "full.png"
    Image.new("L", (32, 32)).save(empty)
    Image.new("L", (32, 32), 255).save(full)
    gone, mask = folder / "gone.png", MaskFiles((empty,))
    found = {
        "no such image": _sample(gone),
        "gone.png: no such image": _sample(image, references=(gone,)),
        "is 32 x 32, not 8 x 8 as stated": _sample(image, stated_size=(8, 8)),
        "box (1.0, 1.0, 40.0, 9.0) leaves the 32 x 32 image": _sample(image, stated_boxes=((1.0, 1.0, 40.0, 9.0),)),
        "one: anomalous but without a box; its mask is empty": _sample(image, anomalous=True, mask=mask),
        "one: anomalous but without a box": _sample(image, anomalous=True),
        "one: normal, but its mask has 1024 pixels": _sample(image, mask=MaskFiles((full,))),
    }
    for reason, sample in found.items():
        problems = check(sample).problems
        assert len(problems) == 1, reason
        assert problems[0].endswith(reason)
    assert check(_sample(image, anomalous=True, mask=MaskFiles((full,)))).problems == ()


def test_what_is_odd_about_a_mask_is_named(folder: Path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.new("L", (32, 32)).save(folder / "turned.png", exif=exif)
    Image.new("L", (16, 16), 255).save(folder / "small.png")
    Image.new("L", (32, 32), 255).save(folder / "full.png")
    small = check(_sample(folder / "a.png", anomalous=True, mask=MaskFiles((folder / "small.png",))))
    assert small.warnings == (f"{folder}/small.png: the mask is 16 x 16 and was brought to 32 x 32",)
    assert small.mask_area == 1024
    turned = check(_sample(folder / "turned.png", anomalous=True, mask=MaskFiles((folder / "full.png",))))
    assert turned.warnings == (
        f"{folder}/full.png: the image is turned by EXIF, its mask is not; look whether they fit",
    )


def test_an_id_in_two_parts_is_named(folder: Path):
    sample = _sample(folder / "a.png")
    assert list(doubled({"train": [sample], "test": [sample]})) == ["one: in test and in train"]


def test_processes_find_what_one_finds_in_the_same_order(folder: Path):
    samples = [_sample(folder / f"{'ab'[index % 2]}.png", id=str(index)) for index in range(70)]
    samples[33] = _sample(folder / "gone.png", id="33")
    parts = {"train": samples[:40], "val": [], "test": samples[40:]}
    together = check_all(parts, 2)
    assert together == check_all(parts, 1)
    assert [len(together[part]) for part in parts] == [40, 0, 30]
    assert together["train"][33].problems == (f"{folder}/gone.png: no such image",)


def test_a_kept_hash_is_not_computed_again_unless_the_file_has_changed(folder: Path, monkeypatch: pytest.MonkeyPatch):
    image = folder / "a.png"
    parts = {"train": [_sample(image)]}
    first = check_all(parts, 1)
    alike([image], 0.9)

    def never(_: Image.Image) -> str:
        raise AssertionError("computed again")

    monkeypatch.setattr(checking, "perceptual_hash", never)
    assert check_all(parts, 1) == first
    Image.open(image).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(image, compress_level=0)
    with pytest.raises(AssertionError, match="computed again"):
        check_all(parts, 1)


def test_a_written_line_is_json_with_its_part(folder: Path, tmp_path: Path):
    assert _examined(folder, f"out={tmp_path / 'out'}", "leaks=off")
    lines = [json.loads(line) for line in (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()]
    assert [line["split"] for line in lines] == ["train", "train", "test"]
