"""Judging in workers: the same numbers, the same errors, no process left; and when it moves there."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import judging
import pytest
from judging import TEXTS, equal, group_of, make_dear, make_prompt, record

from adfm.config.compose import build, compose
from adfm.grpo.collect import Collector
from adfm.grpo.judge import MEASURED_STEPS, Judge, worker_count
from adfm.rewards.composite import Composite, RewardError
from adfm.types import Completion, Reward


def composite(**terms: Any) -> Composite:
    return Composite({name: {"weight": 1.0, "term": term} for name, term in terms.items()})


@pytest.fixture
def judge_with() -> Iterator[Callable[[Reward], Judge]]:
    made: list[Judge] = []

    def make(reward: Reward) -> Judge:
        made.append(Judge(build(compose("train").reasoning), reward))
        return made[-1]

    yield make
    for judge in made:
        judge.after_run()


class Written:
    """A rollout that writes given texts."""

    group_size = len(TEXTS)
    temperature = 1.0
    resample = 0

    def __init__(self, *texts: tuple[str, ...]) -> None:
        self.texts = texts

    def sample(self, prompts: Any, *, seed: int) -> list[tuple[Completion, ...]]:
        return [judging.complete(texts) for texts in self.texts]


@pytest.mark.parametrize("shipped", [["reward=fine_grained", "reasoning=three_stage"], ["reward=roam"]])
def test_workers_judge_bit_for_bit_as_the_process_does(
    judge_with: Callable[[Reward], Judge], shipped: list[str]
) -> None:
    config = compose("train", shipped)
    here, there = (judge_with(build(config.reward)) for _ in range(2))
    here.template = there.template = build(config.reasoning)
    make_dear(there)
    assert there.in_workers
    assert not here.in_workers
    prompts = [make_prompt(f"s{index}") for index in range(6)]
    judged = [there.begin(prompt, [*TEXTS, prompt.id]) for prompt in prompts]
    for prompt, future in zip(prompts, judged, strict=True):
        assert equal(future.result(), here.begin(prompt, [*TEXTS, prompt.id]).result())


def test_moves_only_above_the_share_and_says_so_once(
    judge_with: Callable[[Reward], Judge], capfd: pytest.CaptureFixture[str]
) -> None:
    judge = judge_with(composite(length=judging.length))
    group = group_of(judge, make_prompt())
    for step, share in enumerate([0.05, 0.05, 0.05, 0.05, 0.03, 0.06], start=1):
        judge.after_step(record(step, group, share=share))
        assert not judge.in_workers
    judge.after_step(record(7, group, share=0.07))
    assert judge.in_workers
    judge.after_step(record(8, group, share=0.5))
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("rewards took 5% of 3 steps; from now on ")
    assert f"{worker_count()} worker" in line


def test_measures_a_few_steps_first_and_leaves_the_start_out(judge_with: Callable[[Reward], Judge]) -> None:
    judge = judge_with(composite(length=judging.length))
    group = group_of(judge, make_prompt())
    judge.after_step(record(0, group, share=1.0))
    for step in range(1, MEASURED_STEPS):
        judge.after_step(record(step, group, share=1.0))
    assert not judge.in_workers


def test_only_rank_0_tells(judge_with: Callable[[Reward], Judge], capfd: pytest.CaptureFixture[str]) -> None:
    judge = judge_with(composite(length=judging.length))
    judge.before_run(SimpleNamespace(is_main=False))
    make_dear(judge)
    assert judge.in_workers
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("term", "reason"),
    [(lambda verdict, prompt: 1.0, "pickle"), (judging.process, "prompt s0 earns something else there")],
    ids=["does not pickle", "is not pure"],
)
def test_what_a_worker_cannot_judge_stays_in_process(
    judge_with: Callable[[Reward], Judge], capfd: pytest.CaptureFixture[str], term: Any, reason: str
) -> None:
    judge = judge_with(composite(term=term))
    group = group_of(judge, make_prompt())
    make_dear(judge, group)
    make_dear(judge, group)
    assert not judge.in_workers
    (line,) = capfd.readouterr().err.splitlines()
    assert "they stay in this process" in line
    assert reason in line
    assert equal(judge.begin(make_prompt(), TEXTS).result(), (group.verdicts, group.rewards))


def test_a_users_package_works_and_one_that_cannot_be_imported_there_stays(
    judge_with: Callable[[Reward], Judge],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "my_reward.py").write_text("class Mine:\n    def __call__(self, verdict, prompt): return 0.25\n")
    monkeypatch.syspath_prepend(tmp_path)
    terms = {"mine": {"weight": 1.0, "term": {"_target_": "my_reward.Mine"}}}
    reward = build({"_target_": "adfm.rewards.composite.Composite", "terms": terms})
    found = judge_with(reward)
    make_dear(found)
    assert found.in_workers
    lost = judge_with(reward)
    group = group_of(lost, make_prompt())
    monkeypatch.undo()
    make_dear(lost, group)
    assert not lost.in_workers
    assert "No module named 'my_reward'" in capfd.readouterr().err


@pytest.mark.parametrize("in_workers", [False, True])
def test_an_error_names_prompt_and_term(judge_with: Callable[[Reward], Judge], in_workers: bool) -> None:
    collector = Collector(Written(TEXTS, ("1", "7"), TEXTS), *_parts(composite(sevens=judging.refuse_sevens)))
    if in_workers:
        make_dear(collector.judge)
    assert collector.judge.in_workers == in_workers
    with pytest.raises(RewardError, match=r"reward\.terms\.sevens failed on prompt s1: KeyError: 'seven'"):
        _ = collector.collect([make_prompt(f"s{index}") for index in range(3)], seed=0).groups
    collector.judge.after_run()


def test_a_reward_that_is_no_composite_names_the_prompt_too(judge_with: Callable[[Reward], Judge]) -> None:
    class Broken:
        def __call__(self, verdicts: Any, prompt: Any) -> Any:
            raise OSError("no connection")

        def best(self, prompt: Any) -> float:
            return 1.0

    with pytest.raises(RewardError, match="reward failed on prompt s0: OSError: no connection"):
        judge_with(Broken()).begin(make_prompt(), TEXTS)


def test_the_death_of_a_worker_names_the_prompt() -> None:
    collector = Collector(Written(TEXTS, ("1", "7")), *_parts(composite(deadly=judging.die_on_seven)))
    make_dear(collector.judge)
    with pytest.raises(RewardError, match="worker died on prompt s"):
        _ = collector.collect([make_prompt("s0"), make_prompt("s1")], seed=0).groups
    collector.judge.after_run()


def test_workers_load_no_torch_and_none_is_left(
    judge_with: Callable[[Reward], Judge], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch  # noqa: F401  so that this process has it

    monkeypatch.setenv("JUDGING_PARENT", str(os.getpid()))
    judge = judge_with(composite(torch=judging.loaded_torch))
    make_dear(judge)
    assert judge.in_workers
    assert _workers()
    for future in [judge.begin(make_prompt(f"s{index}"), TEXTS) for index in range(4)]:
        assert not future.result()[1].total.any()
    judge.after_run()
    assert not _workers()


def test_workers_do_not_outlive_a_run_that_is_killed() -> None:
    script = "import test_judge; test_judge.stay()"
    paths = {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    with subprocess.Popen([sys.executable, "-c", script], env=os.environ | paths, stdout=subprocess.PIPE) as run:
        assert run.stdout
        workers = [int(number) for number in run.stdout.readline().split()]
        assert workers
        run.send_signal(signal.SIGKILL)
    for _ in range(3000):
        if not any(_alive(worker) for worker in workers):
            return
        time.sleep(0.01)
    pytest.fail(f"{workers} are still there")


def stay() -> None:
    """Open workers, print their ids and wait to be killed."""
    judge = Judge(*_parts(composite(length=judging.length)))
    make_dear(judge)
    print(*_workers(), flush=True)
    time.sleep(60)


def _parts(reward: Composite) -> tuple[Any, Composite]:
    return build(compose("train").reasoning), reward


def _workers() -> set[int]:
    return {process.pid for process in multiprocessing.active_children() if process.pid}


def _alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
