from __future__ import annotations

import re

import pytest
from reading_support import grows_linearly

from adfm.reasoning.parse import boxes, concluded_letter, said_letter, sections

TAGS = {"think": "think", "answer": "answer"}


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"),
        ("b", "B"),
        (" (B). ", "B"),
        ("**B**", "B"),
        ("B. No", "B"),
        ("B: no defect", "B"),
        ("Option B", "B"),
        ("The correct answer is B.", "B"),
        ("B。", "B"),
        ("C", None),
        ("A defect", None),
        ("a normal part", None),
        ("abnormal", None),
        ("A or B", None),
        ("A. Yes, B. No", None),
        ("AB", None),
        ("", None),
        ("none", None),
    ],
)
def test_an_answer_says_one_letter_or_none(text, letter):
    assert said_letter(text, "AB") == letter


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("A scratch is seen, so the answer is B.", "B"),
        ("A scratch is seen.", None),
        ("I see A and B.", None),
        ("Hence A scratch.", None),
        ("So a scratch, and the answer is a crack.", None),
        ("Option A fits, so (A)", "A"),
        ("Therefore, A.", "A"),
        ("The answer is A. No wait, the answer is B.", "B"),
        ("The answer is not A.", None),
        ("Answer: B", "B"),
        ("It looks fine.\nB", "B"),
        ("I choose B because it is even.", "B"),
        ("CAD model, grade A steel", None),
        ("thus the answer is **A**", "A"),
        ("so D.", None),
    ],
)
def test_reasoning_concludes_with_a_letter_and_not_with_the_article(text, letter):
    assert concluded_letter(text, "AB") == letter


def test_lower_case_letters_are_told_from_the_article():
    assert concluded_letter("It is a real scratch, so a.", "ab") == "a"
    assert concluded_letter("So a scratch is there.", "ab") is None
    assert said_letter("a", "ab") == "a"
    assert said_letter("A", "ab") == "a"


@pytest.mark.parametrize(
    ("text", "think", "answer"),
    [
        ("<think>x</think> and <answer>b</answer>!", ("x", None), ("b", None)),
        ("<THINK>x</THINK><Answer>b</Answer>", ("x", None), ("b", None)),
        ("<answer>b</answer>", (None, "no"), ("b", None)),
        ("<think>x<answer>b</answer>", (None, "no"), ("b", None)),
        ("<think>x</think><answer>b", ("x", None), (None, "no")),
        ("<think>x</think><answer>a</answer><answer>b</answer>", ("x", None), (None, "repeated")),
        ("<think>x<think>y</think><answer>b</answer>", (None, "repeated"), ("b", None)),
        ("<answer>b</answer><think>x</think>", ("x", None), (None, "misplaced")),
        ("<think>x<answer>b</answer></think>", ("x<answer>b</answer>", None), (None, "misplaced")),
        ("</answer><answer>", (None, "no"), (None, "no")),
        ("", (None, "no"), (None, "no")),
    ],
)
def test_stages_are_read_once_closed_and_in_order(text, think, answer):
    found = sections(text, TAGS)
    assert (found["think"][:2], found["answer"][:2]) == (think, answer)
    for section in found.values():
        assert section.text is None or text[section.start :].startswith(section.text)


def test_boxes_are_four_plain_numbers():
    (first, second), bad = boxes("[1, 2, 3, 4] [ 5.5,6 , 7,8]")
    assert (first.box, second.box, bad) == ((1.0, 2.0, 3.0, 4.0), (5.5, 6.0, 7.0, 8.0), False)
    assert second.spans == ((15, 18), (19, 20), (23, 24), (25, 26))
    (inside,), bad = boxes("{'bbox_2d': [1, 2, 3, 4]}")
    assert (inside.box, bad) == ((1.0, 2.0, 3.0, 4.0), False)
    assert boxes("none") == ((), False)
    for text in ("[1, 2, 3]", "[1, 2, 3, 1e400]", "[nan, 1, 2, 3]", "[x0, y0, x1, y1]", f"[1, 2, 3, {'9' * 5000}]"):
        assert boxes(text) == ((), True)


@pytest.mark.parametrize(
    "piece",
    [
        "<think>",
        "</think><answer>",
        "<think></answer>",
        "[",
        "[1,",
        "[ " * 3,
        "so ",
        "answer is ",
        "A. ",
        " ",
        "\n",
        "9",
        "(",
        "A",
    ],
)
def test_reading_takes_linear_time(piece):
    assert grows_linearly(lambda text: sections(text, TAGS), piece)
    assert grows_linearly(lambda text: concluded_letter(text, "AB"), piece)
    assert grows_linearly(lambda text: said_letter(text, "AB"), piece)
    assert grows_linearly(boxes, piece)


def test_square_time_is_not_taken_for_linear():
    assert not grows_linearly(re.compile("9*x").findall, "9")
