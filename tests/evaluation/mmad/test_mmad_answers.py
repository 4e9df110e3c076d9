from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adfm.config.compose import check, compose
from adfm.errors import ConfigError, DataError
from adfm.evaluation.mmad.answers import read_answers
from adfm.reasoning.readers import READERS

ENTRY = {
    "image": "VisA/candle/test/good/000.JPG",
    "question_type": "Object Details",
    "correct_answer": "A",
    "gpt_answer": "B",
}


def test_entries_become_answers_in_their_order(tmp_path: Path):
    file = tmp_path / "answers.json"
    file.write_text(json.dumps([ENTRY | {"question": {"text": "?"}}, ENTRY | {"gpt_answer": None}]))
    first, second = read_answers(file)
    assert (first.image, first.dataset, first.category) == (ENTRY["image"], "VisA", "candle")
    assert (first.question_type, first.column) == ("Object Details", "Object Analysis")
    assert (first.correct, first.chosen, first.read_by, first.right) == ("A", "B", "file", False)
    assert second.chosen is None
    assert not second.right
    file.write_text(json.dumps({"answers": [ENTRY]}))
    assert read_answers(file) == [first]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "cannot be read as JSON: Expecting value"),
        ("[" * 100_000, "cannot be read as JSON: maximum recursion depth"),
        ("1" * 5000, "cannot be read as JSON: Exceeds the limit"),
        (b"\xff\xfe", "cannot be read as JSON: 'utf-8' codec"),
        ({"DS-MVTec": {}}, "must be a JSON list with one entry per question"),
        ("3", "must be a JSON list with one entry per question"),
        ([], "holds no answers"),
        ([ENTRY, 3], "entry 2: must be a JSON object, not 3"),
        ([ENTRY, {"image": "a"}], "entry 2: has no 'question_type' and no 'correct_answer' and no 'gpt_answer'"),
        ([ENTRY | {"image": 3}], "entry 1: 'image' must be a text, not 3"),
        ([ENTRY | {"image": None}], "entry 1: 'image' must be a text, not None"),
        ([ENTRY | {"gpt_answer": ["A"]}], "entry 1: 'gpt_answer' must be a text, not ['A']"),
        ([ENTRY | {"correct_answer": True}], "entry 1: 'correct_answer' must be a text, not True"),
        ([ENTRY | {"question_type": ""}], "entry 1: 'question_type' is empty"),
        ([ENTRY | {"image": "\ud800"}], "entry 1: 'image' is no valid Unicode: '\\ud800'"),
    ],
    ids=str,
)
def test_what_cannot_be_used_is_named_with_file_entry_and_reason(content, message, tmp_path: Path):
    file = tmp_path / "answers.json"
    if not isinstance(content, bytes | str):
        content = json.dumps(content)
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as error:
        read_answers(file)
    assert str(error.value).startswith(str(file))
    assert message in str(error.value)


RAW = ENTRY | {
    "question": {"text": "Is there a defect?", "options": {"A": "Yes.", "B": "No."}},
    "gpt_answer": "<think>A candle, dented</think><answer>B</answer>",
}


def test_what_a_model_wrote_is_read_by_a_named_reading(tmp_path: Path):
    file = tmp_path / "answers.json"
    file.write_text(json.dumps([RAW, RAW | {"gpt_answer": "A dent"}, RAW | {"gpt_answer": None}]))
    letters = {name: [answer.chosen for answer in read_answers(file, name)] for name in READERS}
    assert letters == {"strict": ["B", None, None], "official": ["B", "A", None], "anomalyr1": ["B", None, None]}
    assert {answer.read_by for answer in read_answers(file, "anomalyr1")} == {"anomalyr1 reading"}
    assert read_answers(file)[0].chosen == RAW["gpt_answer"]
    for question in (None, "?", {"text": "?"}, {"options": {}}, {"options": {"A": 1}}):
        file.write_text(json.dumps([RAW, RAW | {"question": question}]))
        with pytest.raises(DataError, match=r"answers.json, entry 2: 'question' must have 'options'"):
            read_answers(file, "strict")


def test_the_readings_are_those_that_the_command_takes():
    for name in READERS:
        check(compose("mmad_score", [f"reading={name}"]))
    with pytest.raises(ConfigError, match="reading is 'mine'; it must be one of strict, official, anomalyr1, or null"):
        check(compose("mmad_score", ["reading=mine"]))


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path):
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(DataError, match=str(path)):
            read_answers(path)


KEYS = st.sampled_from([*ENTRY, "answers"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=12,
)
ODD_ENTRY = st.fixed_dictionaries({key: st.sampled_from(["", "A", "good/a/b"]) | JSON for key in ENTRY})
CONTENT = (JSON | st.lists(ODD_ENTRY | JSON, max_size=3)).map(lambda value: json.dumps(value).encode())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=40) | CONTENT)
def test_any_file_is_read_or_refused_by_name(tmp_path: Path, content: bytes):
    file = tmp_path / "answers.json"
    file.write_bytes(content)
    try:
        answers, refusal = read_answers(file), ""
    except DataError as error:
        answers, refusal = [], str(error)
    assert answers or re.match(rf"{re.escape(str(file))}(, entry [1-3])?: \S", refusal)
    assert all(answer.image and answer.question_type for answer in answers)
