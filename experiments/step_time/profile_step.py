"""Where a step's time goes: operators grouped by what they serve, and what is left for Python and dispatch.

    python experiments/step_time/profile_step.py [--workload W2] [--out FOLDER]

Writes profile.json and profile.md. The parts of the model put their names on what they call; an operator of the
backward serves what its forward served. An operator's seconds are its own, without those of what it calls. They are of
one profiled step, which is slower than a plain one; the plain seconds stand beside them.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import machine
from adfm_step import AdfmStep
from summary import as_table
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from workloads import WORKLOADS, draw_samples

from adfm.files import write_whole
from adfm.grpo.attention import ATTENTION

FOLDER = Path(__file__).parent
MARK = "adfm:"
ROLLOUT, OPTIMIZER = MARK + "rollout", "Optimizer."
BACKWARD = "autograd::engine::evaluate_function"
NODE = 1
"""Value of `scope` of the event inside it that runs a node of the autograd graph."""
COPIES = ("copy", "clone", "cat", "index", "gather", "repeat", "fill_", "zero_", "contiguous", "AccumulateGrad")
REST = "Python and dispatch"
"""What is left of the seconds when all operators are taken away."""
ATTENTION_OPERATORS = ("scaled_dot_product", "softmax", "bmm")
"""What attention computes; all else inside it moves numbers."""
TOP = 15


@dataclass(frozen=True, slots=True)
class Use:
    """One operator's own seconds in a step."""

    part: str
    serves: str
    operator: str
    seconds: float


@contextmanager
def marked(step: AdfmStep) -> Iterator[None]:
    """Put names on what the parts of the model call while inside."""
    plain = ALL_ATTENTION_FUNCTIONS[ATTENTION]
    sample = step.collector.rollout.sample

    def attention(*args: Any, **kwargs: Any) -> Any:
        with record_function(MARK + "attention"):
            return plain(*args, **kwargs)

    def rollout(*args: Any, **kwargs: Any) -> Any:
        with record_function(ROLLOUT):
            return sample(*args, **kwargs)

    with ExitStack() as stack:
        for module, name in _named_parts(step.vlm.base):
            for hook in _hooks(module, name):
                stack.callback(hook.remove)
        ALL_ATTENTION_FUNCTIONS.register(ATTENTION, attention)
        stack.callback(ALL_ATTENTION_FUNCTIONS.register, ATTENTION, plain)
        step.collector.rollout.sample = rollout
        stack.callback(setattr, step.collector.rollout, "sample", sample)
        yield


def _named_parts(base: Any) -> Iterator[tuple[nn.Module, str]]:
    yield base.lm_head, "head"
    yield base.model.language_model, "elementwise"
    for module in base.model.language_model.modules():
        if isinstance(module, nn.Linear):
            yield module, "linear"


def _hooks(module: nn.Module, name: str) -> list[Any]:
    open_marks: list[record_function] = []

    def enter(*_: Any) -> None:
        open_marks.append(record_function(MARK + name))
        open_marks[-1].__enter__()

    def leave(*_: Any) -> None:
        open_marks.pop().__exit__(None, None, None)

    return [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]


def uses(events: Iterable[Any]) -> list[Use]:
    """Say what every operator of a profile served; marks and the gaps inside them are no operators."""
    events = list(events)
    marks_of_node: dict[int, tuple[str, ...]] = {}
    for event in sorted(events, key=lambda event: event.time_range.start):
        if event.sequence_nr >= 0 and event.scope != NODE and not event.name.startswith(BACKWARD):
            marks_of_node[event.sequence_nr] = _marks(event)
    found = []
    for event in events:
        if event.name.startswith((MARK, OPTIMIZER)) or event.is_user_annotation:
            continue
        marks = _marks(event, marks_of_node)
        part = "rollout" if ROLLOUT in marks else "update"
        found.append(Use(part, _serves(marks, event.name, part), event.name, event.self_cpu_time_total / 1e6))
    return found


def _marks(event: Any, marks_of_node: Mapping[int, tuple[str, ...]] | None = None) -> tuple[str, ...]:
    """Collect the marks around an event, the innermost first; in the backward those around its forward."""
    marks = []
    while event is not None:
        if event.name.startswith((MARK, OPTIMIZER)):
            marks.append(event.name)
        elif marks_of_node and event.name.startswith(BACKWARD):
            marks.extend(marks_of_node.get(event.sequence_nr, ()))
        event = event.cpu_parent
    return tuple(marks)


def _serves(marks: tuple[str, ...], operator: str, part: str) -> str:
    is_copy = any(word in operator for word in COPIES)
    if any(mark.startswith(OPTIMIZER) for mark in marks):
        return "optimizer"
    if not marks or marks[0] == ROLLOUT:
        return "sampler and cache" if part == "rollout" else "loss, packing, gradients"
    inner = marks[0].removeprefix(MARK)
    if inner == "attention":
        return "attention" if any(name in operator for name in ATTENTION_OPERATORS) else "attention's copies"
    if inner == "elementwise":
        return "copies" if is_copy else "norms, rotation, activation"
    return inner


def table(step: AdfmStep, samples: Any, steps: int = 3) -> dict[str, Any]:
    """Profile one step after one that warms up and `steps` plain ones, whose medians are told."""
    step.step(samples)
    plain = [step.step(samples) for _ in range(steps)]
    with marked(step), profile(activities=[ProfilerActivity.CPU]) as profiler:
        profiled = step.step(samples)
    found = uses(profiler.events() or [])
    walls = {
        "rollout": (median(one.rollout for one in plain), profiled.rollout),
        "update": (median(one.whole - one.rollout for one in plain), profiled.whole - profiled.rollout),
    }
    return {part: _part([use for use in found if use.part == part], *wall) for part, wall in walls.items()}


def _part(found: list[Use], plain: float, profiled: float) -> dict[str, Any]:
    serves: defaultdict[str, float] = defaultdict(float)
    operators: defaultdict[tuple[str, str], float] = defaultdict(float)
    for use in found:
        serves[use.serves] += use.seconds
        operators[use.serves, use.operator] += use.seconds
    serves[REST] = profiled - sum(serves.values())
    calls = Counter((use.serves, use.operator) for use in found)
    top = sorted(operators, key=lambda name: -operators[name])[:TOP]
    return {
        "seconds_plain": plain,
        "seconds_profiled": profiled,
        "serves": dict(sorted(serves.items(), key=lambda item: -item[1])),
        "operators": [
            {"serves": one[0], "operator": one[1], "calls": calls[one], "seconds": operators[one]} for one in top
        ],
    }


def markdown(result: Mapping[str, Any]) -> str:
    """Say the profile as Markdown tables."""
    about = result["machine"]
    parts = [
        f"Workload {result['workload']} on {about['processor']}, {about['threads']} thread(s), torch {about['torch']}. "
        "Written by `profile_step.py`; do not edit."
    ]
    for part, found in result["parts"].items():
        wall = found["seconds_profiled"]
        parts.append(f"**{part}**: {found['seconds_plain']:.2f} s plain, {wall:.2f} s profiled")
        serves = [[name, *_seconds(seconds, wall)] for name, seconds in found["serves"].items()]
        parts.append(as_table(["serves", "seconds", "share"], serves))
        operators = [
            [f"`{one['operator']}`", one["serves"], str(one["calls"]), *_seconds(one["seconds"], wall)]
            for one in found["operators"]
        ]
        parts.append(as_table(["operator", "serves", "calls", "seconds", "share"], operators))
    return "\n\n".join(parts) + "\n"


def _seconds(seconds: float, wall: float) -> list[str]:
    return [f"{seconds:.3f}", f"{seconds / wall:.0%}"]


def main() -> None:
    """Profile a workload and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", choices=list(WORKLOADS), default="W2")
    parser.add_argument("--out", type=Path, default=FOLDER, help="where profile.json goes")
    args = parser.parse_args()
    workload = WORKLOADS[args.workload]
    with tempfile.TemporaryDirectory() as folder:
        (samples,) = draw_samples(workload, Path(folder), 1)
        step = AdfmStep(workload)
        result = {"machine": machine.describe(), "workload": workload.name, "parts": table(step, samples)}
        step.close()
    write_whole(args.out / "profile.json", json.dumps(result, indent=1))
    write_whole(args.out / "profile.md", markdown(result))
    print(markdown(result))


if __name__ == "__main__":
    main()
