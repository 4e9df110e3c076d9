"""The loop on real parts: any cut into rows is one update, resuming equals not stopping, both families two steps."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import judging
import pytest
import torch
from grpo_support import model_config

from adfm.config.compose import build, compose
from adfm.grpo import loop
from adfm.grpo.collect import Collector, PromptStream
from adfm.grpo.engine import Engine
from adfm.grpo.logprob import Scorer
from adfm.grpo.objective import GRPO, Clipped
from adfm.grpo.packing import PackedGroups
from adfm.grpo.reference import AdapterOff, FrozenCopy, NoReference
from adfm.grpo.rollout import Sampling
from adfm.grpo.rows import RowMaker
from adfm.grpo.schedule import Constant
from adfm.models.vlm import VLM
from adfm.rewards.composite import Composite
from adfm.types import Prompt, Reward, Sample, StepRecord, Verdict


def length_and_letters(verdict: Verdict, prompt: Prompt) -> float:
    """A reward that every random model can vary: how many letters e it writes, and how long it is."""
    return verdict.text.count("e") + 0.1 * len(verdict.text) ** 0.5


class Recorder:
    """Keeps every record."""

    def __init__(self) -> None:
        self.records: list[StepRecord] = []

    def before_run(self, run: object) -> None: ...

    def after_step(self, record: StepRecord) -> None:
        self.records.append(record)

    def after_run(self) -> None: ...


ADAM = partial(torch.optim.AdamW, lr=3e-3)


class Parts:
    """A small run on a random checkpoint, piece by piece."""

    def __init__(
        self,
        checkpoint: Path,
        make_samples: Callable[[], list[Sample]],
        *,
        objective: Clipped | None = None,
        token_budget: int = 10_000,
        stage: int = 0,
        optimizer: Callable[..., torch.optim.Optimizer] = ADAM,
        **model: object,
    ) -> None:
        self.vlm = VLM.load(model_config(checkpoint, **model), device="cpu", train=True)
        self.objective = objective or GRPO()
        rollout = Sampling(self.vlm, completion_tokens=10, group_size=4)
        template = build(compose("train").reasoning)
        self.stream = PromptStream(make_samples(), template, self.vlm.frames, per_step=3, seed=5)
        reward: Reward = Composite({"letters": {"weight": 1.0, "term": length_and_letters}})
        self.collector = Collector(rollout, template, reward)
        copy = FrozenCopy(self.vlm, 1.0) if self.objective.beta and self.vlm.config.lora is None else None
        self.engine = Engine(
            Scorer(self.vlm),
            optimizer=optimizer,
            schedule=Constant(),
            max_grad_norm=1.0,
            deepspeed={"zero_optimization": {"stage": stage}},
            dtype=torch.float32,
            total_steps=20,
        )
        self.reference = (copy or AdapterOff(self.engine, self.vlm)) if self.objective.beta else NoReference()
        self.rows = RowMaker(self.vlm, self.objective, token_budget)
        self.recorder = Recorder()

    def train(self, steps: int) -> list[dict[str, float]]:
        loop.train(
            prompts=self.stream,
            collector=self.collector,
            row_maker=self.rows,
            objective=self.objective,
            reference=self.reference,
            engine=self.engine,
            validate=lambda step: {},
            callbacks=[self.recorder],
            steps=steps,
        )
        return [dict(record.metrics) for record in self.recorder.records]

    def weights(self) -> torch.Tensor:
        with self.engine.gathered():
            return torch.cat([p.detach().flatten() for p in self.vlm.model.parameters() if p.requires_grad]).clone()


def test_every_cut_into_rows_gives_the_same_update(checkpoint: Path, make_samples: Callable[[], list[Sample]]) -> None:
    sgd = partial(torch.optim.SGD, lr=0.1)  # Adam would blow up the rounding of the smallest gradients
    whole, cut = (Parts(checkpoint, make_samples, token_budget=budget, optimizer=sgd) for budget in (10_000, 260))
    ours, theirs = whole.train(3), cut.train(3)
    for one, other in zip(ours, theirs, strict=True):
        assert one["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-4)
        assert one["loss"] == pytest.approx(other["loss"], abs=1e-6)
    torch.testing.assert_close(whole.weights(), cut.weights(), atol=1e-5, rtol=1e-4)


def test_resuming_equals_not_stopping(
    checkpoint: Path, make_samples: Callable[[], list[Sample]], tmp_path: Path
) -> None:
    straight = Parts(checkpoint, make_samples, objective=GRPO(beta=0.04, num_iterations=2))
    expected = straight.train(4)
    first = Parts(checkpoint, make_samples, objective=GRPO(beta=0.04, num_iterations=2))
    first.train(2)
    first.engine.save(tmp_path / "checkpoints", {"seen": 2})
    second = Parts(checkpoint, make_samples, objective=GRPO(beta=0.04, num_iterations=2))
    assert second.engine.load(tmp_path / "checkpoints") == {"seen": 2}
    resumed = second.train(4)
    timeless = [name for name in expected[0] if "second" not in name and name != "peak_memory_mb"]
    for one, other in zip(expected[2:], resumed, strict=True):
        assert {name: one[name] for name in timeless} == {name: other[name] for name in timeless}
    assert torch.equal(straight.weights(), second.weights())


@pytest.mark.parametrize("stage", [0, 2, 3])
@pytest.mark.parametrize("lora", [False, True])
def test_two_steps_of_each_family_with_a_reference(
    checkpoint: Path, make_samples: Callable[[], list[Sample]], stage: int, lora: bool
) -> None:
    adapter = SimpleNamespace(rank=4, alpha=8, dropout=0.0, targets=["q_proj", "v_proj", "up_proj"]) if lora else None
    parts = Parts(checkpoint, make_samples, objective=GRPO(beta=0.1), stage=stage, lora=adapter)
    before = parts.weights()
    first, second = parts.train(2)
    assert first["kl"] == pytest.approx(0, abs=1e-5)
    assert second["kl"] > 1e-7
    assert first["logprob_gap"] < 1e-4
    assert not torch.equal(before, parts.weights())


def test_gradient_checkpointing_changes_nothing(checkpoint: Path, make_samples: Callable[[], list[Sample]]) -> None:
    plain, recomputed = (Parts(checkpoint, make_samples, gradient_checkpointing=on) for on in (False, True))
    assert plain.train(2)[-1]["grad_norm"] == pytest.approx(recomputed.train(2)[-1]["grad_norm"], rel=1e-5)


def test_groups_without_spread_make_no_update(checkpoint: Path, make_samples: Callable[[], list[Sample]]) -> None:
    parts = Parts(checkpoint, make_samples)
    parts.collector.judge.reward = Composite({"constant": {"weight": 1.0, "term": lambda verdict, prompt: 0.5}})
    before = parts.weights()
    (metrics,) = parts.train(1)
    assert metrics["groups/without_spread"] == 1
    assert metrics["grad_norm"] == 0
    torch.testing.assert_close(before, parts.weights(), atol=1e-4, rtol=0)  # weight decay alone


def test_groups_are_redrawn_up_to_the_bound(checkpoint: Path, make_samples: Callable[[], list[Sample]]) -> None:
    parts = Parts(checkpoint, make_samples)
    parts.collector.rollout.resample = 2
    parts.collector.judge.reward = Composite({"constant": {"weight": 1.0, "term": lambda verdict, prompt: 0.5}})
    (metrics,) = parts.train(1)
    assert metrics["groups/redrawn"] == 2 * 3


def test_rewards_are_judged_beside_the_reference_pass(
    checkpoint: Path, make_samples: Callable[[], list[Sample]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = (Parts(checkpoint, make_samples, objective=GRPO(beta=0.1)) for _ in range(2))
    here.collector.judge.reward = Composite({"length": {"term": judging.length}})
    there.collector.judge.reward = Composite({"length": {"term": judging.AfterReference(tmp_path)}})
    judging.make_dear(there.collector.judge)
    assert there.collector.judge.in_workers
    (tmp_path / "wait").touch()
    logprob = there.reference.logprob

    def seen(packed: PackedGroups) -> torch.Tensor | None:
        (tmp_path / "reference").touch()
        return logprob(packed)

    monkeypatch.setattr(there.reference, "logprob", seen)
    expected, found = here.train(2), there.train(2)
    there.collector.judge.after_run()
    assert torch.equal(here.weights(), there.weights())
    assert [step["loss"] for step in found] == [step["loss"] for step in expected]
    assert [record.groups[0].verdicts for record in there.recorder.records] == [
        record.groups[0].verdicts for record in here.recorder.records
    ]


@pytest.mark.parametrize("resample", [0, 1])
def test_without_a_reference_workers_change_nothing(
    checkpoint: Path, make_samples: Callable[[], list[Sample]], resample: int
) -> None:
    runs = []
    for in_workers in (False, True):
        parts = Parts(checkpoint, make_samples)
        parts.collector.rollout.resample = resample
        judge = parts.collector.judge
        judge.reward = Composite({"vowel": {"term": judging.starts_with_a_vowel}})
        if in_workers:
            judging.make_dear(judge)
        assert judge.in_workers == in_workers
        runs.append((parts.train(2), parts.weights()))
        judge.after_run()
    (expected, weights), (found, theirs) = runs
    assert torch.equal(weights, theirs)
    for name in ("loss", "groups/redrawn", "groups/without_spread", "reward/total_mean"):
        assert [step[name] for step in found] == [step[name] for step in expected]
    assert bool(sum(step["groups/redrawn"] for step in expected)) == bool(resample)
    assert any(step["groups/without_spread"] < 1 for step in expected)


def test_the_stream_asks_about_every_sample_once_an_epoch(
    make_samples: Callable[[], list[Sample]], checkpoint: Path
) -> None:
    parts = Parts(checkpoint, make_samples)
    stream = parts.stream
    asked = [prompt.id for step in range(4) for prompt in stream.batch(step)]
    assert sorted(asked) == sorted(["s0", "s1", "s2", "s3"] * 3)
    halves = [
        PromptStream(stream.samples, stream.template, stream.frames, per_step=3, seed=5, rank=rank, world_size=2)
        for rank in (0, 1)
    ]
    for step in range(4):
        shared = [prompt.id for half in halves for prompt in half.batch(step)]
        assert sorted(shared) == sorted(prompt.id for prompt in stream.batch(step))
