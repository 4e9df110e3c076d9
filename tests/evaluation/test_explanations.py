from __future__ import annotations

from typing import Any

import pytest
from evaluation_support import predicted

from adfm.evaluation import explanations, metrics
from adfm.evaluation.prediction import Prediction
from adfm.reasoning.explanation import places
from adfm.reasoning.phrases import position


def thinking(text: str, **changes: Any) -> Prediction:
    """About an image of 30 x 30 pixels."""
    stages = {"think": text, "answer": "a", "location": "[0, 0, 9, 9]"}
    return predicted(0, True, True, stages=stages, width=30, height=30, **changes)


@pytest.mark.parametrize(
    ("text", "reference", "expected"),
    [
        ("A crack, top left.", "a crack top left", 1.0),
        ("the cat sat", "the cat is sat", 6 / 7),  # 3 of 3 and 3 of 4
        ("left a crack", "a crack left", 2 / 3),  # the longest common subsequence is "a crack"
        ("a crack", "no defect", 0.0),
        ("划痕在左", "划痕", 2 / 3),  # 2 of 4 and 2 of 2
        ("Überall Schürfungen", "überall", 2 / 3),
    ],
)
def test_rouge_l_by_hand(text: str, reference: str, expected: float) -> None:
    one = thinking(text, attributes={"explanation": reference})
    assert explanations.rouge_l(one) == pytest.approx(expected, abs=1e-6)


def test_what_could_not_be_read_is_compared_as_a_whole() -> None:
    unread = predicted(0, True, None, text="a crack", stages={"think": None}, attributes={"explanation": "a crack"})
    assert explanations.rouge_l(unread) == 1.0


def test_without_a_reference_it_is_undefined() -> None:
    assert explanations.rouge_l(thinking("a crack")) is None
    found = metrics.table([thinking("a crack")], resamples=0)["overall"]["rouge_l"]
    assert found == {
        "value": None,
        "reason": "no sample has a reference explanation (the attribute `explanation`)",
    }


def test_only_samples_with_a_reference_count() -> None:
    found = metrics.summary([thinking("a crack", attributes={"explanation": "a crack"}), thinking("so")])
    assert found["rouge_l"] == 1.0


BOX = ((0.0, 0.0, 3.0, 3.0),)


def test_the_answer_follows_from_the_boxes() -> None:
    cases = [(True, BOX, True), (True, (), False), (False, (), True), (False, BOX, False), (None, BOX, None)]
    said = [predicted(i, True, called, boxes=boxes) for i, (called, boxes, _) in enumerate(cases)]
    assert [explanations.boxes_agree(one) for one in said] == [expected for *_, expected in cases]
    assert metrics.summary(said)["boxes_agree"] == 0.5
    assert "boxes_agree" not in metrics.summary(said, boxes=False)


def test_the_reasoning_concludes_with_the_answer() -> None:
    letters = [("A", "a"), ("a", "b"), (None, "a"), ("a", None)]
    said = [predicted(i, True, True, reasoning_letter=r, answer_letter=a) for i, (r, a) in enumerate(letters)]
    assert [explanations.letters_agree(one) for one in said] == [True, False, None, None]
    assert metrics.summary(said)["letters_agree"] == 0.5


TOP_LEFT, TOP_RIGHT, MIDDLE, BELOW = (0, 0, 6, 6), (24, 0, 30, 6), (12, 12, 18, 18), (12, 24, 18, 90)


@pytest.mark.parametrize(
    ("text", "boxes", "expected"),
    [
        ("A crack, top left.", (TOP_LEFT,), 1.0),
        ("A crack, Upper-Left.", (TOP_LEFT,), 1.0),
        ("A crack at the top.", (TOP_LEFT,), 1.0),  # the upper third
        ("A crack, top right.", (TOP_LEFT,), 0.0),
        ("A crack, top.", (TOP_LEFT, MIDDLE), 0.5),
        ("Cracks, top left and centre.", (TOP_LEFT, MIDDLE), 1.0),
        ("In the center.", (TOP_LEFT,), 0.0),
        ("At the bottom.", (BELOW,), 1.0),  # what lies outside the image is cut off
        ("On the right.", (TOP_RIGHT,), 1.0),
        ("Stop! A bright, leftover crack.", (TOP_LEFT,), None),  # no whole word names a part
        ("A crack, top left.", (), None),
    ],
)
def test_boxes_lie_where_the_text_says(text: str, boxes: tuple, expected: float | None) -> None:
    assert explanations.places_agree(thinking(text, boxes=boxes)) == expected


def test_every_word_of_position_is_read() -> None:
    for row in range(3):
        for column in range(3):
            box = (10.0 * column, 10.0 * row, 10.0 * column + 8, 10.0 * row + 8)
            assert places(f"A crack, {position(box, 30, 30)}.") == {position(box, 30, 30)}


def test_agreement_is_undefined_where_nothing_can_agree() -> None:
    found = metrics.table([predicted(0, True, None)], resamples=20)["overall"]
    reasons = {name: found[name]["reason"] for name in ("boxes_agree", "letters_agree", "places_agree")}
    assert reasons == {
        "boxes_agree": "no verdict could be read",
        "letters_agree": "no reasoning concludes with a letter",
        "places_agree": "no text that comes with boxes names a part of the image",
    }
