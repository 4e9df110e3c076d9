"""What adfm's step time grows with: one axis at a time, the others fixed, on the embedded model.

    python experiments/step_time/scaling.py [--axes image group completion ranks] [--fresh]

Writes scaling.json (everything), scaling.csv (a line a cell), scaling.md (slopes, laws, floors) and scaling.png. A cell
that is done is not measured again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isqrt
from pathlib import Path
from statistics import median
from typing import Any

import flops
import machine
import summary
from adfm_step import AdfmStep
from attention_clock import AttentionClock
from tqdm import tqdm
from workloads import FACTOR, Workload, draw_samples

from adfm.files import write_whole
from adfm.grpo.logprob import CHUNK_NUMBERS

FOLDER = Path(__file__).parent
TIMED_STEPS = 3
Record = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One point of the sweep."""

    axis: str
    image: int = 576
    """Image tokens; a square number. By default those of workload W2."""
    group: int = 8
    completion: int = 64
    ranks: int = 1
    """Each with one thread where `ranks` is the axis."""
    prompts: int = 1
    """Of a step, over all ranks."""

    @property
    def key(self) -> str:
        """Name of the cell in the results."""
        return f"{self.axis}={getattr(self, self.axis)}"

    @property
    def workload(self) -> Workload:
        """The cell as a workload of the benchmark."""
        return Workload(
            name=self.key,
            image_side=isqrt(self.image) * FACTOR,
            completion_tokens=self.completion,
            prompts=self.prompts,
            group_size=self.group,
        )


CELLS = {
    "image": [Cell(axis="image", image=value) for value in (64, 144, 256, 576, 1024, 2304)],
    "group": [Cell(axis="group", group=value) for value in (2, 4, 8, 16, 32)],
    "completion": [Cell(axis="completion", completion=value) for value in (32, 64, 128, 256, 512)],
    "ranks": [Cell(axis="ranks", ranks=value, prompts=2) for value in (1, 2)],
}


def measure(cell: Cell, steps: int = TIMED_STEPS) -> Record:
    """Time a cell's step on this rank: medians over `steps` steps after one that warms up.

    All steps ask about the same images, so that the frozen tower runs once; its seconds are those before the first.
    """
    clock, timed = AttentionClock(), []
    with tempfile.TemporaryDirectory() as folder, clock.watching():
        (samples,) = draw_samples(cell.workload, Path(folder), 1)
        step = AdfmStep(cell.workload)
        step.prompts.samples = samples
        encoded = [step.vlm.encode(prompt) for prompt in step.prompts.batch(0)]
        start = time.perf_counter()
        step.vlm.features(encoded)
        tower = time.perf_counter() - start
        step.step(samples)
        for _ in range(steps):
            clock.seconds.clear()
            seconds = asdict(step.step(samples))
            timed.append(seconds | {f"{part}_attention": clock.seconds[part] for part in ("rollout", "update")})
    config = step.vlm.base.config
    step.close()
    groups = [flops.Group(prompt=len(one.token_ids), completions=(cell.completion,) * cell.group) for one in encoded]
    grids = [image.grid for one in encoded for image in one.images]
    seconds = {part: median(one[part] for one in timed) for part in timed[0]} | {"tower": tower}
    for part in ("rollout", "update"):
        seconds[f"{part}_else"] = seconds[part] - seconds[f"{part}_attention"]
    return {
        "sizes": asdict(cell) | {"prompt": groups[0].prompt},
        "seconds": seconds,
        "steps": timed,
        **floor(config, groups, grids, seconds),
    }


def floor(
    config: Any, groups: Sequence[flops.Group], grids: Sequence[flops.Grid], seconds: Mapping[str, float]
) -> Record:
    """Compare a step's seconds with those that its operations take at the matrix rate of this machine, now.

    `share` is of the rate of a large product, `share_of_products` of the rates of the model's own products: as many
    rows as the packed row has tokens, and in the decode steps as many as there are completions.
    """
    language = flops.LanguageShape.of(config.text_config)
    prefill, decode = flops.prefill(language, groups), flops.decode(language, groups)
    update = flops.update(language, [groups], chunk=CHUNK_NUMBERS // language.vocabulary)
    tokens = sum(group.prompt + sum(group.completions) for group in groups)
    completions = sum(len(group.completions) for group in groups)
    rates = {
        "large": machine.matrix_rate(*machine.LARGE),
        "packed_row": machine.matrix_rate(tokens, language.hidden, language.intermediate),
        "decode_step": machine.matrix_rate(completions, language.hidden, language.intermediate),
    }
    large = {part: count.total / rates["large"] for part, count in (("rollout", prefill + decode), ("update", update))}
    products = {
        "rollout": prefill.total / rates["packed_row"] + decode.total / rates["decode_step"],
        "update": update.total / rates["packed_row"],
    }
    counts = {"prefill": prefill, "decode": decode, "update": update}
    counts["tower"] = flops.tower(flops.TowerShape.of(config.vision_config), grids)
    return {
        "flops": {part: asdict(count) | {"total": count.total} for part, count in counts.items()},
        "rates": rates,
        "share": {part: large[part] / seconds[part] for part in large},
        "share_of_products": {part: products[part] / seconds[part] for part in products},
    }


def measure_on_ranks(cell: Cell, steps: int = TIMED_STEPS) -> Record:
    """Measure a cell in as many processes as it has ranks, one thread each; rank 0 tells."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "record.json"
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={cell.ranks}"]
        command += [__file__, "--steps", str(steps), "--one", cell.key, str(out)]
        done = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
        if not out.exists():  # gloo may abort at exit after all is done: the file decides
            raise RuntimeError(f"{cell.key}: {' '.join(command)} failed\n{done.stderr[-4000:]}")
        return json.loads(out.read_text())


def measure_here(cell: Cell, steps: int = TIMED_STEPS) -> Record:
    """Measure in this process, or with processes of its own if ranks are the axis."""
    return measure_on_ranks(cell, steps) if cell.axis == "ranks" else measure(cell, steps)


def sweep(path: Path, cells: Sequence[Cell], measure_cell: Callable[[Cell], Record]) -> Record:
    """Measure the cells that `path` does not have yet; it is written whole after each, so that a sweep can resume.

    Raises SystemExit if what is there was measured on another machine or with other threads.
    """
    here = machine.describe()
    results: Record = json.loads(path.read_text()) if path.exists() else {"machine": here, "cells": {}}
    if results["machine"] != here:
        raise SystemExit(f"{path} is of {results['machine']}, this is {here}: use --fresh to measure all again")
    done = results["cells"]
    waiting = [
        cell for cell in cells if not (cell.key in done and asdict(cell).items() <= done[cell.key]["sizes"].items())
    ]
    for cell in (bar := tqdm(waiting, unit="cell")):
        bar.set_description(cell.key)
        done[cell.key] = measure_cell(cell)
        write_whole(path, json.dumps(results, indent=1))
    return results


def main() -> None:
    """Measure, fit, write."""
    import plots  # needs matplotlib, which only the figure does

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--axes", nargs="+", choices=list(CELLS), default=list(CELLS), help="what to vary")
    parser.add_argument("--fresh", action="store_true", help="measure cells again that are done")
    parser.add_argument("--steps", type=int, default=TIMED_STEPS, help="timed steps of a cell")
    parser.add_argument("--out", type=Path, default=FOLDER, help="where scaling.json is")
    parser.add_argument("--one", nargs=2, metavar=("CELL", "FILE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        key, out = args.one
        record = measure(next(cell for cells in CELLS.values() for cell in cells if cell.key == key), args.steps)
        if os.environ["RANK"] == "0":
            write_whole(Path(out), json.dumps(record))
        return
    path = args.out / "scaling.json"
    if args.fresh:
        path.unlink(missing_ok=True)
    cells = [cell for axis in args.axes for cell in CELLS[axis]]
    results = sweep(path, cells, lambda cell: measure_here(cell, args.steps))
    summary.write(results, args.out)
    plots.draw(results["cells"], args.out / "scaling.png")


if __name__ == "__main__":
    main()
