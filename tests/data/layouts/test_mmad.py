from __future__ import annotations

import json
import pickle
import re
import time
from collections import Counter
from copy import deepcopy
from pathlib import Path
from typing import Any

import mmad_tree
import numpy as np
import pytest
from data_support import opened
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmad_tree import BAD, BROKEN, DETAILS, DETECTION, ENTRIES, FULL, GOOD, KIND, LOGICAL, OPENED, RENAMED, write_mmad

from adfm.data.benchmark import Source
from adfm.data.layouts.mmad import mmad
from adfm.errors import ConfigError, DataError
from adfm.types import Sample


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_mmad(tmp_path)


def listed(root: Path, *overrides: str) -> dict[str, Sample]:
    return {sample.id: sample for sample in opened("mmad", root, *overrides).split("test")}


def test_every_question_is_a_sample(root: Path):
    data = opened("mmad", root)
    assert (len(data.split("train")), len(data.split("val"))) == (0, 0)
    samples = listed(root)
    assert list(samples)[:5] == [f"{BROKEN}#0", f"{BROKEN}#1", f"{BROKEN}#2", f"{GOOD}#0", f"{GOOD}#1"]
    assert len(samples) == 14
    kinds = Counter(sample.question.kind for sample in samples.values() if sample.question)
    assert kinds == {"detection": 7, "Defect Classification": 4, "Object Analysis": 3}
    named = {sample.attributes["mmad_dataset"]: sample.category for sample in samples.values()}
    assert named == {
        "DS-MVTec": "bottle",
        "MVTec-LOCO": "juice bottle",
        "VisA": "candle",
        "GoodsAD": "food box",
    }
    types = [samples[f"{key}#0"].defect_type for key in ENTRIES]
    assert types == ["broken large", None, "broken large", "logical anomalies", None, None, "opened", None]
    assert {key for key in ENTRIES if samples[f"{key}#0"].anomalous} == {BROKEN, RENAMED, LOGICAL, BAD, OPENED}


def test_a_sample_has_question_templates_and_mask(root: Path):
    sample = listed(root)[f"{BROKEN}#1"]
    assert sample.image == root / BROKEN
    assert sample.question is not None
    assert sample.question.text == "Which defect is it?"
    assert (dict(sample.question.options), sample.question.answer) == (KIND["Options"], "C")
    assert sample.references == (root / "DS-MVTec/bottle/train/good/000.png",)
    assert sample.boxes == ((6.0, 4.0, 20.0, 10.0),)
    assert sample.knowledge == ""
    assert pickle.loads(pickle.dumps(sample)) == sample


def test_masks_lie_in_either_place_and_may_be_several_files(root: Path):
    samples = listed(root)
    assert samples[f"{BAD}#0"].boxes == ((8.0, 8.0, 16.0, 16.0),)
    assert samples[f"{OPENED}#0"].boxes == ((2.0, 2.0, 8.0, 8.0),)
    mask = samples[f"{LOGICAL}#1"].mask
    assert mask is not None
    assert len(mask.files) == 2
    pixels = mask.read((32, 24))
    assert pixels[0, 0]
    assert pixels[19, 27]
    assert pixels.sum() == 6 * 8 + 6 * 8
    assert samples[f"{RENAMED}#0"].mask is None
    assert samples[f"{GOOD}#0"].mask is None
    single = deepcopy(ENTRIES)
    single[LOGICAL]["mask_path"] = "ground_truth/logical_anomalies/002/000.png"
    assert listed(write_mmad(root, single))[f"{LOGICAL}#0"].mask == mask
    (root / "VisA/candle/test/ground_truth/bad/004.png").unlink()
    with pytest.raises(DataError, match=re.escape("VisA/candle/ground_truth/bad/004.png")):
        _ = listed(root)[f"{BAD}#0"].boxes


def test_the_first_key_that_begins_with_conversation_counts(root: Path):
    question = listed(root)[f"{RENAMED}#0"].question
    assert question is not None
    assert question.answer == "A"
    assert opened("mmad", root).split("test")[5].attributes["mmad_dataset"] == "DS-MVTec"


@pytest.mark.parametrize(
    ("overrides", "names"),
    [
        ([], ["000"]),
        (["dataset.layout.shots=0"], []),
        (["dataset.layout.shots=2"], ["000", "001"]),
        (["dataset.layout.shots=3"], ["000", "001"]),
        (["dataset.layout.shots=2", "dataset.layout.templates=similar"], ["002", "003"]),
    ],
)
def test_templates_are_references(root: Path, overrides: list[str], names: list[str]):
    references = listed(root, *overrides)[f"{BAD}#1"].references
    assert [path.relative_to(root).as_posix() for path in references] == [
        f"VisA/candle/train/good/{name}.png" for name in names
    ]


def test_what_is_wanted_can_be_chosen(root: Path):
    by_kind = listed(root, "dataset.layout.kinds=[Anomaly Detection,Object Analysis]")
    assert len(by_kind) == 10
    assert f"{BAD}#1" in by_kind
    mvtec = listed(root, "dataset.layout.datasets=[DS-MVTec]")
    assert {name.partition("#")[0] for name in mvtec} == {BROKEN, GOOD, RENAMED}
    assert {one.category for one in listed(root, "dataset.category=food_box").values()} == {"food box"}


def test_knowledge_is_all_texts_of_the_category(root: Path, tmp_path: Path):
    texts = {"MVTec": {"bottle": {"broken_large": "Glass is missing.", "good": "Round."}}}
    file = tmp_path / "domain_knowledge.json"
    file.write_text(json.dumps(texts))
    only = ["dataset.layout.datasets=[DS-MVTec]", f"dataset.layout.knowledge={file}"]
    assert {one.knowledge for one in listed(root, *only).values()} == {"Glass is missing.\nRound."}
    with pytest.raises(DataError, match=re.escape(f"{file}: has no texts for MVTec-LOCO, juice_bottle")):
        listed(root, only[1])


def test_the_released_knowledge_covers_what_it_says(shared: Path, root: Path):
    file = shared / "data" / "mmad" / "domain_knowledge.json"
    samples = listed(root, f"dataset.layout.knowledge={file}")
    assert all(len(one.knowledge) > 100 for one in samples.values())


def test_a_fraction_keeps_the_questions_of_an_image_together(tmp_path: Path):
    entries = {
        f"VisA/candle/test/{kind}/{number:03d}.JPG": {"conversation": [DETECTION, KIND, DETAILS][: 1 + number % 3]}
        for kind in ("good", "bad")
        for number in range(20)
    }
    root = write_mmad(tmp_path, entries)
    data = opened("mmad", root, "dataset/split=fraction", "dataset.split.val_fraction=0.05")
    images = {part: {one.image for one in data.split(part)} for part in ("train", "val", "test")}
    assert {part: len(found) for part, found in images.items()} == {"train": 8, "val": 2, "test": 30}
    assert not images["train"] & images["test"]
    assert not images["val"] & (images["train"] | images["test"])
    assert sum(len(data.split(part)) for part in images) == sum(len(e["conversation"]) for e in entries.values())
    assert Counter(path.parent.name for path in images["train"]) == {"good": 4, "bad": 4}
    other = opened("mmad", root, "dataset/split=fraction", "dataset.split.seed=1")
    assert {one.image for one in other.split("train")} != images["train"]


def changed(root: Path, change: Any) -> None:
    content = json.loads((root / "mmad.json").read_text())
    change(content)
    (root / "mmad.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c[BROKEN]["conversation"][1].pop("Answer"), f"{BROKEN!r}: question #1: 'Answer' must be a text"),
        (lambda c: c[BROKEN]["conversation"][1].update(Answer="E"), "question #1: 'Answer' 'E' is none of its options"),
        (lambda c: c[BROKEN]["conversation"][0].update(Options={"A": "Yes."}), "question #0: 'Options' must be 2 to 5"),
        (lambda c: c[BROKEN]["conversation"][0]["Options"].update(B=3), "question #0: option B must be a text, not 3"),
        (lambda c: c[BROKEN].update(conversation={}), f"{BROKEN!r}: its questions must be a list"),
        (lambda c: c.update({BROKEN: []}), f"{BROKEN!r}: must be an object, not []"),
        (lambda c: c[BROKEN].pop("random_templates"), "'random_templates' must be a list, not None"),
        (lambda c: c[BROKEN].update(random_templates=["../x.png"]), "'../x.png' is no path inside"),
        (lambda c: c[BROKEN].update(random_templates=[7]), "7 is no path inside"),
        (lambda c: c[BROKEN].update(mask_path="/etc/passwd"), "'/etc/passwd' is no path inside"),
        (lambda c: c[BROKEN].update(mask_path=["x"]), "'mask_path' must be a path, not ['x']"),
        (lambda c: c.update({"VisA/../../x/good/0.png": c[BROKEN]}), "'VisA/../../x/good/0.png' is no path inside"),
        (lambda c: c.update({"0.png": c[BROKEN]}), "'0.png': is not <data set>/<category>/"),
    ],
)
def test_what_is_wrong_is_named_with_image_and_question(root: Path, change: Any, message: str):
    changed(root, change)
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        listed(root)
    assert str(caught.value).startswith(str(root / "mmad.json"))


def test_an_image_without_questions_is_told(root: Path):
    changed(root, lambda content: content[FULL].pop("conversation"))
    data: Any = opened("mmad", root)
    assert len(data.split("test")) == 13
    assert data.excluded == {FULL: "has no questions"}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("dataset.layout.kinds=[Detection]", "dataset.layout.kinds: 'Detection' is none of Anomaly Detection,"),
        ("dataset.layout.datasets=[MVTec]", "dataset.layout.datasets: 'MVTec' is not in"),
        ("dataset.layout.shots=-1", "dataset.layout.shots must not be negative, but is -1"),
        ("dataset.layout.templates=best", "dataset.layout.templates: 'best' is not one of 'random', 'similar'"),
        ("dataset.category=pcb", "dataset.category=pcb: not in"),
    ],
)
def test_wrong_options_are_named(root: Path, override: str, message: str):
    with pytest.raises(ConfigError, match=re.escape(message)):
        listed(root, override)


def test_a_file_that_is_no_json_is_named(root: Path):
    (root / "mmad.json").write_text("{")
    with pytest.raises(DataError, match=re.escape(f"{root / 'mmad.json'}: not JSON")):
        listed(root)
    (root / "mmad.json").unlink()
    with pytest.raises(DataError, match=re.escape(f"{root / 'mmad.json'}: cannot be read")):
        listed(root)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
PLACES = [
    (),
    ("mask_path",),
    ("random_templates",),
    ("random_templates", 0),
    ("conversation",),
    ("conversation", 1),
    *(("conversation", 1, name) for name in ("Question", "Answer", "Options", "type")),
    ("conversation", 1, "Options", "B"),
]


@given(value=JSON, place=st.sampled_from(PLACES), key=st.text(max_size=12))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_stands_in_the_file_gives_samples_or_a_data_error(tmp_path: Path, value: Any, place: Any, key: str):
    content = {key: {}, BROKEN: {"random_templates": ["a/b.png"], **deepcopy(mmad_tree.ENTRIES[BROKEN])}}
    node: Any = content
    for step in (BROKEN, *place)[:-1]:
        node = node[step]
    node[(BROKEN, *place)[-1]] = value
    if key != BROKEN and key.count("/") < 3:
        del content[key]
    (tmp_path / "mmad.json").write_text(json.dumps(content))
    told = ""
    try:
        listing = mmad(Source(root=tmp_path))
    except DataError as error:
        told = str(error)
    else:
        assert all(sample.image == tmp_path / BROKEN for sample in listing.parts["test"])
    assert told == "" or told.encode().startswith(str(tmp_path / "mmad.json").encode())


@given(content=st.binary(max_size=40) | JSON.map(lambda value: json.dumps(value).encode()))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_file_is_read_or_refused(tmp_path: Path, content: bytes):
    (tmp_path / "mmad.json").write_bytes(content)
    with pytest.raises(DataError):
        mmad(Source(root=tmp_path))


@pytest.mark.slow
def test_all_questions_of_the_release_are_listed_in_seconds(tmp_path: Path):
    entries = {
        f"VisA/candle/test/{'good' if number % 2 else 'bad'}/{number:04d}.JPG": {
            "conversation": [DETECTION, KIND, DETAILS, DETAILS, KIND],
            "random_templates": ["VisA/candle/train/good/000.JPG"],
            "mask_path": f"ground_truth/bad/{number:04d}.png",
        }
        for number in range(8366)
    }
    (tmp_path / "mmad.json").write_text(json.dumps(entries))
    start = time.process_time()
    samples = mmad(Source(root=tmp_path)).parts["test"]
    print(f"{len(samples)} questions listed in {time.process_time() - start:.1f} s of CPU time; no image is there")
    assert len(samples) == 5 * 8366
    assert np.unique([sample.id for sample in samples]).size == len(samples)
