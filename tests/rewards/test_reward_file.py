from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from reading_support import reward, template

from adfm.errors import DataError
from adfm.rewards.file import reward_file

TEXT = "<think>Look at [10, 20, 60, 80].</think><rethink>It is real.</rethink><answer>a</answer>"
LINE = {"id": "one", "completion": TEXT, "answer": "a", "boxes": [[10, 20, 60, 80]]}


def judged(tmp_path: Path, *lines: object, option: str = "fine_grained", reasoning: str = "three_stage"):
    source, target = tmp_path / "completions.jsonl", tmp_path / "new" / "rewards.jsonl"
    source.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    means = reward_file(source, target, template(reasoning, reading="released"), reward(option))
    return means, [json.loads(line) for line in target.read_text().splitlines()]


def test_every_line_gets_its_terms_and_total(tmp_path):
    means, lines = judged(tmp_path, LINE, "", LINE | {"id": 7, "answer": "b", "boxes": []})
    assert lines[0]["id"] == "one"
    assert lines[0]["terms"] == pytest.approx({"classification": 1.0, "localization": 1.0, "format": 1.2})
    assert lines[0]["total"] == pytest.approx(3.2)
    assert lines[1]["id"] == 7
    assert lines[1]["terms"]["classification"] == 0.0
    assert lines[1]["terms"]["localization"] == 0.5
    assert means["completions"] == 2
    assert means["classification"] == 0.5


def test_an_empty_file_gives_an_empty_file(tmp_path):
    assert judged(tmp_path, "") == ({"completions": 0}, [])


def test_the_frame_of_a_line_can_be_said(tmp_path):
    box = LINE | {"completion": TEXT.replace("80", "900"), "boxes": []}
    _, lines = judged(tmp_path, box, box | {"width": 1000, "height": 1000})
    assert lines[1]["terms"]["format"] - lines[0]["terms"]["format"] == pytest.approx(0.1)


def test_boxes_may_be_left_out_where_no_term_judges_them(tmp_path):
    line = {"id": 1, "completion": "<think>so B.</think><answer>B</answer>", "answer": "B"}
    _, lines = judged(tmp_path, line, option="roam", reasoning="single_stage")
    assert lines[0]["total"] == 2.0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: "),
        ("[]", "line 2: must be a JSON object"),
        ("[" * 100_000, "line 2: "),
        ({"id": 1}, "line 2: has no 'answer' and no 'boxes' and no 'completion'"),
        (LINE | {"completion": 3}, "line 2: 'completion' must be a text"),
        (LINE | {"answer": "c"}, "line 2: 'c' is not one of the letters a, b"),
        (LINE | {"boxes": None}, "line 2: 'boxes' must be a list"),
        (LINE | {"boxes": [[1, 2, 3]]}, "line 2: a box must be four numbers"),
        (LINE | {"boxes": [[1, 2, 3, "4"]]}, "line 2: a box must be four numbers"),
        ('{"id": 1, "completion": "", "answer": "a", "boxes": [[1, 2, 3, NaN]]}', "line 2: a box must be four numbers"),
        (LINE | {"width": 0}, "line 2: 'width' must be a number of pixels"),
    ],
)
def test_a_bad_line_is_named_and_leaves_no_output(tmp_path, line, message):
    with pytest.raises(DataError) as caught:
        judged(tmp_path, LINE, line)
    assert f"completions.jsonl, {message}" in str(caught.value)
    assert list((tmp_path / "new").iterdir()) == []


def test_a_missing_or_unreadable_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"missing\.jsonl"):
        reward_file(tmp_path / "missing.jsonl", tmp_path / "out", template("three_stage"), reward("roam"))
    (tmp_path / "latin.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"latin\.jsonl"):
        reward_file(tmp_path / "latin.jsonl", tmp_path / "out", template("three_stage"), reward("roam"))


def command(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, "-m", "adfm.rewards", *overrides]
    root = Path(__file__).resolve().parents[2]
    return subprocess.run(arguments, cwd=root, capture_output=True, text=True, check=False)


def test_the_command_reads_as_released_unless_told_otherwise(tmp_path):
    source, target = tmp_path / "completions.jsonl", tmp_path / "rewards.jsonl"
    article = {"id": 1, "completion": "<think>A look.</think><answer>A</answer>", "answer": "A", "boxes": []}
    source.write_text(json.dumps(article) + "\n")
    files = [f"input={source}", f"output={target}", "reward=roam"]
    done = command(tmp_path, *files)
    assert done.returncode == 0, done.stderr
    assert "1 completions" in done.stdout
    assert json.loads(target.read_text())["total"] == 2.0
    done = command(tmp_path, *files, "reasoning=single_stage")
    assert done.returncode == 0, done.stderr
    assert json.loads(target.read_text())["total"] == 1.8


def test_the_command_names_what_is_wrong(tmp_path):
    source = tmp_path / "completions.jsonl"
    source.write_text("{}\n")
    done = command(tmp_path, f"input={source}", f"output={tmp_path / 'out'}", "reward=roam")
    assert done.returncode == 2
    assert "completions.jsonl, line 1: has no 'answer'" in done.stderr
    assert "Traceback" not in done.stderr
