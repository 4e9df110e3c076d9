"""Prompts that begin alike are read once, and nothing else changes."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from grpo_support import model_config
from mmad_tree import DETAILS, DETECTION, KIND
from PIL import Image
from reading_support import node

from adfm.config.compose import build
from adfm.grpo.rollout import generate
from adfm.grpo.stems import read_prompts, stems
from adfm.models.vlm import VLM, EncodedPrompt
from adfm.types import Question, Sample

QUESTIONS = [
    Question(text=one["Question"], options=one["Options"], answer=one["Answer"], kind=one["type"])
    for one in (DETECTION, KIND, DETAILS)
]


@pytest.fixture(scope="module")
def vlm(checkpoint: Path) -> VLM:
    """The tokenizer of a random checkpoint makes many tokens of MMAD's words."""
    return VLM.load(model_config(checkpoint, prompt_tokens=2048), train=False)


@pytest.fixture(scope="module", params=["mmad", "single_stage", "three_stage"])
def encoded(vlm: VLM, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[EncodedPrompt]:
    """Three questions about each of two images, with a reference under MMAD's protocol."""
    folder, template = tmp_path_factory.mktemp("images"), build(node("reasoning", request.param))
    paths: list[Path] = []
    for number, size in enumerate([(84, 84), (112, 84), (84, 84)]):
        paths.append(folder / f"{number}.png")
        pixels = np.random.default_rng(number).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(paths[-1])
    samples = [
        Sample(
            id=f"{image.stem}#{number}",
            image=image,
            category="tile",
            anomalous=True,
            references=(paths[2],),
            question=question,
        )
        for image, (number, question) in itertools.product(paths[:2], enumerate(QUESTIONS))
    ]
    return [vlm.encode(template.ask(sample, vlm.frames)) for sample in samples]


def test_questions_about_one_image_share_all_that_stands_before_them(vlm: VLM, encoded: list[EncodedPrompt]):
    items = stems(encoded, vlm.image_token_id)
    assert [len(item.completions) for item in items] == [3, 3]
    assert sum(item.size for item in items) < sum(len(prompt.token_ids) for prompt in encoded)
    rests = iter(encoded)
    for item in items:
        assert int((item.encoded.token_ids == vlm.image_token_id).sum()) > 0
        for rest in item.completions:
            assert torch.equal(torch.cat([item.encoded.token_ids, rest]), next(rests).token_ids)
            assert not (rest == vlm.image_token_id).any()


def test_what_does_not_begin_alike_stays_whole(vlm: VLM, encoded: list[EncodedPrompt]):
    apart = [encoded[0], encoded[3], encoded[1]]
    assert [item.encoded for item in stems(apart, vlm.image_token_id)] == apart
    text = replace(encoded[0], token_ids=encoded[0].token_ids.flip(0))
    assert [item.completions for item in stems([encoded[0], text], vlm.image_token_id)] == [(), ()]
    twice = stems([encoded[0], encoded[0]], vlm.image_token_id)
    assert [len(rest) for rest in twice[0].completions] == [1, 1]


def test_last_tokens_have_the_hidden_state_of_the_prompt_alone(vlm: VLM, encoded: list[EncodedPrompt]):
    together = read_prompts(vlm, encoded).last_hidden
    alone = torch.cat([read_prompts(vlm, [prompt]).last_hidden for prompt in encoded])
    assert together.shape == (6, alone.shape[1])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_greedy_completions_are_those_of_the_prompt_alone(vlm: VLM, encoded: list[EncodedPrompt]):
    settings = {"group_size": 1, "temperature": 0, "completion_tokens": 16}
    together = generate(vlm, encoded, **settings)
    alone = [generate(vlm, [prompt], **settings)[0] for prompt in encoded]
    found, expected = ([group[0].token_ids.tolist() for group in groups] for groups in (together, alone))
    assert found == expected
    assert len({tuple(ids) for ids in found}) > 1


def test_groups_are_drawn_behind_what_is_shared(vlm: VLM, encoded: list[EncodedPrompt]):
    groups = generate(
        vlm,
        encoded,
        group_size=3,
        temperature=1.0,
        completion_tokens=8,
        generator=torch.Generator().manual_seed(0),
    )
    assert [len(group) for group in groups] == [3] * 6
    assert len({tuple(one.token_ids.tolist()) for group in groups for one in group}) > 6
