"""Verdicts made by hand, to try a term without a model: used by the doctests here, and of use in your own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from adfm.reasoning.frames import IdentityFrame
from adfm.types import Box, Prompt, Sample, Verdict


def judged(
    *,
    stages: Mapping[str, str | None] | None = None,
    reasoning: str | None = None,
    answer: str | None = None,
    boxes: Sequence[Box] = (),
    key: str = "a",
    true: Sequence[Box] = (),
    anomalous: bool = True,
    defect_type: str | None = None,
) -> tuple[Verdict, Prompt]:
    """Return a verdict and its prompt, on an image of 100 x 100 pixels whose letters are a to e.

    >>> verdict, prompt = judged(answer="b", key="a")
    >>> verdict.answer_letter, prompt.key
    ('b', 'a')
    """
    sample = Sample(
        id="example",
        image=Path("example.png"),
        stated_size=(100, 100),
        category="thing",
        anomalous=anomalous,
        defect_type=defect_type,
        stated_boxes=tuple(true),
    )
    prompt = Prompt(
        id=sample.id,
        sample=sample,
        messages=(),
        images=(sample.image,),
        frame=IdentityFrame(width=100.0, height=100.0),
        choices=dict.fromkeys("abcde"),
        key=key,
    )
    verdict = Verdict(
        text="",
        stages={"think": None, "answer": answer} if stages is None else stages,
        reasoning_letter=reasoning,
        answer_letter=answer,
        anomalous=None,
        boxes_written=tuple(boxes),
        boxes=tuple(boxes),
    )
    return verdict, prompt
