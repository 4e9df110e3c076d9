"""How often image files are opened and processed: once a run, or once an epoch where memory is too small."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from test_loop import Parts, Recorder

from adfm.evaluation import runner
from adfm.evaluation.score import SCORES
from adfm.grpo import guards
from adfm.grpo.objective import GRPO
from adfm.models.vlm import VLM
from adfm.types import Sample, StepRecord

TRAINED = SimpleNamespace(vision=False, merger=False, language=False)
FROZEN = SimpleNamespace(vision=True, merger=True, language=False)


class Opens:
    """Counts how often each image file is opened, by whatever code."""

    def __init__(self) -> None:
        self.of: Counter[str] = Counter()
        self.on = True

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.on and event == "open" and isinstance(arguments[0], str | os.PathLike):
            path = Path(os.fsdecode(arguments[0]))
            self.of.update([path.name] if path.suffix == ".png" else [])


class EachStep(Recorder):
    """Keeps what was opened and processed in each step."""

    def __init__(self, *counters: Counter[str]) -> None:
        super().__init__()
        self.counters = counters
        self.before = [counter.copy() for counter in counters]
        self.most: list[int] = []
        """The most that anything was done to one image in a step."""

    def after_step(self, record: StepRecord) -> None:
        super().after_step(record)
        new = [counter - before for counter, before in zip(self.counters, self.before, strict=True)]
        self.before = [counter.copy() for counter in self.counters]
        self.most.append(max((count for counter in new for count in counter.values()), default=0))


@pytest.fixture
def opens() -> Iterator[Opens]:
    counter = Opens()
    sys.addaudithook(counter)  # there is no way to take one away
    yield counter
    counter.on = False


def count_processed(vlm: VLM, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count how often each image is processed into patches."""
    processed: Counter[str] = Counter()
    reader = vlm.tower.reader
    patches = reader.patches

    def counted(keys: Sequence[Any]) -> Any:
        processed.update(key.path.name for key in keys)
        return patches(keys)

    monkeypatch.setattr(reader, "patches", counted)
    return processed


def look(parts: Parts, samples: Sequence[Sample]) -> None:
    """Look at samples as the validation does."""
    vlm = parts.vlm
    vlm.config.completion_tokens = 4
    with parts.engine.gathered():
        runner.evaluate(vlm, parts.stream.template, samples, score=SCORES["answer"](), title="")


def guard(parts: Parts) -> None:
    """Draw and swap images as the guards do before the first update."""
    stream = parts.stream
    with parts.engine.gathered():
        prompts = [stream.template.ask(sample, stream.frames) for sample in stream.samples]
        _ = parts.collector.collect(prompts, seed=0).groups
        guards.check_images_matter(parts.vlm, stream.samples, stream.template, stream.frames)


@pytest.mark.parametrize("freeze", [FROZEN, TRAINED], ids=["frozen", "trained"])
def test_once_a_run_where_memory_suffices(
    checkpoint: Path,
    make_samples: Callable[[], list[Sample]],
    opens: Opens,
    monkeypatch: pytest.MonkeyPatch,
    freeze: SimpleNamespace,
) -> None:
    parts = Parts(checkpoint, make_samples, objective=GRPO(beta=0.1, num_iterations=2), freeze=freeze)
    processed = count_processed(parts.vlm, monkeypatch)
    opens.of.clear()
    guard(parts)
    look(parts, parts.stream.samples)
    parts.train(4)
    look(parts, parts.stream.samples)
    once = {f"s{index}.png": 1 for index in range(4)}
    assert opens.of == once
    assert processed == once


@pytest.mark.parametrize("freeze", [FROZEN, TRAINED], ids=["frozen", "trained"])
def test_once_an_epoch_where_memory_is_too_small(
    checkpoint: Path,
    make_samples: Callable[[], list[Sample]],
    opens: Opens,
    monkeypatch: pytest.MonkeyPatch,
    freeze: SimpleNamespace,
) -> None:
    parts = Parts(
        checkpoint,
        make_samples,
        objective=GRPO(beta=0.1, num_iterations=2),
        freeze=freeze,
        feature_cache_mb=0,
        token_budget=260,
    )
    parts.collector.rollout.resample = 1
    parts.vlm.hold(parts.stream.images_at_once(1))
    processed = count_processed(parts.vlm, monkeypatch)
    opens.of.clear()
    parts.recorder = each_step = EachStep(opens.of, processed)
    parts.train(4)  # three epochs
    assert each_step.most == [1, 1, 1, 1]
    assert max(opens.of.values()) <= 3
    assert max(processed.values()) <= 3
    assert sum(processed.values()) > 4
    opens.of.clear()
    processed.clear()
    look(parts, parts.stream.samples[:3])
    assert max(opens.of.values(), default=0) <= 1
