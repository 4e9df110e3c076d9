from __future__ import annotations

import json

import pytest

from adfm.evaluation.mmad.answers import Answer, read_answers
from adfm.evaluation.mmad.scoring import tables

DETECTION = "Anomaly Detection"
COLUMNS = [DETECTION, "Object Analysis", "Average", "Overkill", "Miss"]
NORMAL, BROKEN = "DS-MVTec/bottle/image/good/000.png", "DS-MVTec/bottle/image/broken/000.png"


def answer(chosen: str | None, correct: str | None = "A", image: str = NORMAL, kind: str = DETECTION) -> Answer:
    return Answer(image=image, question_type=kind, correct=correct, chosen=chosen, read_by="file")


def percent(*answers: Answer, scoring: str = "official"):
    return tables(answers, resamples=0)[scoring].percent()


def counts(*answers: Answer, scoring: str = "official"):
    return tables(answers, resamples=0)[scoring].counts


def test_official_equals_the_released_scorer(shared):
    file = shared / "golden" / "mmad_scoring.json"
    expected = json.loads(file.read_text())["expected_official"]
    found = tables(read_answers(file), resamples=0)["official"].percent()
    assert list(found) == list(expected)
    for row, cells in expected.items():
        assert list(found[row]) == list(cells)
        assert found[row] == pytest.approx(cells, abs=1e-6)


def test_official_by_hand():
    found = percent(
        answer("A"),
        answer("B"),
        answer("A", image=BROKEN),
        answer("B", image=BROKEN, kind="Object Structure"),
        answer("A", image=BROKEN, kind="Object Details"),
        answer("A", image=BROKEN, kind="Object Analysis"),
        answer("A", image="VisA/pcb1/test/bad/1.JPG"),
    )
    first = [(50 + 100) / 2, 200 / 3, (75 + 200 / 3) / 2, 50, 0]
    second = [(0 + 100) / 2, 0, 25, 100, 0]  # no normal image and no object question: both shares are 0
    assert [list(cells) for cells in found.values()] == [COLUMNS] * 3
    assert list(found["DS-MVTec"].values()) == pytest.approx(first)
    assert list(found["VisA"].values()) == pytest.approx(second)
    assert list(found["Average"].values()) == pytest.approx([(a + b) / 2 for a, b in zip(first, second, strict=True)])


@pytest.mark.parametrize(
    ("letters", "right", "dropped", "skipped"),
    [
        ("AXBA", 100, 1, 1),  # B is never looked at
        ("AX", 100, 1, 0),
        ("XXBA", 50, 1, 1),  # the second X is skipped and skips nothing
        ("XAXBA", 100, 2, 2),
        ("XXX", 0, 2, 1),
        ("AXXXB", 100, 2, 2),
        ("bBA", 100, 1, 1),
    ],
)
def test_official_drops_an_answer_without_a_letter_and_skips_the_next(letters, right, dropped, skipped):
    answers = [answer(letter, kind="Defect Analysis") for letter in letters]
    assert percent(*answers)["DS-MVTec"]["Defect Analysis"] == right
    found = counts(*answers)
    assert found.get("dropped for a letter outside A to E", 0) == dropped
    assert found.get("skipped after a dropped one", 0) == skipped
    assert sum(found.values()) == len(letters)


def test_official_drops_for_the_right_answer_too_and_keeps_rows_and_columns_of_what_is_dropped():
    found = percent(answer("A", correct="F", kind="Novel"), answer("A", image="VisA/a/b/c"), answer("A"))
    assert list(found) == ["DS-MVTec", "VisA", "Average"]
    assert list(found["VisA"]) == ["Novel", "Anomaly Detection", "Average", "Overkill", "Miss"]
    assert found["VisA"] == {"Novel": 0, "Anomaly Detection": 0, "Average": 0, "Overkill": 100, "Miss": 100}
    assert found["DS-MVTec"]["Anomaly Detection"] == 50


def test_official_finds_good_inside_words_and_keeps_mvtec_ad_apart():
    found = percent(answer("B", image="MVTec-AD/x/test/not_good/1.png"), answer("A", image="GoodsAD/x/test/bad/1.jpg"))
    assert list(found) == ["MVTec-AD", "GoodsAD", "Average"]
    assert (found["MVTec-AD"]["Overkill"], found["MVTec-AD"]["Miss"]) == (100, 100)
    assert (found["GoodsAD"]["Overkill"], found["GoodsAD"]["Miss"]) == (100, 0)


def test_strict_by_hand():
    types = ("Defect Classification", "Defect Localization", "Defect Description", "Defect Analysis")
    answers = [
        answer("A"),
        answer("X"),
        answer(None, image="MVTec-AD/bottle/test/not_good/1.png"),
        answer("A", image=BROKEN),
        *(answer("A", image=BROKEN, kind=kind) for kind in types),
        answer("AB", image=BROKEN, kind="Object Classification"),
        answer("A", image=BROKEN, kind="Object Details"),
    ]
    found = percent(*answers, scoring="strict")
    assert list(found) == ["DS-MVTec", "Average"]
    assert found["DS-MVTec"] == found["Average"]
    assert list(found["DS-MVTec"].items()) == [
        ("Anomaly Detection", 50),
        *((kind, 100) for kind in types),
        ("Object Classification", 0),
        ("Object Analysis", 100),
        ("Average", pytest.approx(550 / 7)),
        ("Overkill", 50),
        ("Miss", 50),
        ("Unparsable", 30),
    ]


def test_strict_says_why_a_cell_is_empty():
    rows = tables([answer("A"), answer("B", image="VisA/a/test/bad/1.JPG")], resamples=0)["strict"].rows
    assert rows["DS-MVTec"]["Overkill"] == {"value": 0.0}
    assert rows["DS-MVTec"]["Miss"] == {"value": None, "reason": "no detection question about an anomalous image"}
    assert rows["DS-MVTec"]["Anomaly Detection"]["reason"] == "no detection question about an anomalous image"
    assert rows["VisA"]["Anomaly Detection"]["reason"] == "no detection question about a normal image"
    assert rows["DS-MVTec"]["Defect Analysis"] == {"value": None, "reason": "no such question"}
    assert rows["DS-MVTec"]["Average"]["reason"].startswith("no value for Anomaly Detection, Defect Classification")
    assert rows["Average"]["Miss"] == {"value": None, "reason": "not defined for DS-MVTec"}
    assert rows["Average"]["Overkill"] == {"value": None, "reason": "not defined for VisA"}


def test_strict_leaves_out_and_counts_what_the_model_is_not_to_blame_for():
    answers = [answer("A"), answer("A", kind="Novel"), answer("A", correct="F"), answer("A", correct=None)]
    assert counts(*answers, scoring="strict") == {
        "counted": 1,
        "left out for a question type that MMAD does not have": 1,
        "left out for a right answer outside A to E": 2,
    }
    assert percent(*answers[1:], scoring="strict")["DS-MVTec"]["Unparsable"] is None


@pytest.mark.parametrize("scoring", ["official", "strict"])
def test_intervals_are_over_images(scoring):
    """Ten questions about one image move together; ten about ten images do not."""
    kind = "Object Analysis"
    letters = "AAAAABBBBB"
    apart = [answer(letter, image=f"VisA/a/test/bad/{i}.JPG", kind=kind) for i, letter in enumerate(letters)]
    pairs = [answer(letter, image=f"VisA/a/test/bad/{letter}.JPG", kind=kind) for letter in letters]
    wide, narrow, none = (
        tables(answers, resamples=resamples)[scoring].rows["VisA"][kind]
        for answers, resamples in ((pairs, 500), (apart, 500), (apart, 0))
    )
    assert wide["value"] == narrow["value"] == none["value"] == 50
    assert (wide["low"], wide["high"]) == (0, 100)
    assert 0 < narrow["low"] < 50 < narrow["high"] < 100
    assert "low" not in none
    assert tables(apart, resamples=500)[scoring].rows["VisA"][kind] == narrow


@pytest.mark.parametrize(("scoring", "average"), [("official", 0), ("strict", None)])
def test_answers_of_which_none_can_be_read_have_a_table(scoring, average):
    table = tables([answer(None), answer(""), answer("AB")], resamples=10)[scoring]
    assert table.percent()["DS-MVTec"]["Overkill"] == 100
    assert table.percent()["DS-MVTec"]["Average"] == average


def test_no_answers_are_refused():
    with pytest.raises(ValueError, match="no answers"):
        tables([])
