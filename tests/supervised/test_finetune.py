"""Lessons in their order, and the supervised stage on the house's own engine."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from functools import partial
from random import Random

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from adfm.config.compose import build, compose
from adfm.errors import ConfigError
from adfm.evaluation.plan import model_config
from adfm.grpo.logprob import Scorer
from adfm.models.tiny.scratch import Scratch
from adfm.models.vlm import VLM
from adfm.reasoning.frames import AbsoluteFrames
from adfm.supervised.finetune import packed
from adfm.supervised.grounding import Grounding
from adfm.supervised.images import load
from adfm.supervised.lessons import Lessons
from adfm.types import Sample

FRAMES = AbsoluteFrames(min_pixels=112**2, max_pixels=112**2)


@pytest.fixture(scope="module")
def template():
    return build(compose("train", ["reasoning=three_stage"]).reasoning)


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    found = []
    for index in range(5):
        Image.fromarray(rng.integers(0, 255, (112, 112, 3)).astype(np.uint8)).save(folder / f"{index}.png")
        found.append(
            Sample(
                id=str(index),
                image=folder / f"{index}.png",
                stated_size=(112, 112),
                category="noise",
                anomalous=bool(index % 2),
                defect_type="hole" if index % 2 else None,
                stated_boxes=((1.0, 2.0, 30.0, 40.0),) if index % 2 else (),
            )
        )
    return found


@pytest.fixture(scope="module")
def untrained(tmp_path_factory, samples, template):
    folder = tmp_path_factory.mktemp("untrained")
    lessons = Lessons(samples, {"main": (template, 1.0)}, FRAMES, per_step=1, seed=0)
    Scratch(vocabulary=400, samples=5).write(folder, lessons.texts(5), seed=0)
    node = OmegaConf.create(OmegaConf.to_container(compose("train", ["model=tiny"]), resolve=True))
    return model_config(node.model, path=str(folder))


@pytest.fixture(scope="module")
def vlm(untrained):
    return VLM.load(untrained, train=True)


def test_an_epoch_shows_every_sample_once(samples, template):
    lessons = Lessons(samples, {"main": (template, 1.0)}, FRAMES, per_step=5, seed=3)
    for step in range(3):
        assert sorted(lesson.prompt.id for lesson in lessons.batch(step)) == ["0", "1", "2", "3", "4"]


def test_lessons_follow_from_seed_and_step(samples, template):
    make = partial(Lessons, samples, {"main": (template, 1.0)}, FRAMES, per_step=4)
    assert make(seed=0).batch(7) == make(seed=0).batch(7)
    assert [one.completion for one in make(seed=0).batch(7)] != [one.completion for one in make(seed=1).batch(7)]


def test_ranks_share_a_step(samples, template):
    make = partial(Lessons, samples, {"main": (template, 1.0)}, FRAMES, per_step=5, seed=0)
    parts = [make(rank=rank, world_size=2).batch(1) for rank in (0, 1)]
    assert [len(part) for part in parts] == [3, 2]
    whole = make().batch(1)
    assert {one.completion for part in parts for one in part} == {one.completion for one in whole}


def test_nothing_to_learn_from_is_an_error(samples, template):
    with pytest.raises(ConfigError, match="training part is empty"):
        Lessons([], {"main": (template, 1.0)}, FRAMES, per_step=1, seed=0)
    with pytest.raises(ConfigError, match="templates"):
        Lessons(samples, {}, FRAMES, per_step=1, seed=0)


def test_scratch_is_the_same_twice(tmp_path, samples, template):
    lessons = Lessons(samples, {"main": (template, 1.0)}, FRAMES, per_step=1, seed=0)
    for name in ("one", "two"):
        Scratch(vocabulary=400, samples=5).write(tmp_path / name, lessons.texts(5), seed=0)
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes(), file.name


def test_a_completion_ends_with_the_end_of_the_turn(vlm, samples, template):
    (lesson,) = Lessons(samples, {"main": (template, 1.0)}, vlm.frames, per_step=1, seed=0).batch(0)
    (row,) = packed(vlm, [lesson], 1024)
    assert row.targets[-1] == vlm.end_token_ids[0]
    assert vlm.decode(row.targets.tolist()) == lesson.completion


def test_references_are_read_back_right(samples, template):
    prompt = template.ask(samples[1], FRAMES)
    verdict = template.read(template.reference(prompt, Random(0)), prompt)
    assert verdict.anomalous
    assert verdict.boxes == samples[1].boxes


def test_the_loss_is_the_mean_cross_entropy_over_completion_tokens(vlm, samples, template):
    lessons = Lessons(samples, {"main": (template, 1.0)}, vlm.frames, per_step=3, seed=0).batch(0)
    rows = packed(vlm, lessons, 4096)
    with torch.no_grad():
        ours = -sum(Scorer(vlm)(row).logprob.sum() for row in rows) / sum(len(row.targets) for row in rows)
    assert float(ours) == pytest.approx(math.log(len(vlm.tokenizer)), rel=0.1)  # random weights know nothing


def test_grounding_teaches_places(untrained, samples, template):
    vlm = VLM.load(untrained, train=True)
    recipe = Grounding(steps=30, batch=5, learning_rate=3e-3, warmup_steps=2, layers=2, farthest=20, report_every=10)
    last = recipe.run(
        vlm,
        load(samples, vlm.image_processor, ("hole",)),
        lambda group: vlm.encode(template.ask(group.samples[0], vlm.frames)),
        seed=0,
        report=lambda _: None,
    )
    assert last["row"] + last["column"] < 0.7 * 2 * math.log(4)  # by chance: log of 4 rows and of 4 columns


@pytest.mark.slow
def test_cold_start_command_resumes_and_saves_a_checkpoint(tmp_path, monkeypatch):
    from adfm import coldstart

    arguments = [
        "coldstart",
        "recipe=tiny",
        f"output={tmp_path / 'out'}",
        f"checkpoint={tmp_path / 'checkpoint'}",
        f"dataset.root={tmp_path / 'data'}",
        *(
            "dataset.train=16",
            "dataset.val=8",
            "scratch.samples=16",
            "dense.steps=2",
            "dense.batch=4",
            "dense.grounding.steps=2",
        ),
        *("supervised.steps=2", "supervised.prompts_per_step=2", "supervised.val_samples=4"),
    ]
    monkeypatch.setattr("sys.argv", arguments)
    coldstart.main()
    told = json.loads((tmp_path / "checkpoint" / "coldstart.json").read_text())
    assert told["command"].startswith("python -m adfm.coldstart recipe=tiny")
    assert set(told["metrics"]) == {"tower", "grounding", "supervised"}
    weights = (tmp_path / "checkpoint" / "model.safetensors").stat().st_mtime_ns
    coldstart.main()
    assert (tmp_path / "checkpoint" / "model.safetensors").stat().st_mtime_ns == weights
    monkeypatch.setattr("sys.argv", [*arguments, "seed=1"])
    with pytest.raises(SystemExit):
        coldstart.main()


def test_another_question_is_another_lesson(samples, template):
    renamed = [replace(sample, category="gravel") for sample in samples]
    lessons = Lessons(renamed, {"main": (template, 1.0)}, FRAMES, per_step=1, seed=0)
    assert any("gravel" in text for text in lessons.texts(1))


def test_renamed_lessons_speak_of_made_up_categories_only(samples, template):
    renamed = Lessons(samples, {"main": (template, 1.0)}, FRAMES, per_step=20, seed=0, renamed=1.0).batch(0)
    plain = Lessons(samples, {"main": (template, 1.0)}, FRAMES, per_step=20, seed=0).batch(0)
    known = {sample.category for sample in samples}
    assert not known & {lesson.prompt.sample.category for lesson in renamed}
    assert {lesson.prompt.sample.category for lesson in plain} <= known
    assert [lesson.prompt.images for lesson in renamed] == [lesson.prompt.images for lesson in plain]


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(tmp_path):
    learned = []
    for processes in (1, 2):
        output = tmp_path / str(processes)
        arguments = [
            *("model=tiny", "dataset.train=16", "dataset.val=8", f"dataset.root={tmp_path / 'data'}"),
            *("supervised.steps=3", "supervised.prompts_per_step=4", "supervised.report_every=1"),
            *("supervised.val_samples=8", f"engine.nproc={processes}", f"output={output}"),
        ]
        subprocess.run([sys.executable, "-m", "adfm.coldstart", *arguments], check=True)
        lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
        learned.append([(line["loss"], line["grad_norm"]) for line in lines if "loss" in line])
    np.testing.assert_allclose(learned[0], learned[1], rtol=1e-4)
