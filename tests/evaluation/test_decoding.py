from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from reading_support import asked, template

from adfm.errors import ConfigError
from adfm.evaluation import decoding
from adfm.evaluation.box_tokens import box_confidences
from adfm.evaluation.decoding import Draws, Greedy
from adfm.models.vlm import VLM
from adfm.types import Completion, Prompt, Sample, Template

TEXT_BEFORE = "<think>Spots at "
TEXT_BEHIND = ".</think><rethink>so a.</rethink><answer>a</answer>"


class Spelling(VLM):
    """Only decodes: token ids are places in a list of byte strings."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.pieces = pieces

    def decode(self, token_ids: Sequence[int]) -> str:
        return b"".join(self.pieces[number] for number in token_ids).decode(errors="replace")


def confidences(*pieces: tuple[str | bytes, float], read_by: str = "strict") -> tuple[float, ...]:
    """Of a three-stage completion whose boxes are written in these pieces, each with its probability."""
    around = [(TEXT_BEFORE, 0.01), *pieces, (TEXT_BEHIND, 0.01)]
    written = [piece if isinstance(piece, bytes) else piece.encode() for piece, _ in around]
    text = b"".join(written).decode()
    completion = Completion(
        token_ids=np.arange(len(around)),
        sampler_logprob=np.log([probability for _, probability in around]).astype(np.float32),
        text=text,
        truncated=False,
    )
    _, prompt = asked("three_stage")
    return box_confidences(Spelling(written), completion, template("three_stage", reading=read_by).read(text, prompt))


@pytest.mark.parametrize("read_by", ["strict", "released"])
def test_a_box_is_as_sure_as_the_tokens_of_its_four_numbers(read_by: str) -> None:
    first = [("[", 0.1), ("1", 0.5), ("0", 0.5), (", ", 0.1), ("2", 1.0), (", ", 0.1), ("30", 0.25), (", ", 0.1)]
    first += [("4", 0.25), ("0", 1.0), ("]", 0.1)]
    second = [(" and [", 0.1), ("1", 0.9), (",", 0.1), ("2", 0.9), (",", 0.1), ("3", 0.9), (",", 0.1), ("4", 0.9)]
    second += [("]", 0.1)]
    assert confidences(*first, *second, read_by=read_by) == pytest.approx((2 ** (-6 / 6), 0.9), rel=1e-6)


def test_a_token_that_holds_parts_of_several_numbers_counts_once() -> None:
    assert confidences(("[1", 0.5), ("0, 2", 0.5), ("0, 30, 40]", 0.25)) == pytest.approx((2 ** (-4 / 3),), rel=1e-6)


def test_letters_that_are_cut_into_bytes_move_no_box() -> None:
    cut = "é漢😀".encode()
    before = [(cut[place : place + 1], 0.01) for place in range(len(cut))]
    assert confidences(*before, ("[", 0.1), ("1,2,3,4", 0.75), ("]", 0.1)) == pytest.approx((0.75,), rel=1e-6)


def test_a_box_that_was_not_read_has_no_confidence() -> None:
    assert confidences(("[9, 9, 2, 2] [1, 2]", 0.5), ("[1,2,3,4]", 0.25)) == pytest.approx((0.25,), rel=1e-6)
    assert confidences(("nowhere", 0.5)) == ()


def test_greedy_is_one_completion_with_the_confidences_of_its_boxes(vlm: VLM, samples: list[Sample]) -> None:
    shown, prompts = prompts_of(vlm, samples[:2])
    groups = Greedy()(vlm, prompts, [vlm.encode(prompt) for prompt in prompts])
    assert [len(group) for group in groups] == [1, 1]
    text = f"{TEXT_BEFORE}[10, 20, 30, 40]{TEXT_BEHIND}"
    ids = np.array(vlm.tokenize(text))
    probability = 0.5
    written = Completion(
        token_ids=ids,
        sampler_logprob=np.full(len(ids), np.log(probability), np.float32),
        text=vlm.decode(ids.tolist()),
        truncated=False,
    )
    verdict = shown.read(written.text, prompts[0])
    found = Greedy().conclude(vlm, prompts[0], [written], [verdict], 1.0)
    assert found.verdict == verdict
    assert verdict.boxes_written == ((10.0, 20.0, 30.0, 40.0),)
    assert found.confidences == pytest.approx((probability,), rel=1e-6)
    assert found.draws == ()


def prompts_of(vlm: VLM, samples: Sequence[Sample]) -> tuple[Template, list[Prompt]]:
    made = template("three_stage")
    return made, [made.ask(sample, vlm.frames) for sample in samples]


def tokens(vlm: VLM, prompts: Sequence[Prompt], how: Draws) -> list[list[list[int]]]:
    groups = how(vlm, prompts, [vlm.encode(prompt) for prompt in prompts])
    return [[completion.token_ids.tolist() for completion in group] for group in groups]


def test_draws_depend_on_seed_prompt_and_number_alone(
    vlm: VLM, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, prompts = prompts_of(vlm, samples[:4])
    together = tokens(vlm, prompts, Draws(3, seed=5))
    assert tokens(vlm, prompts[2:3], Draws(3, seed=5)) == together[2:3]
    assert tokens(vlm, prompts[::-1], Draws(3, seed=5)) == together[::-1]
    assert tokens(vlm, prompts[:1], Draws(5, seed=5))[0][:3] == together[0]
    monkeypatch.setattr(decoding, "ROWS", 4)
    assert tokens(vlm, prompts, Draws(3, seed=5)) == together
    assert tokens(vlm, prompts, Draws(3, seed=6)) != together
    assert len({tuple(drawn) for group in together for drawn in group}) == 12


def test_random_numbers_are_uniform_and_those_of_shorter_completions_begin_alike() -> None:
    drawn = np.concatenate([Draws(2).uniforms(f"sample {number}", 1, 100) for number in range(100)])
    assert drawn.min() >= 0
    assert drawn.max() < 1
    assert drawn.mean() == pytest.approx(0.5, abs=0.01)
    assert drawn.std() == pytest.approx(12**-0.5, abs=0.01)
    assert len(np.unique(drawn)) == len(drawn)
    np.testing.assert_array_equal(Draws(2).uniforms("x", 0, 100)[:7], Draws(2).uniforms("x", 0, 7))


def test_what_decides_the_completions_is_in_the_settings() -> None:
    assert Greedy().settings != Draws(1).settings
    assert Draws(3, 0.7, 2).settings == {"name": "draws", "count": 3, "temperature": 0.7, "seed": 2}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"count": 0}, "draws=0"),
        ({"count": 2, "temperature": 0.0}, "temperature=0"),
        ({"count": 2, "seed": -1}, "seed"),
    ],
)
def test_what_cannot_be_drawn_is_refused(settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Draws(**settings)
