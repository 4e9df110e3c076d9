"""What the machine can do: its matrix rate, measured beside the steps it is compared with."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

import torch

LARGE = (1024, 1024, 1024)
"""A product large enough to reach the machine's best rate."""
LEAST_SECONDS = 0.05
REPEATS = 5


def matrix_rate(rows: int, inner: int, columns: int) -> float:
    """Measure float32 operations per second of one product of `rows x inner` by `inner x columns`, the best of five."""
    left, right = torch.randn(rows, inner), torch.randn(inner, columns)
    out = torch.empty(rows, columns)
    torch.matmul(left, right, out=out)
    best, count = 0.0, 1
    for _ in range(REPEATS):
        while (seconds := _seconds(left, right, out, count)) < LEAST_SECONDS:
            count *= 2
        best = max(best, 2.0 * rows * inner * columns * count / seconds)
    return best


def describe() -> dict[str, str | int]:
    """Say what decides how fast steps are on this machine."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count() or 0,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def _seconds(left: torch.Tensor, right: torch.Tensor, out: torch.Tensor, count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        torch.matmul(left, right, out=out)
    return time.perf_counter() - start
