"""Reading and rewarding groups: in this process, or in workers where that costs more than 5 % of a step.

Judging needs no weights, so it can go on beside the reference pass, which needs no rewards. Where groups without
spread are left out (`Clipped.skips_equal_groups`: always at beta 0, where there is no reference pass either) or are
drawn again, the rewards decide what comes next and nothing can go on beside them: there the groups of a step are only
spread over the workers.

A worker imports `adfm.rewards`, `adfm.reasoning` and this module, never torch.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from functools import cache
from typing import Any

import numpy as np
from tqdm import tqdm

from adfm.rewards.composite import RewardError
from adfm.types import Group, Prompt, Reward, Rewards, StepRecord, Template, Verdict

SHARE = 0.05
"""Of a step's seconds; rewards that cost more go to workers."""
MEASURED_STEPS = 3
"""The newest steps, over which the share is taken."""
MOST_WORKERS = 8
"""Of one rank."""

Judgement = tuple[tuple[Verdict, ...], Rewards]


class Judge:
    """Reads with a template and rewards with a reward; as a callback it listens to what that costs.

    It starts in process. Once the share of `seconds/reward` in `seconds/step` over `MEASURED_STEPS` steps is above
    `SHARE`, it judges a known group again in a worker, compares, and then judges in workers until the run ends. Where
    that cannot be (something does not pickle or import there, or a reward is not pure) it stays in process. Either is
    said in one line. Results are the same in both.
    """

    def __init__(self, template: Template, reward: Reward) -> None:
        """Judge in process until the first steps are measured."""
        self.template = template
        self.reward = reward
        self._tells = True
        self._pool: ProcessPoolExecutor | None = None
        self._settled = False
        self._seconds: deque[tuple[float, float]] = deque(maxlen=MEASURED_STEPS)

    @property
    def in_workers(self) -> bool:
        """Whether groups are judged in workers."""
        return self._pool is not None

    def begin(self, prompt: Prompt, texts: Sequence[str]) -> Future[Judgement]:
        """Begin to judge a group; the result is its verdicts and rewards, in the order of `texts`.

        A reward that fails is a RewardError with the prompt's id: here if in process, else of the result.
        """
        if self._pool:
            return self._pool.submit(_judge_in_worker, prompt, texts)
        done: Future[Judgement] = Future()
        done.set_result(judge(self.template, self.reward, prompt, texts))
        return done

    def before_run(self, run: Any) -> None:
        """Let rank 0 alone tell where groups are judged."""
        self._tells = run.is_main

    def after_step(self, record: StepRecord) -> None:
        """Measure, and move to workers if it is time."""
        if self._settled or record.step == 0:
            return
        self._seconds.append((record.metrics["seconds/reward"], record.metrics["seconds/step"]))
        reward, step = (sum(seconds) for seconds in zip(*self._seconds, strict=True))
        if len(self._seconds) == MEASURED_STEPS and reward > SHARE * step:
            self._settled = True
            place = self._move(record.groups[0])
            if self._tells:
                tqdm.write(f"rewards took {reward / step:.0%} of {MEASURED_STEPS} steps; {place}", file=sys.stderr)

    def after_run(self) -> None:
        """End the workers; what they have not begun is dropped."""
        if self._pool:
            self._pool.shutdown(cancel_futures=True)

    def _move(self, known: Group) -> str:
        """Open the workers if a known group is judged there as it was here; say where groups are judged from now on."""
        count = worker_count()
        pool = None
        try:
            payload = pickle.dumps((self.template, self.reward))
            pool = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), _prepare, (payload,))
            texts = [completion.text for completion in known.completions]
            found = pool.submit(_judge_in_worker, known.prompt, texts).result()
            _check_same(found, known)
        except Exception as error:  # anything that a user's reward raises when it is pickled, imported or run
            if pool:
                pool.shutdown(cancel_futures=True)
            return f"they stay in this process, for a worker cannot compute them ({type(error).__name__}: {error})"
        self._pool = pool
        return f"from now on {count} worker process{'es compute' if count > 1 else ' computes'} them"


def judge(template: Template, reward: Reward, prompt: Prompt, texts: Sequence[str]) -> Judgement:
    """Read and reward the completions of one prompt.

    Raises:
        RewardError: the reward failed. It holds text alone, so that it can leave a worker.
    """
    verdicts = tuple(template.read(text, prompt) for text in texts)
    try:
        return verdicts, reward(verdicts, prompt)
    except RewardError:
        raise
    except Exception as error:
        raise RewardError(f"reward failed on prompt {prompt.id}: {type(error).__name__}: {error}") from error


def worker_count() -> int:
    """Return how many workers this rank may have: its share of the cores, but for the one it computes on itself."""
    ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, min(MOST_WORKERS, len(os.sched_getaffinity(0)) // ranks - 1))


def _check_same(found: Judgement, known: Group) -> None:
    verdicts, rewards = found
    numbers = [(rewards.total, known.rewards.total)]
    numbers += [(rewards.terms[name], value) for name, value in known.rewards.terms.items()]
    if verdicts != known.verdicts or not all(np.array_equal(there, here) for there, here in numbers):
        raise RewardError(f"prompt {known.prompt.id} earns something else there; a reward must be pure")


_payload: list[bytes] = []
"""In a worker: the pickled template and reward."""


def _prepare(payload: bytes) -> None:
    """Make this process a worker: Ctrl-C is its parent's business, and it does not outlive its parent."""
    _payload.append(payload)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
    os._exit(1)


@cache
def _parts() -> tuple[Template, Reward]:
    return pickle.loads(_payload[0])


def _judge_in_worker(prompt: Prompt, texts: Sequence[str]) -> Judgement:
    return judge(*_parts(), prompt, texts)
