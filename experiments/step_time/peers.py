"""What both peers of the benchmark share: a peer is a child process that makes its steps when it is told to.

Each has its own process, so that its peak memory is its own. This module imports neither adfm nor TRL.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import traceback
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

FOLDER = Path(__file__).parent
MEBIBYTE = 2**20


class PeerError(RuntimeError):
    """A peer failed; the message is its traceback."""


@dataclass(frozen=True, kw_only=True)
class StepTimes:
    """Seconds of one step and of its parts."""

    rollout: float
    """Prompts to completions: reading images, tower, prefill, decoding."""
    reward: float
    reference: float
    update: float
    whole: float


@dataclass(frozen=True, kw_only=True)
class Gradient:
    """One step's loss and gradient, and what they depend on."""

    loss: float
    by_name: Mapping[str, np.ndarray]
    """Of each trained parameter."""
    reference_logprob: np.ndarray | None
    """Of all completion tokens in order; None at beta 0."""
    prompt_tokens: list[list[int]]
    """Of each prompt, image tokens included."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """MiB that a peer holds: on the GPU where it computes on one, else of its process."""

    before: float
    """When everything is built, before the first step."""
    peak: float
    """The most until now."""


def held_mb() -> tuple[float, float]:
    """Return MiB held now and at most so far; on the CPU from Linux's `/proc`, which counts from the program's start.

    The maximum of `getrusage` would not do: a child process begins with its parent's.
    """
    if torch.cuda.is_available():
        return torch.cuda.memory_allocated() / MEBIBYTE, torch.cuda.max_memory_allocated() / MEBIBYTE
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    now, peak = (float(lines[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    return now, peak


@contextmanager
def moved(trained: Sequence[tuple[str, Tensor]]) -> Iterator[None]:
    """Move weights a little, in a way that depends on their names alone, so that a policy differs from its reference.

    Afterwards they are bit for bit as before.
    """
    before = [weight.detach().clone() for _, weight in trained]
    with torch.no_grad():
        for name, weight in trained:
            rng = np.random.default_rng(zlib.crc32(name.encode()))
            change = 0.005 * rng.standard_normal(tuple(weight.shape), dtype=np.float32)
            weight += torch.from_numpy(change).to(weight)
    try:
        yield
    finally:
        with torch.no_grad():
            for (_, weight), saved in zip(trained, before, strict=True):
                weight.copy_(saved)


def gradients(trained: Sequence[tuple[str, Tensor]]) -> dict[str, np.ndarray]:
    """Return the gradients by name, and forget them on the weights."""
    found = {}
    for name, weight in trained:
        if weight.grad is not None:
            found[name] = weight.grad.float().cpu().numpy().copy()
            weight.grad = None
    return found


class Peer:
    """A peer from the parent's side.

    Args:
        script: Program beside this file that hands its connection to `serve`.
        settings: What it is built from; anything that pickles.

    Raises:
        PeerError: it could not be built, or later could not do what it was told.
    """

    def __init__(self, script: str, settings: Any) -> None:
        self._connection, other = Pipe()
        self._stderr = tempfile.TemporaryFile("w+")  # noqa: SIM115
        command = [sys.executable, str(FOLDER / script), str(other.fileno())]
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=self._stderr, pass_fds=[other.fileno()]
        )
        other.close()
        self.described: dict[str, Any] = self._ask(settings)
        """What it says of its settings, defaults included."""

    def step(self, *arguments: Any) -> StepTimes:
        """Make one training step."""
        return self._ask(("step", arguments))

    def check(self, *arguments: Any) -> Gradient:
        """Compute loss and gradient on given completions."""
        return self._ask(("check", arguments))

    def memory(self) -> Memory:
        """Say what it holds."""
        return self._ask(("memory", ()))

    def close(self) -> None:
        """End the process and wait for it."""
        self._connection.close()
        self._process.terminate()
        self._process.wait()
        self._stderr.close()

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, question: Any) -> Any:
        try:
            self._connection.send(question)
            answer = self._connection.recv()
        except (EOFError, BrokenPipeError, ConnectionResetError) as error:
            self._stderr.seek(0)
            raise PeerError(f"{self._process.args} ended: {self._stderr.read()[-4000:]}") from error
        if isinstance(answer, PeerError):
            raise answer
        return answer


class Orders:
    """A peer from the inside: what the parent wants next."""

    def __init__(self) -> None:
        """Open the connection that the parent left on the command line, and take the settings."""
        self._connection: Connection[Any, Any] = Connection(int(sys.argv[1]))
        self.settings: Any = self._connection.recv()
        self._before = 0.0

    def ready(self, described: dict[str, Any]) -> None:
        """Say that everything is built, and with which settings."""
        self._before = held_mb()[0]
        self.answer(described)

    def answer(self, result: Any) -> None:
        """Give the parent the result of what it asked."""
        self._connection.send(result)

    def next_step(self, check: Callable[..., Gradient]) -> tuple[Any, ...] | None:
        """Answer checks and questions until a step is wanted, and return its arguments; None when the parent left."""
        while True:
            try:
                name, arguments = self._connection.recv()
            except (EOFError, ConnectionResetError):
                return None
            if name == "step":
                return arguments
            if name == "check":
                self.answer(check(*arguments))
            else:
                self.answer(Memory(before=self._before, peak=held_mb()[1]))


def serve(peer: Callable[[Orders], None]) -> None:
    """Run a peer; a failure is told to the parent as what its next question is answered with."""
    orders = Orders()
    try:
        peer(orders)
    except Exception:  # everything ends up at the parent
        orders.answer(PeerError(traceback.format_exc()))
        raise
