from __future__ import annotations

import pytest

from adfm.rewards.composite import Composite, knowing
from adfm.rewards.examples import judged
from adfm.rewards.explanation import DefectType, Place

TYPES = ("scratch", "deep scratch", "hole")


@pytest.mark.parametrize(
    ("true", "text", "earned"),
    [
        ("scratch", "Two scratches, top left.", 1.0),
        ("scratch", "A deep scratch.", 0.0),
        ("scratch", "A scratch and a hole.", 0.0),
        ("scratch", "It differs.", 0.0),
        ("bent wire", "A bent wire.", 1.0),  # the true type is known even if it is not listed
        ("bent wire", "A bent wire or a hole.", 0.0),
    ],
)
def test_the_type_of_an_anomalous_sample(true: str, text: str, earned: float) -> None:
    assert DefectType(types=TYPES)(*judged(stages={"think": text, "answer": "hole"}, defect_type=true)) == earned


def test_a_normal_sample_is_paid_for_naming_no_type() -> None:
    said = ("Even and intact.", "A hole.", "A scratch or a hole.")
    assert [DefectType(types=TYPES)(*judged(stages={"think": t}, anomalous=False)) for t in said] == [1.0, 0.0, 1.0]
    assert [DefectType()(*judged(stages={"think": t}, anomalous=False)) for t in said] == [1.0, 1.0, 1.0]


def test_a_type_that_is_not_known_is_not_paid() -> None:
    verdict, prompt = judged(stages={"think": "A hole."})
    assert (DefectType(types=TYPES)(verdict, prompt), DefectType(types=TYPES).best(prompt)) == (0.0, 0.0)


def test_a_reward_tells_its_terms_the_types_of_the_data_set() -> None:
    silent, own = DefectType(), DefectType(types=["hole"])
    terms = {"silent": {"term": silent, "weight": 2.0}, "own": {"term": own}, "place": {"term": Place()}}
    told = knowing(Composite(terms, released_with="three_stage"), TYPES)
    assert isinstance(told, Composite)
    assert told.terms == {"silent": DefectType(types=TYPES), "own": own, "place": Place()}
    assert (told.weights, told.released_with) == ({"silent": 2.0, "own": 1.0, "place": 1.0}, "three_stage")
    verdict, prompt = judged(stages={"think": "A scratch or a hole."}, defect_type="scratch")
    assert (silent(verdict, prompt), told.terms["silent"](verdict, prompt)) == (1.0, 0.0)


TOP_LEFT, BOTTOM = (0.0, 0.0, 10.0, 10.0), (40.0, 80.0, 60.0, 100.0)


@pytest.mark.parametrize(
    ("text", "earned"),
    [
        ("Top left and bottom.", 1.0),  # (2 + 2) / (2 + 2)
        ("Top left.", 2 / 3),  # (1 + 1) / (2 + 1)
        ("Top left, bottom, centre and right.", 4 / 6),  # (2 + 2) / (2 + 4)
        ("On the left.", 2 / 3),  # a third in which one of two boxes lies
        ("In the centre.", 0.0),
        ("Somewhere.", 0.0),
    ],
)
def test_places_of_two_boxes_by_hand(text: str, earned: float) -> None:
    assert Place()(*judged(stages={"think": text}, true=[TOP_LEFT, BOTTOM])) == pytest.approx(earned)


def test_places_of_a_normal_sample_and_of_one_without_boxes() -> None:
    assert [Place()(*judged(stages={"think": t}, anomalous=False)) for t in ("All even.", "Top left.")] == [1.0, 0.0]
    verdict, prompt = judged(stages={"think": "Top left."})
    assert (Place()(verdict, prompt), Place().best(prompt)) == (0.0, 0.0)


def test_the_stage_with_the_boxes_and_the_answer_explain_nothing() -> None:
    stages = {"think": "Something is there.", "location": "top left", "answer": "left"}
    assert Place()(*judged(stages=stages, true=[TOP_LEFT])) == 0.0
