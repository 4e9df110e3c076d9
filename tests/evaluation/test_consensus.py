from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from reading_support import asked

from adfm.evaluation.consensus import clusters, consensus, likeness
from adfm.evaluation.localization import overlaps
from adfm.reasoning.layout import REASONS
from adfm.types import Box, Prompt, Verdict

_, PROMPT = asked("three_stage")
"""The image is 224 x 224, the model writes on a grid of 112 x 112."""
FIRST, SECOND, THIRD = (0.0, 0.0, 10.0, 10.0), (2.0, 0.0, 12.0, 10.0), (1.0, 1.0, 11.0, 11.0)
"""Each two overlap: IoU 80/120, 81/119, 81/119."""
ELSEWHERE = (50.0, 50.0, 60.0, 60.0)


def verdict(anomalous: bool | None, *boxes: Box, letter: str | None = None, text: str = "") -> Verdict:
    return Verdict(
        text=text,
        stages={"answer": text},
        reasoning_letter=None,
        answer_letter=letter or {True: "a", False: "b", None: None}[anomalous],
        anomalous=anomalous,
        boxes_written=boxes,
        boxes=PROMPT.frame.original(boxes),
        reasons=() if anomalous is not None else ("no_answer",),
    )


def test_three_draws_agree_on_the_median_of_their_boxes() -> None:
    draws = [verdict(True, FIRST, text="one"), verdict(True, SECOND, text="two"), verdict(True, THIRD, text="three")]
    found, confidences = consensus(draws, PROMPT, score=2.0)
    assert (found.anomalous, found.answer_letter, found.reasons) == (True, "a", ())
    assert found.boxes_written == ((1.0, 0.0, 11.0, 10.0),)
    assert found.boxes == ((2.0, 0.0, 22.0, 20.0),)
    assert confidences == (1.0,)
    assert (found.text, found.stages) == ("one", {"answer": "one"})  # all IoU 90/110 with the median: the first


def test_the_text_is_that_of_the_nearest_draw_that_agrees() -> None:
    median = (1.0, 0.0, 11.0, 10.0)
    draws = [
        verdict(False, median, text="of another mind"),
        verdict(True, FIRST, text="far"),
        verdict(True, median, text="near"),
        verdict(True, SECOND, text="far too"),
    ]
    found, confidences = consensus(draws, PROMPT, score=None)
    assert found.text == "near"
    assert found.boxes_written == (median,)
    assert confidences == (1.0,)


def test_a_box_stays_if_half_of_those_that_agree_have_it() -> None:
    with_two = [verdict(True, FIRST, ELSEWHERE), verdict(True, SECOND), verdict(False)]
    found, confidences = consensus(with_two, PROMPT, score=0.0)
    assert found.boxes_written == ((1.0, 0.0, 11.0, 10.0), ELSEWHERE)
    assert confidences == pytest.approx((2 / 3, 1 / 3))
    with_three = [*with_two, verdict(True, FIRST)]
    found, confidences = consensus(with_three, PROMPT, score=0.0)
    assert found.boxes_written == (FIRST,)  # medians of 0, 2, 0 and of 10, 12, 10
    assert confidences == (0.75,)
    outvoted, confidences = consensus([verdict(True, FIRST), verdict(False), verdict(False)], PROMPT, score=9.0)
    assert (outvoted.anomalous, outvoted.boxes, confidences) == (False, (), ())


def test_a_draw_has_one_box_in_a_place() -> None:
    draws = [verdict(True, FIRST, THIRD), verdict(True, SECOND)]
    found, confidences = consensus(draws, PROMPT, score=None)
    assert found.boxes_written == ((1.5, 0.5, 11.5, 10.5), FIRST)  # THIRD is nearer to SECOND than FIRST is
    assert confidences == (1.0, 0.5)


def test_what_could_not_be_read_does_not_vote_but_counts_as_a_draw() -> None:
    found, confidences = consensus([verdict(None), verdict(True, FIRST), verdict(None)], PROMPT, score=-3.0)
    assert (found.anomalous, found.reasons) == (True, ())
    assert confidences == pytest.approx((1 / 3,))
    found, _ = consensus([verdict(None, text="first"), verdict(None)], PROMPT, score=5.0)
    assert (found.anomalous, found.answer_letter, found.text, found.reasons) == (None, None, "first", ("no_answer",))


@pytest.mark.parametrize(
    ("score", "anomalous", "letter", "reasons"),
    [(0.5, True, "a", ()), (-0.5, False, "b", ()), (0.0, False, "b", ()), (None, None, None, ("no_majority",))],
)
def test_a_tie_is_decided_by_the_score(
    score: float | None, anomalous: bool | None, letter: str | None, reasons: tuple[str, ...]
) -> None:
    found, _ = consensus([verdict(False), verdict(True, FIRST)], PROMPT, score=score)
    assert (found.anomalous, found.answer_letter, found.reasons) == (anomalous, letter, reasons)
    assert set(found.reasons) <= set(REASONS)


def test_a_question_that_does_not_decide_is_answered_by_the_most_frequent_letter() -> None:
    other: Prompt = replace(PROMPT, choices=dict.fromkeys("ABC"))
    said = [verdict(None, letter=letter, text=letter) for letter in "BCC"]
    found, _ = consensus(said, other, score=None)
    assert (found.answer_letter, found.anomalous, found.text) == ("C", None, "C")
    assert consensus(said[:2], other, score=None)[0].answer_letter == "B"


def test_the_consensus_of_one_draw_is_that_draw() -> None:
    for alone in (verdict(True, FIRST, ELSEWHERE, text="x"), verdict(False, text="y"), verdict(None)):
        found, confidences = consensus([alone], PROMPT, score=None)
        assert found == alone
        assert confidences == (1.0,) * len(alone.boxes)


def test_the_place_that_most_draws_name_comes_first() -> None:
    found = clusters([[ELSEWHERE], [FIRST], [SECOND], []])
    assert found == [[(1, FIRST), (2, SECOND)], [(0, ELSEWHERE)]]
    assert clusters([[], []]) == []


def test_boxes_without_an_area_are_places_of_their_own() -> None:
    empty, reversed_box = (5.0, 5.0, 5.0, 9.0), (9.0, 9.0, 1.0, 1.0)
    assert clusters([[empty, reversed_box], [empty]]) == [[(0, empty)], [(0, reversed_box)], [(1, empty)]]


def test_overlaps_and_likeness() -> None:
    assert overlaps([FIRST, SECOND], [SECOND, ELSEWHERE]) == pytest.approx(
        np.array([[80 / 120, 0.0], [1.0, 0.0]]), abs=1e-12
    )
    assert overlaps([], [FIRST]).shape == (0, 1)
    assert likeness([FIRST], [SECOND]) == pytest.approx(2 / 3)
    assert (likeness([], []), likeness([FIRST], []), likeness([FIRST], [FIRST])) == (1.0, 0.0, 1.0)
