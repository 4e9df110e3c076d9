from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random

import pytest
from omegaconf import OmegaConf
from reading_support import FRAMES, node, sample

from adfm.config.compose import build, check, compose
from adfm.errors import ConfigError
from adfm.reasoning.mmad import MMAD
from adfm.types import Question, Template

QUESTION = Question(
    text="Which defect is it?",
    options={"A": "Scratch.", "B": "Hole.", "C": "Crack.", "D": "Stain."},
    answer="C",
    kind="Defect Classification",
)
DETECTION = Question(text="Any defect?", options={"A": "Yes.", "B": "No."}, answer="A", kind="detection")
SHOWN = {"question": QUESTION, "references": (Path("good.png"), Path("fine.png"))}


def template(**changes) -> MMAD:
    return build(OmegaConf.merge(node("reasoning", "mmad"), changes))


def parts(prompt) -> list[str]:
    return [part.get("text", "<image>") for part in prompt.messages[0]["content"]]


def test_the_released_order_is_kept():
    made = template()
    assert isinstance(made, Template)
    prompt = made.ask(sample(**SHOWN), FRAMES)
    found = parts(prompt)
    assert len(prompt.messages) == 1
    assert found[0].endswith("Reply with the letter of the right option directly.\n")
    assert "Good bricks are even." in found[1]
    assert "2 in number" in found[2]
    assert found[3:] == [
        *("Picture 1: ", "<image>", "Picture 2: ", "<image>", "\nThe query image:\n", "Picture 3: ", "<image>"),
        "\nThe question:\nWhich defect is it?\nA. Scratch.\nB. Hole.\nC. Crack.\nD. Stain.\n",
    ]
    assert prompt.images == (Path("good.png"), Path("fine.png"), Path("0.png"))
    assert (prompt.key, prompt.options, set(prompt.choices.values())) == ("C", dict(QUESTION.options), {None})
    assert prompt.frame.image_size == (112, 112)


def test_without_references_and_knowledge_nothing_speaks_of_them():
    found = parts(template(knowledge=False).ask(sample(question=QUESTION), FRAMES))
    assert found[1:4] == ["\nThe query image:\n", "Picture 1: ", "<image>"]
    assert len(found) == 5
    assert parts(template().ask(sample(question=QUESTION, knowledge=""), FRAMES)) == found


def test_a_detection_question_decides():
    prompt = template().ask(sample(question=DETECTION), FRAMES)
    assert prompt.choices == {"A": True, "B": False}
    normal = Question(text="Any defect?", options={"A": "Yes.", "B": "No."}, answer="B", kind="detection")
    assert template().ask(sample(boxes=(), question=normal), FRAMES).choices == {"A": True, "B": False}
    own = template().ask(sample(boxes=()), FRAMES)
    assert (own.key, own.choices) == ("B", {"A": True, "B": False})
    assert "Is there any defect in the brick?\nA. Yes.\nB. No." in parts(own)[-1]


def test_options_are_lettered_by_place_and_shuffled_by_seed():
    backwards = Question(text="?", options={"B": "No.", "A": "Yes."}, answer="A", kind="detection")
    prompt = template().ask(sample(question=backwards), FRAMES)
    assert (prompt.options, prompt.key, prompt.choices) == ({"A": "No.", "B": "Yes."}, "B", {"A": False, "B": True})
    made = template(shuffle_seed=0)
    prompts = [made.ask(sample(number, question=QUESTION), FRAMES) for number in range(200)]
    keys = Counter(prompt.key for prompt in prompts)
    assert set(keys) == set("ABCD")
    assert min(keys.values()) > 25
    assert all(prompt.options[prompt.key] == "Crack." for prompt in prompts)
    assert prompts == [template(shuffle_seed=0).ask(prompt.sample, FRAMES) for prompt in prompts]
    assert any(template(shuffle_seed=1).ask(prompt.sample, FRAMES).key != prompt.key for prompt in prompts)


@pytest.mark.parametrize(
    ("reading", "text", "letter"),
    [
        ("strict", "C", "C"),
        ("strict", "A crack, so C", None),
        ("official", "A crack, so C", "C"),
        ("official", "a crack", "C"),
        ("anomalyr1", "C", None),
        ("anomalyr1", "<answer>C</answer>", "C"),
    ],
)
def test_each_reader_reads_in_its_own_way(reading: str, text: str, letter: str | None):
    made = template(reading=reading)
    prompt = made.ask(sample(question=QUESTION), FRAMES)
    verdict = made.read(text, prompt)
    assert (verdict.answer_letter, verdict.text) == (letter, text)
    assert verdict.reasons == (() if letter else ("no_letter",))


def test_its_own_reference_and_answers_are_letters():
    made = template()
    prompt = made.ask(sample(question=DETECTION), FRAMES)
    assert made.read(made.reference(prompt, Random(0)), prompt).anomalous is True
    assert made.answers(prompt) == {"A": "A", "B": "B"}
    assert made.opening() == ""


def test_a_reading_that_there_is_not_is_named():
    with pytest.raises(ConfigError, match="'loose' is not one of 'strict', 'official', 'anomalyr1'"):
        check(compose("evaluate", ["reasoning=mmad", "reasoning.reading=loose"]))
