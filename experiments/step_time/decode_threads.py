"""Seconds of a rollout by rows and threads: from how many rows on a second thread pays.

GOMP_SPINCOUNT=0 OMP_WAIT_POLICY=passive python experiments/step_time/decode_threads.py
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from adfm_step import NO_TOKEN
from omegaconf import OmegaConf
from workloads import WORKLOADS, draw_samples, overrides

from adfm.config.compose import build, compose
from adfm.evaluation.plan import model_config
from adfm.grpo import rollout
from adfm.models.vlm import VLM, EncodedPrompt

ROWS = (8, 32, 64, 128, 256, 512)
GROUP, TOKENS, REPEATS = 8, 32, 3


def seconds(vlm: VLM, encoded: Sequence[EncodedPrompt]) -> float:
    """Time one rollout of `GROUP` completions a prompt."""
    start = time.perf_counter()
    rollout.generate(vlm, encoded, group_size=GROUP, temperature=1.0, completion_tokens=TOKENS)
    return time.perf_counter() - start


def main() -> None:
    """Print a line for each number of rows: median seconds of each number of threads, in turn."""
    rollout.ONE_THREAD_BELOW = 0
    workload = WORKLOADS["W1"]
    config = compose("train", overrides(workload, "tiny", "tiny", beta=0.0, learning_rate=1e-6))
    OmegaConf.resolve(config)
    vlm = VLM.load(model_config(config.model), device=torch.device("cpu"), train=False)
    vlm.base.eval()
    vlm.end_token_ids = (NO_TOKEN,)
    template = build(config.reasoning)
    threads = range(1, torch.get_num_threads() + 1)
    with tempfile.TemporaryDirectory() as folder:
        samples = [one for step in draw_samples(workload, Path(folder), ROWS[-1] // GROUP // 4) for one in step]
        encoded = [vlm.encode(template.ask(sample, vlm.frames)) for sample in samples]
        for rows in ROWS:
            seen: dict[int, list[float]] = {count: [] for count in threads}
            for repeat in range(REPEATS + 1):
                for count in threads:
                    torch.set_num_threads(count)
                    took = seconds(vlm, encoded[: rows // GROUP])
                    seen[count] += [took] if repeat else []
            print(rows, "rows:", {count: round(statistics.median(took), 3) for count, took in seen.items()}, flush=True)


if __name__ == "__main__":
    main()
