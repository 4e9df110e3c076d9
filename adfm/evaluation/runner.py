"""From samples to predictions: ask, write greedily, read, score; in batches, and resumable.

The questions about one image stay in one batch, where what their prompts share is read once.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from random import Random

from tqdm import tqdm

from adfm.evaluation import prediction
from adfm.evaluation.inspection import of_verdict
from adfm.evaluation.letters import letter_logprobs, log_odds_of
from adfm.evaluation.prediction import Prediction, from_inspection
from adfm.evaluation.score import Score
from adfm.grpo.rollout import generate
from adfm.models.vlm import VLM
from adfm.types import Prompt, Reward, Sample, Template, Verdict

BATCH = 32
"""Samples that are written at once."""


class Partial:
    """Predictions of an evaluation that is under way, one JSON line each behind a line with its key.

    What another key began is dropped: its predictions are of other weights, prompts or data. So is a last line that was
    cut off.
    """

    def __init__(self, path: Path, key: str) -> None:
        """Take up what `path` holds under `key`, or begin it."""
        self.path = path
        self.done: list[Prediction] = []
        if path.exists():
            first, *lines = path.read_text(encoding="utf-8").split("\n")
            self.done = [Prediction.from_json(line) for line in lines[:-1]] if first == key else []
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{line}\n" for line in (key, *map(Prediction.to_json, self.done))), encoding="utf-8")

    def add(self, predictions: Iterable[Prediction]) -> None:
        """Append predictions."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write("".join(f"{one.to_json()}\n" for one in predictions))

    def finish(self, path: Path, predictions: Sequence[Prediction]) -> None:
        """Write the finished `predictions.jsonl` and drop the partial one."""
        prediction.write(path, predictions)
        self.path.unlink()


def evaluate(
    vlm: VLM,
    template: Template,
    samples: Sequence[Sample],
    *,
    score: Score,
    reward: Reward | None = None,
    answering: str = "text",
    batch: int = BATCH,
    partial: Partial | None = None,
    title: str = "evaluate",
) -> list[Prediction]:
    """Predict every sample, in order.

    The model must be in eval mode. With `answering="logits"` nothing is written: the most likely letter is the answer,
    its log-odds the score, and `score` and `reward` play no part. `batch` samples are asked at once, but for an image
    with more questions; it changes speed, not results. With a `reward` each prediction has its terms. With `partial`,
    what it holds is not done again and every batch is added to it. The progress bar has `title`; an empty one shows
    none.
    """
    found = {one.id: one for one in partial.done} if partial else {}
    missing = [sample for sample in samples if sample.id not in found]
    pace = 0.1 if sys.stderr.isatty() else 15.0
    bar = tqdm(total=len(samples), initial=len(found), desc=title, unit="image", mininterval=pace, disable=not title)
    with bar:
        for members in batches(missing, batch):
            if answering == "logits":
                done = _by_letters(vlm, template, members)
            else:
                done = _predict(vlm, template, members, score, reward)
            if partial:
                partial.add(done)
            found |= {one.id: one for one in done}
            bar.update(len(done))
    return [found[sample.id] for sample in samples]


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


def _by_letters(vlm: VLM, template: Template, samples: Sequence[Sample]) -> list[Prediction]:
    start = time.perf_counter()
    prompts = [template.ask(sample, vlm.frames) for sample in samples]
    found = letter_logprobs(vlm, template, prompts, [vlm.encode(prompt) for prompt in prompts])
    seconds = (time.perf_counter() - start) / len(samples)
    predictions = []
    for prompt, logprobs in zip(prompts, found, strict=True):
        letter = max(logprobs, key=lambda one: logprobs[one])
        verdict = Verdict(
            text="",
            stages={},
            reasoning_letter=None,
            answer_letter=letter,
            anomalous=prompt.choices[letter],
            boxes_written=(),
            boxes=(),
        )
        odds = log_odds_of(logprobs, prompt)
        said = of_verdict(verdict, score=odds, letters=logprobs, seconds=seconds)
        predictions.append(from_inspection(prompt.sample, said, question=prediction.question_of(prompt)))
    return predictions


def _predict(
    vlm: VLM, template: Template, samples: Sequence[Sample], score: Score, reward: Reward | None
) -> list[Prediction]:
    start = time.perf_counter()
    prompts = [template.ask(sample, vlm.frames) for sample in samples]
    encoded = [vlm.encode(prompt) for prompt in prompts]
    groups = generate(vlm, encoded, group_size=1, temperature=0, completion_tokens=vlm.config.completion_tokens)
    completions = [completion for (completion,) in groups]
    verdicts = [template.read(completion.text, prompt) for completion, prompt in zip(completions, prompts, strict=True)]
    scores = score(vlm, template, prompts, encoded, completions)
    seconds = (time.perf_counter() - start) / len(samples)
    return [
        from_inspection(
            prompt.sample,
            of_verdict(verdict, score=value, seconds=seconds, tokens=len(completion.token_ids)),
            question=prediction.question_of(prompt),
            rewards=_rewards(reward, verdict, prompt),
        )
        for prompt, completion, verdict, value in zip(prompts, completions, verdicts, scores, strict=True)
    ]


def _rewards(reward: Reward | None, verdict: Verdict, prompt: Prompt) -> Mapping[str, float]:
    if reward is None:
        return {}
    earned = reward((verdict,), prompt)
    return {**{name: float(values[0]) for name, values in earned.terms.items()}, "total": float(earned.total[0])}
