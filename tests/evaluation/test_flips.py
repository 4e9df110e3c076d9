from dataclasses import replace
from typing import Any

import pytest

from adfm.errors import DataError
from adfm.evaluation.flips import is_right, mcnemar, pairs
from adfm.evaluation.prediction import Prediction


def said(name: str, anomalous: bool, predicted: bool | None, **fields: Any) -> Prediction:
    known: dict[str, Any] = {"image": f"{name}.png", "category": "tile", "defect_type": None, "width": 64, "height": 48}
    return Prediction(id=name, anomalous=anomalous, predicted=predicted, score=0.0, **known | fields)


def runs(verdicts: list[tuple[bool, bool | None, bool | None]]) -> tuple[list[Prediction], list[Prediction]]:
    """Make two runs of (truth, first verdict, second verdict)."""
    first = [said(f"s{number}", truth, one) for number, (truth, one, _) in enumerate(verdicts)]
    second = [said(f"s{number}", truth, other) for number, (truth, _, other) in enumerate(verdicts)]
    return first, second


def test_each_way_in_which_two_verdicts_meet() -> None:
    found = pairs(
        *runs(
            [
                (True, True, True),
                (True, False, True),
                (False, False, None),
                (False, None, True),
                (True, False, False),
                (True, None, None),
            ]
        )
    )
    assert [(pair.change, pair.flipped) for pair in found] == [
        ("right in both", False),
        ("fixed", True),
        ("broken", True),
        ("wrong in both", True),
        ("wrong in both", False),
        ("wrong in both", False),
    ]
    assert not is_right(said("unread", False, None))


def test_mcnemar_by_hand() -> None:
    """1 broken, 8 fixed: 2 x (C(9, 0) + C(9, 1)) / 2^9 = 20 / 512."""
    first, second = runs([(True, True, False)] + [(False, True, False)] * 8 + [(True, True, True)] * 3)
    test = mcnemar(pairs(first, second))
    assert (test.only_first, test.only_second, test.right_in_both, test.wrong_in_both) == (1, 8, 3, 0)
    assert test.p_value == pytest.approx(20 / 512)
    assert mcnemar(pairs(second, first)).p_value == pytest.approx(20 / 512)


@pytest.mark.parametrize(
    ("verdicts", "p_value"),
    [
        ([(True, True, True)] * 4, 1.0),  # no difference at all
        ([(True, True, False), (True, False, True)], 1.0),  # as many either way
        ([(True, False, True)] * 3, 0.25),  # 2 x (1/2)^3
        ([(True, None, True)] * 6, 0.03125),  # 2 x (1/2)^6: an unread verdict is wrong
    ],
)
def test_p_values_of_small_tables(verdicts: list[tuple[bool, bool | None, bool | None]], p_value: float) -> None:
    assert mcnemar(pairs(*runs(verdicts))).p_value == pytest.approx(p_value)


def test_pairs_do_not_depend_on_the_order() -> None:
    first, second = runs([(True, True, True), (False, True, False)])
    assert [(pair.first.id, pair.second.id) for pair in pairs(first, second[::-1])] == [("s0", "s0"), ("s1", "s1")]


def test_samples_that_one_run_lacks_are_named() -> None:
    first, second = runs([(True, True, True)] * 8)
    with pytest.raises(DataError, match=r"s1, s2, s3, s4, s5 and 2 more are in the first run alone"):
        pairs(first, second[:1])
    with pytest.raises(DataError, match="s7 is in the second run alone"):
        pairs(first[:7], second)


@pytest.mark.parametrize("change", [{"anomalous": False}, {"width": 65}, {"true_boxes": ((1.0, 2.0, 3.0, 4.0),)}])
def test_samples_of_one_name_with_another_truth_are_not_paired(change: dict[str, Any]) -> None:
    first, second = runs([(True, True, True)] * 2)
    with pytest.raises(DataError, match="s1 is not the same in both runs: another label"):
        pairs(first, [second[0], replace(second[1], **change)])


def test_questions_that_ask_for_no_verdict_are_left_out() -> None:
    question = {"kind": "Defect Location", "text": "Where?", "options": {}, "key": "a"}
    first, second = runs([(True, True, True)])
    other = said("q", True, None, question=question)
    assert [pair.first.id for pair in pairs([*first, other], second)] == ["s0"]
