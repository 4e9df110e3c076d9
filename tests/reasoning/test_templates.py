from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from reading_support import FRAMES, TEMPLATES, asked, sample, template

from adfm.errors import ConfigError, DataError
from adfm.reasoning.frames import RelativeFrames
from adfm.types import Question, Template


def text_of(prompt) -> str:
    return "\n".join(part["text"] for part in prompt.messages[0]["content"] if part["type"] == "text")


@pytest.mark.parametrize("option", TEMPLATES)
def test_the_same_sample_gives_the_same_prompt(option):
    made, prompt = asked(option)
    assert isinstance(made, Template)
    assert made.name == option
    assert prompt == template(option).ask(sample(), FRAMES)
    assert prompt.id == "sample-0"
    assert prompt.images == (Path("0.png"),)
    assert "{" not in text_of(prompt)
    assert "brick" in text_of(prompt)
    assert all(f"<{tag}>" in text_of(prompt) for tag in made.stages)


def test_what_can_vary_is_said():
    assert template("single_stage").provides == {"think", "answer", "reasoning_letter", "explanation"}
    stages = {"think", "answer", "reasoning_letter", "explanation", "boxes"}
    assert template("single_stage_boxes").provides == stages | {"location"}
    assert template("three_stage").provides == stages | {"rethink"}


@pytest.mark.parametrize("option", ["single_stage_boxes", "three_stage"])
def test_templates_with_boxes_state_frame_and_image_size(option):
    made, prompt = asked(option)
    assert "in pixels of the 112 x 112 image" in text_of(prompt)
    relative = made.ask(sample(), RelativeFrames(min_pixels=32 * 32, max_pixels=128 * 128))
    assert "from 0 to 1000 across and down the 128 x 128 image" in text_of(relative)


def test_the_prompt_of_three_stages_is_short():
    assert len(text_of(asked("three_stage")[1]).split()) <= 45


def test_three_stage_letters_are_fixed_and_mean_what_the_prompt_says():
    _, prompt = asked("three_stage")
    assert prompt.choices == {"a": True, "b": False}
    assert (prompt.key, asked("three_stage", boxes=())[1].key) == ("a", "b")
    assert "a if anomalous, b if normal" in text_of(prompt)
    swapped = template("three_stage", letters=["x", "y"]).ask(sample(), FRAMES)
    assert swapped.choices == {"x": True, "y": False}


def test_single_stage_options_stand_in_a_seeded_order():
    made = template("single_stage")
    prompts = [made.ask(sample(number), FRAMES) for number in range(400)]
    first_is_anomalous = sum(prompt.choices["A"] is True for prompt in prompts)
    assert 160 < first_is_anomalous < 240
    for prompt in prompts[:20]:
        assert prompt.choices[prompt.key] is True
        assert ("A. Yes\nB. No" in text_of(prompt)) == (prompt.choices["A"] is True)
    other = template("single_stage", shuffle_seed=1)
    assert any(other.ask(prompt.sample, FRAMES).key != prompt.key for prompt in prompts)
    fixed = template("single_stage", shuffle_seed=None)
    assert all(fixed.ask(prompt.sample, FRAMES).key == "A" for prompt in prompts)


def question(kind: str) -> Question:
    return Question(text="Which is it?", options={"A": "No.", "B": "Yes.", "C": "Maybe."}, answer="B", kind=kind)


def test_single_stage_asks_the_samples_own_question_in_its_own_order():
    made, prompt = asked("single_stage", question=question("defect type"))
    assert "Which is it?\nA. No.\nB. Yes.\nC. Maybe." in text_of(prompt)
    assert prompt.key == "B"
    assert prompt.choices == {"A": None, "B": None, "C": None}
    verdict = made.read(made.reference(prompt, Random(0)), prompt)
    assert (verdict.reasoning_letter, verdict.answer_letter, verdict.anomalous) == ("B", "B", None)
    assert asked("single_stage", question=question("detection"))[1].choices["B"] is True


def test_three_stage_asks_it_too():
    made, prompt = asked("three_stage", question=question("detection"))
    assert prompt.choices == {"A": False, "B": True, "C": False}
    made, prompt = asked("three_stage", question=question("defect type"))
    assert "Which is it? Reply as" in text_of(prompt)
    assert "<answer>A if No., B if Yes., C if Maybe.</answer>" in text_of(prompt)
    reference = made.reference(prompt, Random(0))
    assert "Yes" in reference
    verdict = made.read(reference, prompt)
    assert (verdict.reasoning_letter, verdict.answer_letter, verdict.anomalous) == ("B", "B", None)
    assert verdict.boxes == prompt.sample.boxes


def test_knowledge_is_shown_by_option():
    assert "Good bricks are even." in text_of(asked("single_stage")[1])
    assert "Good bricks are even." not in text_of(asked("three_stage")[1])
    assert "Known" not in text_of(asked("single_stage", knowledge="")[1])
    shown = template("three_stage", knowledge=True).ask(sample(), FRAMES)
    assert "Known about this brick: Good bricks are even." in text_of(shown)


def test_references_come_before_the_samples_own_image():
    made = template("three_stage", references=1)
    prompt = made.ask(sample(references=(Path("good.png"), Path("other.png"))), FRAMES)
    kinds = [part["type"] for part in prompt.messages[0]["content"]]
    assert prompt.images == (Path("good.png"), Path("0.png"))
    assert kinds == ["text", "image", "image", "text"]
    with pytest.raises(DataError, match=r"sample-0 has 0 reference images, .*set reasoning.references=0"):
        made.ask(sample(), FRAMES)


@pytest.mark.parametrize("option", TEMPLATES)
@pytest.mark.parametrize("reading", ["strict", "released"])
@pytest.mark.parametrize(
    "boxes", [(), ((20.0, 40.0, 120.0, 160.0),), ((0.0, 0.0, 30.0, 30.0), (180.0, 190.0, 224.0, 224.0))]
)
def test_reference_completions_say_what_the_labels_say(option, reading, boxes):
    made = template(option, reading=reading)
    texts = set()
    for number in range(60):
        prompt = made.ask(sample(number, boxes=boxes), FRAMES)
        text = made.reference(prompt, Random(number))
        verdict = made.read(text, prompt)
        assert (verdict.reasoning_letter, verdict.answer_letter) == (prompt.key, prompt.key)
        assert verdict.anomalous == bool(boxes)
        assert verdict.reasons == ()
        assert verdict.boxes == (boxes if made.boxes else ())
        assert ("scratch" in text) == bool(boxes)
        texts.add(text)
    assert len(texts) > 10


def test_references_name_type_severity_and_place():
    made, prompt = asked("three_stage", boxes=((0.0, 0.0, 30.0, 30.0), (180.0, 190.0, 224.0, 224.0)))
    text = made.reference(prompt, Random(0))
    assert "severe scratch, top left and bottom right" in text
    assert "[0, 0, 15, 15], [90, 95, 112, 112]" in text
    unlabelled = replace(prompt, sample=sample(boxes=(), anomalous=True))
    assert made.read(made.reference(unlabelled, Random(0)), unlabelled).boxes == ()


@pytest.mark.parametrize("option", TEMPLATES)
def test_every_answer_can_be_forced(option):
    made, prompt = asked(option)
    for letter, text in made.answers(prompt).items():
        forced = made.read(made.opening() + text, prompt)
        assert forced.answer_letter == letter
        assert forced.anomalous is prompt.choices[letter]


def test_tags_are_config():
    made = template("three_stage", tags={"think": "look", "rethink": "check", "answer": "say"})
    prompt = made.ask(sample(), FRAMES)
    assert "<look>" in text_of(prompt)
    assert made.reference(prompt, Random(0)).startswith("<look>")
    assert made.read("<look></look><check>so a.</check><say>a</say>", prompt).answer_letter == "a"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"letters": ["a"]}, "two different letters"),
        ({"letters": ["a", "A"]}, "two different letters"),
        ({"letters": ["a", "1"]}, "letters from a to z"),
        ({"tags": {"think": "think", "rethink": "think", "answer": "answer"}}, "different tag for each"),
        ({"reading": "lenient"}, "reasoning.reading must be strict or released, not 'lenient'"),
        ({"instruction": "Look at {imge}"}, "reasoning.instruction uses the unknown field {imge}"),
        ({"knowledge_text": "{nowledge}"}, "reasoning.knowledge_text uses the unknown field {nowledge}"),
    ],
)
def test_wrong_settings_are_named(changes, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        template("three_stage", **changes)
