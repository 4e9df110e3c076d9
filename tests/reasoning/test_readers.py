from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adfm.reasoning.readers import READERS, anomalyr1, official, strict

YES_NO = {"A": "Yes.", "B": "No."}
FOUR = {"A": "A scratch on the cap", "B": "Crack", "C": "Hole", "D": "Stain"}


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("c", "C"),
        ("(c)", "C"),
        ("b.", "B"),
        ("Answer: B", "B"),
        ("The correct answer is (D).", "D"),
        ("B. Crack", "B"),
        ("  hole. ", "C"),
        ("a scratch on the cap", "A"),
        ("<think>A or B</think><answer>C</answer>", "C"),
        ("A bottle with a crack", None),
        ("A or B", None),
        ("A. A scratch, or B. Crack", None),
        ("AB", None),
        ("E", None),
        ("<answer>A</answer><answer>B</answer>", None),
        ("<answer></answer>B", None),
        ("I cannot say", None),
        ("", None),
        ("...", None),
        (None, None),
    ],
)
def test_strict_reads_one_unambiguous_choice_or_none(text, letter):
    assert strict(text, FOUR) == letter


def test_strict_reads_an_option_text_only_if_it_is_one_option():
    assert strict("Crack", {"A": "Crack", "B": "crack."}) is None
    assert strict("", {"A": "", "B": "No."}) is None


@pytest.mark.parametrize(
    ("text", "options", "letter"),
    [
        ("Answer: B", YES_NO, "B"),
        ("(C)", YES_NO, "C"),
        ("A bottle with a crack", YES_NO, "A"),
        ("B, or rather A bottle", YES_NO, "A"),
        ("AB", YES_NO, "A"),
        ("b.", YES_NO, "B"),
        ("yes", YES_NO, "A"),
        ("E", YES_NO, "E"),
        ("", YES_NO, "A"),
        ("no idea", {}, None),
        (None, YES_NO, None),
    ],
)
def test_official_takes_the_last_standalone_letter_else_the_closest_option(text, options, letter):
    assert official(text, options) == letter


@pytest.mark.parametrize(
    ("text", "options", "letter"),
    [
        ("<answer>B</answer>", YES_NO, "B"),
        ("<answer>A</answer> no: <answer>B</answer>", YES_NO, "B"),
        ("<answer>the Defect is there, A</answer>", YES_NO, "D"),
        ("<answer>yes. it is</answer>", YES_NO, "A"),
        ("<answer>yes</answer>", YES_NO, None),
        ("<answer></answer>", {"A": ""}, None),
        ("</answer>A<answer>", YES_NO, None),
        ("B", YES_NO, None),
        ("", YES_NO, None),
        (None, YES_NO, None),
    ],
)
def test_anomalyr1_takes_the_first_capital_in_the_last_answer_else_a_contained_option(text, options, letter):
    assert anomalyr1(text, options) == letter


@given(st.none() | st.text(max_size=60), st.dictionaries(st.sampled_from("ABCDE"), st.text(max_size=12)))
def test_readers_give_a_letter_or_none_whatever_is_written(text, options):
    for name, read in READERS.items():
        letter = read(text, options)
        assert letter is None or letter in (options if name == "strict" else "ABCDE")
