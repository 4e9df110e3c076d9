"""Each hole of the released rewards: paid by the released option, not by the strict one, and by which parameter.

Source of the list: the implementation traps found in the released code of AnomalyR1 and AD-FM.
"""

from __future__ import annotations

from random import Random

import pytest
from reading_support import FRAMES, reward, sample, template

ADFM = "<think>{think}</think><rethink>{rethink}</rethink><answer>{answer}</answer>"
TRUE = (20.0, 40.0, 120.0, 160.0)  # written as [10, 20, 60, 80]
NORMAL, ANOMALOUS = sample(boxes=()), sample(boxes=(TRUE,))


def earned(option: str, reasoning: str, reading: str, subject, text: str) -> dict[str, float]:
    made = template(reasoning, reading=reading)
    prompt = made.ask(subject, FRAMES)
    rewards = reward(option)([made.read(text, prompt)], prompt)
    return {name: float(values[0]) for name, values in rewards.terms.items()} | {"total": float(rewards.total[0])}


def fine_grained(subject, *, think="Looked at it.", rethink="Nothing new here.", answer="b"):
    text = ADFM.format(think=think, rethink=rethink, answer=answer)
    return (
        earned("fine_grained", "three_stage", "released", subject, text),
        earned("fine_grained_strict", "three_stage", "strict", subject, text),
    )


@pytest.mark.parametrize("subject", [NORMAL, ANOMALOUS])
def test_abnormal_earns_either_label(subject):
    released, strict = fine_grained(subject, answer="abnormal")
    assert released["classification"] == 0.8
    assert strict["classification"] == 0.0


def test_partial_alone_closes_it():
    made = template("three_stage", reading="released")
    prompt = made.ask(NORMAL, FRAMES)
    verdict = made.read(ADFM.format(think="", rethink="", answer="abnormal"), prompt)
    strict = reward("fine_grained_strict").terms["classification"]
    assert strict(verdict, prompt) == 0.0


def test_a_useless_box_earns():
    released, strict = fine_grained(ANOMALOUS, think="Look at [60, 20, 110, 80].")  # beside the true box
    assert released["localization"] == pytest.approx(0.8 / 1.5)
    assert strict["localization"] == 0.0
    right, strictly_right = fine_grained(ANOMALOUS, think="Look at [10, 20, 60, 80].")
    assert right["localization"] == strictly_right["localization"] == 1.0


def test_normal_samples_are_paid_for_one_box():
    silent, strictly_silent = fine_grained(NORMAL)
    boxed, strictly_boxed = fine_grained(NORMAL, think="Look at [10, 20, 60, 80].")
    assert boxed["localization"] - silent["localization"] == 0.5
    assert strictly_boxed["localization"] - strictly_silent["localization"] == -1.0
    assert boxed["total"] > silent["total"]
    assert strictly_boxed["total"] < strictly_silent["total"]


def test_the_form_pays_boxes_on_normal_samples():
    silent, strictly_silent = fine_grained(NORMAL)
    boxed, strictly_boxed = fine_grained(NORMAL, think="Look at [10, 20, 60, 80].")
    assert boxed["format"] - silent["format"] == pytest.approx(0.3)
    assert strictly_boxed["format"] == strictly_silent["format"]


def test_the_form_has_the_largest_span():
    def spans(option: str) -> dict[str, float]:
        made = template("three_stage")
        prompt = made.ask(ANOMALOUS, FRAMES)
        composite = reward(option)
        best = composite([made.read(made.reference(prompt, Random(0)), prompt)], prompt)
        return {name: composite.weights[name] * float(values[0]) for name, values in best.terms.items()}

    released, strict = spans("fine_grained"), spans("fine_grained_strict")
    assert released["format"] == pytest.approx(1.2)
    assert released["format"] > max(released["classification"], released["localization"])
    assert strict["format"] == pytest.approx(0.36)
    assert strict["format"] < min(strict["classification"], strict["localization"])


def test_a_missed_box_costs_little():
    subject = sample(boxes=(TRUE, (180.0, 180.0, 220.0, 220.0)))
    released, strict = fine_grained(subject, think="Look at [10, 20, 60, 80].")
    assert released["localization"] == 1.0
    assert strict["localization"] == pytest.approx(0.65)


def test_an_anomalous_sample_without_true_boxes_counts_as_normal():
    subject = sample(boxes=(), anomalous=True)
    released, strict = fine_grained(subject, think="Look at [10, 20, 60, 80].")
    assert released["localization"] == 0.5
    assert strict["localization"] == 0.0


def roam(text: str, subject=ANOMALOUS) -> tuple[dict[str, float], dict[str, float]]:
    return (
        earned("roam", "single_stage", "released", subject, text),
        earned("roam_strict", "single_stage", "strict", subject, text),
    )


def key_of(subject) -> str:
    return template("single_stage").ask(subject, FRAMES).key


def test_the_article_counts_as_a_choice():
    subject = next(sample(number) for number in range(9) if key_of(sample(number)) == "A")
    released, strict = roam("<think>A long look shows nothing</think><answer>A</answer>", subject)
    assert released["roam"] == 1.0
    assert strict["roam"] == 0.0
    reread = earned(
        "roam", "single_stage", "strict", subject, "<think>A long look shows nothing</think><answer>A</answer>"
    )
    assert reread["roam"] == 0.8  # reading alone makes it silent; silent_right closes the rest


def test_lazy_thinking_earns_nearly_all():
    key = key_of(ANOMALOUS)
    released, strict = roam(f"<think>hmm</think><answer>{key}</answer>")
    assert released["total"] == 1.8
    assert strict["total"] == 1.0
    concluded, strictly = roam(f"<think>It is cracked, so the answer is {key}.</think><answer>{key}</answer>")
    assert concluded["total"] == strictly["total"] == 2.0
