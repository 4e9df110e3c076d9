"""From samples to predictions: ask, write, read, score, type, mask; in batches, and resumable.

`inspect` is the one path from an image to what a model says about it; `evaluate` sets labels beside it. The questions
about one image stay in one batch, where what their prompts share is read once.
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from tqdm import tqdm

from adfm.data.images import read_image
from adfm.evaluation.decoding import Decoding, Greedy
from adfm.evaluation.inspection import Inspection, of_verdict, verdict_of
from adfm.evaluation.letters import letter_logprobs, log_odds_of
from adfm.evaluation.prediction import Prediction, from_inspection, question_of
from adfm.evaluation.score import Score
from adfm.files import write_whole
from adfm.grpo.written import Written
from adfm.masks.rle import union_rle
from adfm.masks.segmenter import Segmenter
from adfm.models.vlm import VLM, EncodedPrompt
from adfm.reasoning.defect_types import named_type
from adfm.team import Team
from adfm.types import Prompt, Reward, Sample, Template

GREEDY = Greedy()
BATCH = 32
"""Samples that are written at once."""


class Partial:
    """Predictions of an evaluation that is under way, one JSON line each behind a line with its key.

    What another key began is dropped: its predictions are of other weights, prompts, data or draws. So is a last line
    that was cut off.
    """

    def __init__(self, path: Path, key: str) -> None:
        """Take up what `path` holds under `key`, or begin it."""
        self.path = path
        self.done: list[Prediction] = []
        if path.exists():
            first, *lines = path.read_bytes().split(b"\n")
            self.done = [Prediction.from_json(line.decode()) for line in lines[:-1]] if first == key.encode() else []
        write_whole(path, "".join(f"{line}\n" for line in (key, *map(Prediction.to_json, self.done))))

    def add(self, predictions: Iterable[Prediction]) -> None:
        """Append predictions."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write("".join(f"{one.to_json()}\n" for one in predictions))


def evaluate(
    vlm: VLM,
    template: Template,
    samples: Sequence[Sample],
    *,
    score: Score,
    decoding: Decoding = GREEDY,
    reward: Reward | None = None,
    answering: str = "text",
    types: Sequence[str] = (),
    segmenter: Segmenter | None = None,
    batch: int = BATCH,
    partial: Partial | None = None,
    team: Team[VLM] | None = None,
    title: str = "evaluate",
) -> list[Prediction]:
    """Inspect every sample, in order, and set what the model says beside the labels; see `inspect`.

    `batch` samples are asked at once, but for an image with more questions; it changes speed, not results. With a
    `reward` each prediction has the terms that its verdict earns (none where nothing is written). With `partial`, a
    batch that it holds whole is not done again, and every other is added to it: what was interrupted goes on with the
    same batches. The processes of a `team` divide the batches; they need `vlm` each. The progress bar has `title`; an
    empty one shows none.
    """
    found = {one.id: one for one in partial.done} if partial else {}
    waiting = [members for members in batches(samples, batch) if any(one.id not in found for one in members)]
    done = len(samples) - sum(map(len, waiting))
    examine = functools.partial(
        _examined,
        template=template,
        decoding=decoding,
        score=score,
        types=types,
        segmenter=segmenter,
        answering=answering,
        reward=None if answering == "logits" else reward,
    )
    tasks = [functools.partial(examine, samples=members) for members in waiting]
    pace = 0.1 if sys.stderr.isatty() else 15.0
    with tqdm(total=len(samples), initial=done, desc=title, unit="image", mininterval=pace, disable=not title) as bar:
        for made in team.map(tasks, vlm) if team else (task(vlm) for task in tasks):
            if partial:
                partial.add(made)
            found |= {one.id: one for one in made}
            bar.update(len(made))
    return [found[sample.id] for sample in samples]


def inspect(
    vlm: VLM,
    template: Template,
    samples: Sequence[Sample],
    *,
    score: Score,
    decoding: Decoding = GREEDY,
    types: Sequence[str] = (),
    segmenter: Segmenter | None = None,
    answering: str = "text",
) -> list[Inspection]:
    """Say what the model makes of one batch of samples, in order: ask, write, read, score, type, mask.

    Nothing of a sample counts but what its prompt shows. The model must be in eval mode. With `answering="logits"`
    nothing is written: the most likely letter is the answer, its log-odds the score, and `score` and `decoding` play no
    part. `types` are the defect types that a text may name. With a `segmenter` each inspection has the union of the
    masks of its boxes, whatever the verdict.

    Raises:
        ConfigError: A prompt does not fit the model.
        DataError: An image cannot be read.
    """
    start = time.perf_counter()
    prompts = [template.ask(sample, vlm.frames) for sample in samples]
    encoded = [vlm.encode(prompt) for prompt in prompts]
    if answering == "logits":
        said = _by_letters(vlm, template, prompts, encoded)
    else:
        said = _written(vlm, template, prompts, encoded, decoding, score)
    if segmenter is not None:
        said = [replace(one, mask=_mask(segmenter, sample, one)) for one, sample in zip(said, samples, strict=True)]
    seconds = (time.perf_counter() - start) / max(1, len(samples))
    return [replace(one, seconds=seconds, named_type=named_type(one.text, types)) for one in said]


def subset(samples: Sequence[Sample], count: int | None, *, seed: int = 0) -> list[Sample]:
    """Draw `count` samples, the same every time, and keep their order; all of them for None or too many."""
    if count is None or count >= len(samples):
        return list(samples)
    return [samples[index] for index in sorted(Random(seed).sample(range(len(samples)), count))]


def batches(samples: Sequence[Sample], size: int) -> Iterator[list[Sample]]:
    """Yield samples `size` at a time, never parting neighbours of one image: fewer before a border, more if it is one.

    An image that alone has more than `size` is a batch of its own.
    """
    batch: list[Sample] = []
    for _, members in groupby(samples, key=lambda sample: sample.image):
        of_image = list(members)
        if batch and len(batch) + len(of_image) > size:
            yield batch
            batch = []
        batch += of_image
    if batch:
        yield batch


def _examined(
    vlm: VLM, samples: Sequence[Sample], template: Template, reward: Reward | None, **how: Any
) -> list[Prediction]:
    """Inspect one batch and set what is said beside the labels."""
    said = inspect(vlm, template, samples, **how)
    prompts = [template.ask(sample, vlm.frames) for sample in samples]
    return [_labelled(prompt, one, reward) for prompt, one in zip(prompts, said, strict=True)]


def _by_letters(
    vlm: VLM, template: Template, prompts: Sequence[Prompt], encoded: Sequence[EncodedPrompt]
) -> list[Inspection]:
    said = []
    for prompt, logprobs in zip(prompts, letter_logprobs(vlm, template, prompts, encoded), strict=True):
        letter = max(logprobs, key=lambda one: logprobs[one])
        odds = log_odds_of(logprobs, prompt)
        said.append(Inspection(predicted=prompt.choices[letter], score=odds, answer_letter=letter, letters=logprobs))
    return said


def _written(
    vlm: VLM,
    template: Template,
    prompts: Sequence[Prompt],
    encoded: Sequence[EncodedPrompt],
    decoding: Decoding,
    score: Score,
) -> list[Inspection]:
    written: list[Written] = []
    groups = decoding(vlm, prompts, encoded, written)
    scores = score(vlm, template, prompts, encoded, groups, written)
    said = []
    for prompt, group, odds in zip(prompts, groups, scores, strict=True):
        verdicts = [template.read(completion.text, prompt) for completion in group]
        found = decoding.conclude(vlm, prompt, group, verdicts, odds)
        tokens = sum(len(completion.token_ids) for completion in group)
        said.append(
            of_verdict(found.verdict, score=odds, confidences=found.confidences, draws=found.draws, tokens=tokens)
        )
    return said


def _mask(segmenter: Segmenter, sample: Sample, said: Inspection) -> dict[str, Any]:
    if not said.boxes:
        return union_rle(np.zeros((0, sample.height, sample.width), bool))
    return union_rle(segmenter(np.asarray(read_image(sample.image)), said.boxes))


def _labelled(prompt: Prompt, said: Inspection, reward: Reward | None) -> Prediction:
    rewards: dict[str, float] = {}
    if reward is not None:
        earned = reward((verdict_of(said),), prompt)
        rewards = {name: float(values[0]) for name, values in (*earned.terms.items(), ("total", earned.total))}
    return from_inspection(prompt.sample, said, question=question_of(prompt), rewards=rewards)
