"""adfm against TRL's GRPOTrainer on the same work: `python experiments/step_time/bench.py --help`."""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import comparison
import numpy as np
import qwen3b
from cases import Case, Layout, Work, large_cases, small_cases
from peers import Gradient, Peer, PeerError, StepTimes
from workloads import WORKLOADS

from adfm.config.environment import environment
from adfm.types import Sample

RESULTS = Path(__file__).parent / "results.json"
README = Path(__file__).parent / "README.md"
BETAS = (0.0, 0.04)
TOLERANCE = 1e-3
"""Largest relative difference of loss and gradients."""
LONG_STEP = 60.0
"""Seconds of TRL's step above which `FEWER_STEPS` are timed."""
FEWER_STEPS = 3


def check_equal(work: Work, adfm: Peer, trl: Peer) -> dict[str, float]:
    """Compare loss, gradients, reference and prompts of one small step; raises SystemExit where they differ."""
    rng = np.random.default_rng(0)
    size = work.case.workload.group_size
    completions = [[rng.integers(8, 700, length) for length in rng.integers(3, 9, size)] for _ in range(2)]
    advantages = rng.standard_normal(2 * size)
    ours = adfm.check(work.samples[0][:2], completions, advantages)
    theirs = trl.check(work.prompts[0][:2], completions, advantages)
    differences = compared(ours, theirs)
    if ours.prompt_tokens != theirs.prompt_tokens:
        raise SystemExit(f"{work.case.name}: adfm and TRL make different prompts; nothing was timed")
    if max(differences.values()) > TOLERANCE:
        raise SystemExit(f"{work.case.name}: adfm and TRL disagree, so nothing was timed: {differences}")
    return differences


def compared(ours: Gradient, theirs: Gradient) -> dict[str, float]:
    """Return relative differences of loss and of the worst parameter's gradient, and the reference's largest one."""
    if ours.by_name.keys() != theirs.by_name.keys():
        raise SystemExit(f"the peers train different weights: {ours.by_name.keys() ^ theirs.by_name.keys()}")
    norms = {name: float(np.linalg.norm(gradient)) for name, gradient in theirs.by_name.items()}
    gaps = {name: float(np.linalg.norm(ours.by_name[name] - theirs.by_name[name])) for name in norms}
    differences = {
        "loss": abs(ours.loss - theirs.loss) / abs(theirs.loss),
        "gradient": max(gaps[name] / norms[name] for name in norms),
    }
    if ours.reference_logprob is not None and theirs.reference_logprob is not None:
        differences["reference"] = float(abs(ours.reference_logprob - theirs.reference_logprob).max())
    return differences


def fastest_layout(work: Work, beta: float) -> tuple[Layout, dict[str, float | str]]:
    """Time a step of TRL in each of the case's layouts, after one to warm up; return the fastest and all seconds."""
    if len(work.case.layouts) == 1:
        return work.case.layouts[0], {}
    tried: dict[str, float | str] = {}
    best, least = None, float("inf")
    for layout in work.case.layouts:
        name = f"{layout.rows} rows" + (", gradient checkpointing" if layout.gradient_checkpointing else "")
        try:
            with Peer("trl_step.py", work.trl(beta, layout)) as trl:
                seconds = [trl.step().whole for _ in range(2)][-1]
        except PeerError as error:
            if "OutOfMemoryError" not in str(error):
                raise
            tried[name] = "out of memory"
            continue
        tried[name] = seconds
        if seconds < least:
            best, least = layout, seconds
    if best is None:
        raise SystemExit(f"{work.case.name}: TRL runs out of memory in every layout: {tried}")
    return best, tried


def measure(work: Work, beta: float, layout: Layout, steps: int) -> dict[str, Any]:
    """Time both peers, one step to warm up and at most `steps` more, and return everything that was seen."""
    seen: dict[str, Any] = {"adfm": [], "adfm_warm": [], "trl": []}
    if not work.case.alternating:
        seen["check"] = check_small(beta)
        with Peer("adfm_step.py", work.adfm(beta)) as adfm:
            keep(seen, adfm_steps(adfm, work.samples, steps))
            seen |= {"adfm_memory": asdict(adfm.memory()), "adfm_settings": without_folders(adfm.described)}
        with Peer("trl_step.py", work.trl(beta, layout)) as trl:
            keep(seen, trl_steps(trl, steps))
            seen |= {"trl_memory": asdict(trl.memory()), "trl_settings": trl.described}
        return seen
    with Peer("adfm_step.py", work.adfm(beta)) as adfm, Peer("trl_step.py", work.trl(beta, layout)) as trl:
        seen["check"] = check_equal(work, adfm, trl)
        in_turn = zip(trl_steps(trl, steps), adfm_steps(adfm, work.samples, steps), strict=False)
        keep(seen, (theirs | ours for theirs, ours in in_turn))
        seen |= {"adfm_memory": asdict(adfm.memory()), "adfm_settings": without_folders(adfm.described)}
        seen |= {"trl_memory": asdict(trl.memory()), "trl_settings": trl.described}
    return seen


def without_folders(described: dict[str, Any]) -> dict[str, Any]:
    """Leave out where the checkpoint lies on this machine."""
    return described | {"model": {name: value for name, value in described["model"].items() if name != "path"}}


def check_small(beta: float) -> dict[str, float]:
    """Make the check of `check_equal` on the embedded model, in float32 on the same device."""
    (case,) = small_cases(["W1"], [8])
    with tempfile.TemporaryDirectory() as folder:
        work = Work(case, Path(folder), 1)
        with Peer("adfm_step.py", work.adfm(beta)) as adfm, Peer("trl_step.py", work.trl(beta, case.layouts[0])) as trl:
            return check_equal(work, adfm, trl)


def adfm_steps(adfm: Peer, samples: Sequence[Sequence[Sample]], steps: int) -> Iterator[dict[str, StepTimes]]:
    """Warm up, then step on new images, and again on the same ones, whose features are then in memory."""
    adfm.step(samples[0])
    for index in range(1, steps + 1):
        yield {"adfm": adfm.step(samples[index]), "adfm_warm": adfm.step(samples[index])}


def trl_steps(trl: Peer, steps: int) -> Iterator[dict[str, StepTimes]]:
    """Warm up, then step; fewer steps where one takes more than a minute."""
    long = trl.step().whole > LONG_STEP
    for _ in range(min(steps, FEWER_STEPS) if long else steps):
        yield {"trl": trl.step()}


def keep(seen: dict[str, Any], steps: Iterable[dict[str, StepTimes]]) -> None:
    """Add steps to what was seen, and show them as they come."""
    for step in steps:
        for kind, times in step.items():
            seen[kind].append(asdict(times))
            shown = (f"{part} {seconds:8.3f}" for part, seconds in asdict(times).items())
            print(f"  {kind:10}", *shown, flush=True)


def bench(case: Case, arguments: argparse.Namespace, folder: Path) -> None:
    """Time a case at each beta, and keep the results of each as soon as they are there."""
    work = Work(case, folder / case.name.replace(" ", "-"), arguments.steps + 1)
    best: Layout | None = None
    tried: dict[str, float | str] = {}
    for beta in arguments.beta:
        print(f"{case.name}, beta {beta:g}", flush=True)
        if best is None:
            best, tried = fastest_layout(work, beta)
        seen = measure(work, beta, best, arguments.steps)
        known = {
            "case": case.name,
            "beta": beta,
            "workload": asdict(case.workload) | {"image_tokens": case.workload.image_tokens},
            "prompt_tokens": work.prompt_tokens(),
            "layer_parameters": qwen3b.layer_parameters(case.checkpoint),
            "lora": case.lora,
            "trl_layouts_tried": tried,
            "machine": machine(arguments.threads),
        }
        entry = known | seen
        comparison.keep(RESULTS, entry | comparison.summary(entry))
        print(json.dumps({name: entry[name] for name in ("adfm_settings", "trl_settings", "machine")}, indent=1))


def machine(threads: int) -> dict[str, Any]:
    """Say on what, and with which versions, this was measured."""
    packages = {name: version(name) for name in ("trl", "accelerate", "datasets")}
    found = environment()
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    found["packages"] |= packages
    processor = models[0].partition(":")[2].strip() if models else platform.machine()
    return found | {"processor": processor, "threads": threads, "date": time.strftime("%Y-%m-%d")}


def main() -> None:
    """Parse the command line, measure, keep and print."""
    parser = argparse.ArgumentParser(
        description="Times adfm and TRL's GRPOTrainer (extra `bench`) on the same steps, each in its own process, in "
        f"turn, and keeps what it saw in {RESULTS.name}, one entry a case and beta. It stops if the two "
        "disagree about loss or gradients. With all defaults it takes about an hour on two cores, nearly all of it "
        "TRL's; use the machine for nothing else meanwhile."
    )
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS), help="of the tiny model")
    parser.add_argument("--steps", type=int, default=5, help="timed steps of each peer, after one to warm up (5)")
    parser.add_argument("--beta", type=float, nargs="+", default=list(BETAS), help="weights of the KL penalty (0 0.04)")
    parser.add_argument(
        "--trl-rows",
        type=int,
        nargs="+",
        default=[32, 8],
        help="completions of one forward and backward pass of TRL; the fastest is used (32 8)",
    )
    parser.add_argument(
        "--preset", choices=["tiny", "qwen3b"], default="tiny", help="qwen3b needs one CUDA GPU of 140 GB"
    )
    parser.add_argument(
        "--shrink", action="store_true", help="with qwen3b: small shapes, to try the same path anywhere"
    )
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of each peer (all cores)")
    parser.add_argument("--table", action="store_true", help="measure nothing; write the tables into README.md")
    arguments = parser.parse_args()
    if not arguments.table:
        os.environ |= {"OMP_NUM_THREADS": str(arguments.threads), "GOMP_SPINCOUNT": "0", "OMP_WAIT_POLICY": "passive"}
        with tempfile.TemporaryDirectory() as folder:
            if arguments.preset == "tiny":
                cases = small_cases(arguments.workloads, arguments.trl_rows)
            else:
                cases = large_cases(Path(folder) / "checkpoint", arguments.trl_rows, shrunk=arguments.shrink)
            for case in cases:
                bench(case, arguments, Path(folder))
    print(comparison.write_tables(RESULTS, README) if arguments.table else comparison.tables(RESULTS))


if __name__ == "__main__":
    main()
