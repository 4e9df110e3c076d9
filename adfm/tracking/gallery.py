"""Completions to look at later: what the policy was shown, what it wrote, how it was read and what it earned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

from adfm.data.images import read_image
from adfm.tracking import drawing, jsonl
from adfm.types import Group, StepRecord


class Gallery:
    """Write `samples/step_000010.jsonl` every `every` steps (and after the first), one line a completion.

    Beside it, `samples/step_000010.png` shows the first completion about the step's first defective image (its first
    image where there is none): true and predicted boxes, and what it earned.
    """

    def __init__(self, every: int = 10, groups: int = 4) -> None:
        """Keep the first `groups` prompts of a step."""
        self.every = every
        self.groups = groups
        self._folder: Path | None = None

    def before_run(self, run: Any) -> None:
        """Remove the files of steps that a resumed run makes again; only rank 0 writes."""
        if not run.is_main:
            return
        folder: Path = run.folder.samples
        folder.mkdir(parents=True, exist_ok=True)
        for path in (*folder.glob("step_*.jsonl"), *folder.glob("step_*.png")):
            if step_of(path) > run.step:
                path.unlink()
        self._folder = folder

    def after_step(self, record: StepRecord) -> None:
        """Write the step's completions and its picture when it is due; raises DataError if its image is gone."""
        due = record.step == 1 or record.step % self.every == 0
        if self._folder is None or not due or not record.groups:
            return
        lines = [jsonl.line(row) for group in record.groups[: self.groups] for row in rows(record.step, group)]
        (self._folder / f"step_{record.step:06d}.jsonl").write_text("".join(lines), encoding="utf-8")
        shown = next((group for group in record.groups if group.prompt.sample.anomalous), record.groups[0])
        snapshot(record.step, shown).save(self._folder / f"step_{record.step:06d}.png")

    def after_run(self) -> None:
        """Do nothing: every file is already whole."""


def snapshot(step: int, group: Group) -> Image.Image:
    """Draw the first completion of a group: boxes, verdict and rewards."""
    row = rows(step, group)[0]
    said = {True: "called anomalous", False: "called normal", None: "not readable"}[row["verdict"]]
    truth = (row["defect_type"] or "anomalous") if row["anomalous"] else "normal"
    terms = ", ".join(f"{name} {value:.2f}" for name, value in row["rewards"].items())
    return drawing.picture(
        read_image(Path(row["image"])),
        {
            "true": (row["true_boxes"], drawing.TRUE),
            "predicted": (row["boxes"], drawing.PREDICTED),
        },
        [f"step {step}, {row['prompt']}", f"{truth}, {said}", f"reward {row['total']:.2f}: {terms}"],
    )


def step_of(path: Path) -> int:
    """Give the step that a sample file belongs to.

    >>> step_of(Path("samples/step_000010.jsonl"))
    10
    """
    return int(path.stem.removeprefix("step_"))


def rows(step: int, group: Group) -> list[dict[str, Any]]:
    """Say everything about a group in plain values, one row a completion; boxes in original pixels."""
    sample = group.prompt.sample
    known = {
        "step": step,
        "prompt": group.prompt.id,
        "image": str(sample.image),
        "width": sample.width,
        "height": sample.height,
        "category": sample.category,
        "anomalous": sample.anomalous,
        "defect_type": sample.defect_type,
        "true_boxes": sample.boxes,
        "key": group.prompt.key,
    }
    return [
        known
        | {
            "completion": verdict.text,
            "stages": dict(verdict.stages),
            "reasoning_letter": verdict.reasoning_letter,
            "answer_letter": verdict.answer_letter,
            "verdict": verdict.anomalous,
            "boxes": verdict.boxes,
            "boxes_written": verdict.boxes_written,
            "rewards": {name: float(values[index]) for name, values in group.rewards.terms.items()},
            "total": float(group.rewards.total[index]),
            "truncated": completion.truncated,
            "reasons": verdict.reasons,
        }
        for index, (completion, verdict) in enumerate(zip(group.completions, group.verdicts, strict=True))
    ]
