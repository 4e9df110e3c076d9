"""What `images=` finds, and how it is named."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from adfm.errors import ConfigError, DataError
from adfm.inspection import sources


def touch(folder: Path, *names: str) -> None:
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def names(*images: str | Path, out: Path | None = None) -> list[str]:
    return [source.name for source in sources.find(images[0] if len(images) == 1 else list(images), out=out)]


def test_a_folder_is_searched_through_for_images_that_are_not_hidden(tmp_path: Path) -> None:
    touch(tmp_path, "b.PNG", "a.jpeg", "line 1/ä.Tif", "line 1/deep/c.webp", "x.bmp")
    touch(tmp_path, ".hidden.png", ".git/d.png", "notes.txt", "e.png.part", "out/overlay/a.png")
    assert names(tmp_path, out=tmp_path / "out") == [
        *("a.jpeg", "b.PNG", "line 1/deep/c.webp", "line 1/ä.Tif", "x.bmp"),
    ]


def test_a_link_to_a_folder_is_followed_once(tmp_path: Path) -> None:
    touch(tmp_path, "parts/a.png", "elsewhere/b.png")
    (tmp_path / "parts" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "parts")
    (tmp_path / "parts" / "c.png").symlink_to(tmp_path / "elsewhere" / "b.png")
    assert names(tmp_path / "parts") == ["a.png", "c.png", "linked/b.png"]


def test_a_link_that_leads_nowhere_is_an_image_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "lost.png").symlink_to(tmp_path / "gone.png")
    assert names(tmp_path) == ["lost.png"]
    assert names(tmp_path / "lost.png") == ["lost.png"]


def test_a_glob_is_named_below_its_fixed_part(tmp_path: Path) -> None:
    touch(tmp_path, "run 1/good/a.png", "run 1/bad/b.png", "run 2/c.png", "run 2/c.txt")
    assert names(tmp_path / "run *" / "**" / "*.png") == ["run 1/bad/b.png", "run 1/good/a.png", "run 2/c.png"]
    assert names(tmp_path / "run [1]") == ["run 1/bad/b.png", "run 1/good/a.png"]


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tmp_path: Path) -> None:
    touch(tmp_path, "a[1].png", "a1.png")
    assert names(tmp_path / "a[1].png") == ["a[1].png"]


def test_a_list_is_named_below_what_its_entries_share_and_has_each_image_once(tmp_path: Path) -> None:
    touch(tmp_path, "one/a.png", "two/a.png", "two/b.png")
    assert names(tmp_path / "two", tmp_path / "one" / "a.png", tmp_path / "two" / "a.png") == [
        *("one/a.png", "two/a.png", "two/b.png"),
    ]


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_a_manifest_needs_no_labels_and_gives_none(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"parts{suffix}"
    if suffix == ".csv":
        file.write_text("image,category,label,knowledge\nb/1.png,,,\na/1.png,bolt,bad,round\n")
    else:
        labelled = {"image": "a/1.png", "category": "bolt", "knowledge": "round", "label": "bad", "type": "crack"}
        file.write_text(json.dumps({"image": "b/1.png"}) + "\n" + json.dumps(labelled | {"boxes": [[0, 0, 1, 1]]}))
    bolt, other = sources.find(file)
    assert (bolt.name, bolt.category, bolt.knowledge) == ("a/1.png", "bolt", "round")
    assert (other.name, other.category, other.knowledge) == ("b/1.png", None, None)
    assert other.path == tmp_path / "b/1.png"


def test_a_wrong_row_is_named(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text('{"image": "a.png"}\n{"image": "../b.png"}\n')
    with pytest.raises(DataError, match=r"m.jsonl, line 2: image: path '../b.png' leaves"):
        sources.find(tmp_path / "m.jsonl")


def test_nothing_found_says_what_was_looked_for(tmp_path: Path) -> None:
    touch(tmp_path, "notes.txt")
    with pytest.raises(ConfigError, match=r"has no image \(looked for \.png \.jpg"):
        sources.find(tmp_path)
    with pytest.raises(ConfigError, match=r"\*\.gif: matches no image"):
        sources.find(tmp_path / "*.gif")
    with pytest.raises(ConfigError, match=r"nowhere: there is no such file or folder"):
        sources.find(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="the list is empty"):
        sources.find([])


def test_results_do_not_go_among_the_images(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")
    with pytest.raises(ConfigError, match="is the folder of the images"):
        sources.find(tmp_path, out=tmp_path)


def test_a_name_that_is_no_unicode_can_be_written(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/caf\xe9.png", "wb"):  # noqa: PTH123  # a path of bytes
        pass
    (source,) = sources.find(tmp_path)
    assert source.name == "caf\\xe9.png"
    assert source.path.exists()
