"""Rewards of a file of completions, line by line, without a model and without images."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from adfm.errors import DataError
from adfm.reasoning.frames import IdentityFrame
from adfm.reasoning.template import StagedTemplate
from adfm.rewards.composite import Composite
from adfm.types import Box, Prompt, Sample

FRAME_SIDE = 512
"""Width and height of a completion's frame where its line does not say them: the released input of AD-FM."""


def reward_file(source: Path, target: Path, template: StagedTemplate, reward: Composite) -> dict[str, float]:
    """Judge every completion of `source` and write the rewards to `target`, which appears only when it is whole.

    An input line is a JSON object with `id`, `completion`, `answer` (the right letter) and `boxes` (the true boxes in
    the frame of the completion; may be left out if no term judges boxes), and by choice `width` and `height` of that
    frame (512 if left out). An output line has `id`, `terms` (name to value before its weight) and `total`.

    Returns:
        The mean of each term and of the `total`, and `completions`, their number.

    Raises:
        DataError: a line cannot be used, or a file not read or written; the message names the file and the line.
    """
    sums: Counter[str] = Counter()
    unfinished = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with source.open(encoding="utf-8") as lines, unfinished.open("w", encoding="utf-8") as output:
            for number, text in enumerate(lines, start=1):
                if text.strip():
                    judged = _judge(text, f"{source}, line {number}", template, reward)
                    output.write(json.dumps(judged, ensure_ascii=False) + "\n")
                    sums.update(judged["terms"] | {"total": judged["total"], "completions": 1})
        unfinished.replace(target)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{source} to {target}: {error}") from error
    finally:
        unfinished.unlink(missing_ok=True)
    count = sums.pop("completions", 0)
    return {name: value / count for name, value in sums.items()} | {"completions": count}


def _judge(text: str, place: str, template: StagedTemplate, reward: Composite) -> dict[str, Any]:
    try:
        fields = _fields(text, reward.needs)
        prompt = _prompt(fields, template)
    except (ValueError, TypeError, RecursionError) as error:
        raise DataError(f"{place}: {error}") from error
    earned = reward([template.read(fields["completion"], prompt)], prompt)
    terms = {name: float(values[0]) for name, values in earned.terms.items()}
    return {"id": fields["id"], "terms": terms, "total": float(earned.total[0])}


def _fields(text: str, needs: Collection[str]) -> dict[str, Any]:
    fields = json.loads(text)
    if not isinstance(fields, dict):
        raise TypeError(f"must be a JSON object, not {text.strip():.40}")
    required = {"id", "completion", "answer"} | ({"boxes"} & set(needs))
    if missing := sorted(required - fields.keys()):
        raise ValueError(f"has no {' and no '.join(map(repr, missing))}")
    if not isinstance(fields["completion"], str):
        raise TypeError(f"'completion' must be a text, not {fields['completion']!r:.40}")
    return fields


def _prompt(fields: Mapping[str, Any], template: StagedTemplate) -> Prompt:
    """Make the prompt that a completion answers, as far as its line tells."""
    key, boxes = str(fields["answer"]), _boxes(fields.get("boxes", []))
    width, height = (_side(fields.get(name, FRAME_SIDE), name) for name in ("width", "height"))
    choices = template.choices_without_sample(key)
    meaning = choices[key]
    image = Path(str(fields["id"]))
    sample = Sample(
        id=str(fields["id"]),
        image=image,
        stated_size=(round(width), round(height)),
        category="",
        anomalous=bool(boxes) if meaning is None else meaning,
        stated_boxes=boxes,
    )
    frame = IdentityFrame(width=width, height=height)
    return Prompt(id=sample.id, sample=sample, messages=(), images=(image,), frame=frame, choices=choices, key=key)


def _side(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value < 1e9:
        raise ValueError(f"{name!r} must be a number of pixels, not {value!r}")
    return float(value)


def _boxes(value: Any) -> tuple[Box, ...]:
    if not isinstance(value, list):
        raise TypeError(f"'boxes' must be a list of [x0, y0, x1, y1], not {value!r}")
    return tuple(_box(box) for box in value)


def _box(value: Any) -> Box:
    numbers = isinstance(value, list) and len(value) == 4 and all(type(number) in (int, float) for number in value)
    if not numbers or not all(abs(number) < 1e9 for number in value):
        raise ValueError(f"a box must be four numbers [x0, y0, x1, y1], not {value!r}")
    x0, y0, x1, y1 = (float(number) for number in value)
    return x0, y0, x1, y1
