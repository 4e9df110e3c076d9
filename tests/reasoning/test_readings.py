from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reading_support import FRAMES, TEMPLATES, grows_linearly, sample, template

from adfm.reasoning.layout import REASONS
from adfm.reasoning.released import extract_choice

BUILT = {
    (option, reading): (made := template(option, reading=reading), made.ask(sample(), FRAMES))
    for option in TEMPLATES
    for reading in ("strict", "released")
}
PIECES = st.sampled_from(
    [
        *("<think>", "</think>", "<rethink>", "</rethink>", "<answer>", "</answer>", "<location>", "</location>"),
        *("<THINK>", "a", "B", "the answer is A.", "so b.", "[1, 2, 30, 40]", "[40, 30, 2, 1]", "[1, 2, 3, 1e400]"),
        *(
            "[nan, nan, nan, nan]",
            "[-1, 2, 3, 4]",
            f"[1, 2, 3, {'9' * 500}]",
            "[[",
            "]",
            "\n",
            "答案",
            "İ",
            "\ud800",
            "\0",
        ),
    ]
)
HOSTILE = st.one_of(st.text(), st.lists(st.one_of(PIECES, st.text(max_size=5)), max_size=30).map("".join))


@pytest.mark.parametrize(("option", "reading"), BUILT)
@settings(deadline=None)
@given(HOSTILE)
def test_reading_never_raises_and_never_gives_a_number_that_is_not_finite(option, reading, text):
    made, prompt = BUILT[option, reading]
    verdict = made.read(text, prompt)
    assert verdict.text == text
    assert set(verdict.stages) == set(made.stages)
    assert set(verdict.reasons) <= set(REASONS)
    assert all(math.isfinite(value) for box in (*verdict.boxes, *verdict.boxes_written) for value in box)
    assert len(verdict.boxes) == len(verdict.boxes_written)
    assert verdict.anomalous == prompt.choices.get(verdict.answer_letter or "")


@pytest.mark.parametrize("option", TEMPLATES)
@settings(deadline=None)
@given(st.lists(PIECES, max_size=3).map("".join), st.lists(PIECES, max_size=3).map("".join), HOSTILE)
def test_what_is_settled_does_not_change_with_what_follows(option, one, other, end):
    made, prompt = BUILT[option, "strict"]
    text = made.layout.compose({stage: f"{one} so the answer is A." for stage in made.stages} | {"answer": "A"})
    verdict = made.read(text, prompt)
    for name, characters in verdict.settled.items():
        assert text[:characters].endswith(">")
        rest = text[characters:].replace(one or "\0", other)
        for follows in (rest, rest + end, end):
            again = made.read(text[:characters] + follows, prompt)
            if again.settled:  # else its form is broken
                assert again.settled[name] == characters
                assert again.boxes == verdict.boxes or name != "boxes"
                assert name not in verdict.stages or again.stages[name] == verdict.stages[name]


def test_what_settles_a_completion_of_three_stages():
    made, prompt = BUILT["three_stage", "strict"]
    text = "<think>[1, 2, 30, 40]</think><rethink>A hole, so the answer is a.</rethink><answer>a</answer>"
    settled = {name: text[:characters] for name, characters in made.read(text, prompt).settled.items()}
    assert settled["think"] == settled["boxes"] == "<think>[1, 2, 30, 40]</think>"
    assert settled["rethink"] == settled["explanation"] == settled["reasoning_letter"] == text[: text.index("<answer>")]
    assert settled["answer"] == text
    assert not made.read(text.replace("</rethink>", ""), prompt).settled
    assert not BUILT["three_stage", "released"][0].read(text, prompt).settled


@pytest.mark.parametrize(("option", "reading"), BUILT)
@pytest.mark.parametrize(
    "piece", ["<think>", "<think></think>", "</think> <answer>", "[1,2,3,", "[" + " " * 50, "A ", "9", " "]
)
def test_reading_takes_linear_time(option, reading, piece):
    made, prompt = BUILT[option, reading]
    assert grows_linearly(lambda text: made.read(text, prompt), piece)
    assert grows_linearly(lambda text: made.read(f"<think>{text}</think><answer>a</answer>", prompt), piece)


def read(option: str, text: str, reading: str = "strict"):
    made, prompt = BUILT[option, reading]
    return made.read(text, prompt)


def test_strict_reads_what_is_well_formed():
    verdict = read(
        "three_stage", "<think>Look at [10, 20, 60, 80].</think><rethink>Real, so a.</rethink><answer>a</answer>"
    )
    assert verdict.stages == {"think": "Look at [10, 20, 60, 80].", "rethink": "Real, so a.", "answer": "a"}
    assert (verdict.reasoning_letter, verdict.answer_letter, verdict.anomalous) == ("a", "a", True)
    assert verdict.boxes_written == ((10.0, 20.0, 60.0, 80.0),)
    assert verdict.boxes == ((20.0, 40.0, 120.0, 160.0),)
    assert verdict.reasons == ()


@pytest.mark.parametrize(
    ("text", "reasons"),
    [
        ("a", ("no_think", "no_rethink", "no_answer", "no_conclusion")),
        ("<think>x</think><rethink>so a.</rethink><answer>abnormal</answer>", ("no_letter",)),
        ("<think>x</think><rethink>so a.</rethink><answer>a</answer><answer>a</answer>", ("repeated_answer",)),
        ("<answer>a</answer><think>x</think><rethink>so a.</rethink>", ("misplaced_answer",)),
        ("<think>x</think><rethink>hm</rethink><answer>a</answer>", ("no_conclusion",)),
        ("<think>[1, 2]</think><rethink>so a.</rethink><answer>a</answer>", ("bad_box",)),
        ("<think>[9, 9, 2, 2]</think><rethink>so a.</rethink><answer>a</answer>", ("impossible_box",)),
        ("<think>[0, 0, 113, 2]</think><rethink>so a.</rethink><answer>a</answer>", ("impossible_box",)),
        ("<think>[0, 0, 112, 112]</think><rethink>so a.</rethink><answer>a</answer>", ()),
    ],
)
def test_strict_says_why_it_could_not_read(text, reasons):
    assert read("three_stage", text).reasons == reasons


def test_the_rethink_has_the_last_word():
    text = "<think>so a.</think><rethink>{}</rethink><answer>b</answer>"
    assert read("three_stage", text.format("so b.")).reasoning_letter == "b"
    assert read("three_stage", text.format("hm")).reasoning_letter == "a"


def test_boxes_are_read_where_the_template_asks_for_them():
    text = "<think>[1, 2, 3, 4] so A.</think><answer>A</answer><location>[10, 20, 60, 80]</location>"
    assert read("single_stage", text).boxes == ()
    assert read("single_stage_boxes", text).boxes_written == ((10.0, 20.0, 60.0, 80.0),)
    assert read("single_stage_boxes", text, "released").boxes_written == ((10.0, 20.0, 60.0, 80.0),)


def test_the_article_is_a_choice_only_as_released():
    text = "<think>A scratch runs over it</think><answer>A</answer>"
    assert read("single_stage", text, "released").reasoning_letter == "A"
    assert read("single_stage", text).reasoning_letter is None


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        ("<think>so B</think> \n <answer>A</answer>", ("B", "A")),
        ("<think>so B</think> and <answer>A</answer>", (None, None)),
        ("<THINK>so B</THINK><answer>A</answer>", (None, None)),
        ("<think>so B</think><answer>A</answer><answer>C</answer>", ("B", "C")),
        ("<think>hmm</think><answer>b.</answer>", (None, "b")),
        ("<answer>A</answer><think>so B</think>", (None, None)),
    ],
)
def test_released_anomalyr1_wants_the_answer_right_behind_the_reasoning(text, letters):
    verdict = read("single_stage", text, "released")
    assert (verdict.reasoning_letter, verdict.answer_letter) == letters


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("A and B, B.", "B"),  # found twice, twice the points
        ("ANSWER C then nothing more is said about the part, and D", "D"),  # the end is worth two, a keyword one
        ("A CAD drawing", "A"),
        ("BAD", "B"),
        ("!", None),
        ("4.", "4"),
        ("no letter at all", None),
    ],
)
def test_extract_choice_scores_letters(text, choice):
    assert extract_choice(text) == choice


def test_released_adfm_takes_the_whole_text_for_a_missing_answer():
    verdict = read("three_stage", " b ", "released")
    assert verdict.stages["answer"] == "b"
    assert verdict.answer_letter == "b"
    assert "no_answer" in verdict.reasons


def test_released_adfm_reads_reversed_and_outlying_boxes():
    text = "<Think>[9, 9, 2, 2] [0, 0, 9999, 9999] [-1, 2, 3, 4]</Think><answer>A</answer>"
    verdict = read("three_stage", text, "released")
    assert verdict.boxes_written == ((9.0, 9.0, 2.0, 2.0), (0.0, 0.0, 9999.0, 9999.0))
    assert verdict.answer_letter == "a"
