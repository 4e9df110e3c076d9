from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from adfm.errors import DataError
from adfm.evaluation.mmad.answers import Answer
from adfm.evaluation.mmad.published import COLUMNS, published
from adfm.evaluation.mmad.scoring import tables
from adfm.evaluation.mmad.show import comparison, shown

HEADER = ",Anomaly Detection,Defect Classification,Average,Overkill"
ENTRY = {
    "image": "VisA/candle/test/good/000.JPG",
    "question_type": "Anomaly Detection",
    "correct_answer": "A",
    "gpt_answer": "A",
}


def score(repository: Path, folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "adfm.evaluation.mmad", *overrides],
        cwd=folder,
        env={"PYTHONPATH": str(repository), "PATH": "", "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_writes_the_asked_table_and_prints_both(repository: Path, tmp_path: Path):
    (tmp_path / "answers.json").write_text(json.dumps([ENTRY, ENTRY | {"gpt_answer": "X"}]))
    done = score(repository, tmp_path, "answers=answers.json", "scoring=official", "out=new/table.json", "resamples=9")
    assert done.returncode == 0, done.stderr
    cells = {"Anomaly Detection": 50.0, "Average": 50.0, "Overkill": 0.0, "Miss": 100.0}
    assert json.loads((tmp_path / "new" / "table.json").read_text()) == {"VisA": cells, "Average": cells}
    for expected in ("| official scoring", "| strict scoring", "these answers, strict", "| Qwen2.5-VL-7B-Instruct"):
        assert expected in done.stdout
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["table.json"]
    again = score(repository, tmp_path, "answers=answers.json", "out=strict.json", "resamples=0")
    assert again.returncode == 0, again.stderr
    strict = json.loads((tmp_path / "strict.json").read_text())["VisA"]
    assert (strict["Overkill"], strict["Unparsable"], strict["Miss"], strict["Average"]) == (50.0, 50.0, None, None)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["answers=answers.json"], "answers.json, entry 1: has no 'gpt_answer'\n"),
        (["answers=none.json"], "none.json: cannot be read as JSON"),
        ([], "answers: has no value; set it with answers="),
        (["answers=answers.json", "scoring=kind"], "scoring is 'kind'; it must be one of official, strict"),
        (["answers=good.json", "published=none"], "none: is no folder with CSV files"),
        (["answers=good.json", "out=good.json/table.json"], "out: cannot write good.json/table.json"),
    ],
    ids=str,
)
def test_what_the_user_can_mend_is_said_without_a_traceback(overrides, message, repository: Path, tmp_path: Path):
    (tmp_path / "good.json").write_text(json.dumps([ENTRY]))
    del (broken := dict(ENTRY))["gpt_answer"]
    (tmp_path / "answers.json").write_text(json.dumps([broken]))
    done = score(repository, tmp_path, *overrides)
    assert done.returncode == 2
    assert done.stderr.startswith(message)
    assert "Traceback" not in done.stderr


def test_shipped_rows_have_a_protocol_a_source_and_say_what_they_trained_on():
    rows = {row.method: row for row in published()}
    assert len(rows) > 40
    assert all(row.protocol and row.trained and row.source and row.percent for row in rows.values())
    assert rows["Anomaly-LR 7B"].trained == "yes, 20/80"
    assert (rows["SPHINX-v2-1k"].protocol, rows["Qwen2.5-VL-7B-Instruct"].protocol) == ("0-shot", "1-shot")
    averages = [row.percent["Average"] for row in rows.values() if "Average" in row.percent]
    assert averages == sorted(averages, reverse=True)


def test_shipped_averages_are_the_means_of_their_columns():
    rows = {row.method: row.percent for row in published() if row.percent.keys() >= set(COLUMNS[:8])}
    means = {method: sum(percent[column] for column in COLUMNS[:7]) / 7 for method, percent in rows.items()}
    assert means.pop("OmniAD 3B") == pytest.approx(77.81, abs=0.01)  # printed as 77.50
    assert len(means) > 30
    assert means == pytest.approx({method: rows[method]["Average"] for method in means}, abs=0.02)


def test_rows_of_a_folder_replace_shipped_ones_and_add_others(tmp_path: Path):
    for name, average in (("answers_1_shot_gpt-4o_accuracy", 99), ("answers_3_shot_mine_accuracy_test1", 1)):
        (tmp_path / f"{name}.csv").write_text(f"{HEADER}\nVisA,1,2,3,4\nAverage,50,,{average},7\n")
    rows = {row.method: row for row in published(tmp_path)}
    assert len(rows) == len(published()) + 1
    assert rows["gpt-4o"].percent == {"Anomaly Detection": 50, "Average": 99, "Overkill": 7}
    assert (rows["gpt-4o"].protocol, rows["gpt-4o"].trained) == ("1-shot", "no")
    assert (rows["mine"].protocol, rows["mine"].trained) == ("3-shot", "not said")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("table.csv", HEADER, "must be named answers_<k>_shot_<method>_accuracy.csv"),
        ("answers_1_shot_a_accuracy.csv", f"{HEADER}\nVisA,1,2,3,4", "has no row Average"),
        ("answers_1_shot_a_accuracy.csv", f"{HEADER}\nAverage,1,b,3,4", "row Average: could not convert"),
        ("answers_1_shot_a_accuracy.csv", b"\xff\xfe", "'utf-8' codec"),
    ],
)
def test_a_published_file_that_cannot_be_used_is_named(name, content, message, tmp_path: Path):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=f"{name}.*{message}"):
        published(tmp_path)


def test_shipped_rows_equal_the_released_files(shared):
    shipped = {row.method: row for row in published()}
    found = {row.method: row for row in published(shared / "data" / "mmad" / "published")}
    assert shipped.keys() == found.keys()
    for method, row in found.items():
        assert shipped[method].percent == pytest.approx(row.percent, abs=0.00501)
        assert (shipped[method].protocol, shipped[method].trained) == (row.protocol, row.trained)


def test_tables_show_intervals_counts_and_reasons():
    answer = Answer(image="VisA/a/good/1", question_type="Anomaly Detection", correct="A", chosen="A", read_by="strict")
    found = tables([answer], resamples=5)
    text = shown("strict", found["strict"])
    assert "| Overkill              | 0.0 [0.0, 0.0] | 0.0 [0.0, 0.0] |" in text
    assert "no value: VisA, Miss: no detection question about an anomalous image" in text
    assert "answers: 1 counted; read by: strict (1)" in text
    assert len({len(line) for line in comparison(found, published()).splitlines()}) == 1
