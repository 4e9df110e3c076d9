"""Predictions by hand, and a small real model with a real template and data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from adfm.config.compose import build, compose
from adfm.data.masks import MaskFiles
from adfm.evaluation.prediction import Prediction
from adfm.types import Sample, Template


def predicted(number: int, anomalous: bool, called: bool | None, score: float = 0.0, **changes: Any) -> Prediction:
    """A prediction about image `number`, 20 x 10 pixels."""
    values: dict[str, Any] = {
        "id": f"sample {number}",
        "image": f"{number}.png",
        "category": "tile",
        "anomalous": anomalous,
        "defect_type": "crack" if anomalous else None,
        "width": 20,
        "height": 10,
        "predicted": called,
        "score": score,
    }
    return Prediction(**(values | changes))


def template(option: str) -> Template:
    """A shipped reasoning template."""
    return build(compose("rewards", [f"reasoning={option}"]).reasoning)


def images(folder: Path, count: int, first: int = 0) -> list[Sample]:
    """Grey noise; the second half has a bright square, with its mask and box."""
    samples = []
    rng = np.random.default_rng(first)
    for number in range(first, first + count):
        anomalous = number - first >= count // 2
        grey = rng.integers(90, 110, size=(84, 112), dtype=np.uint8)
        mask = np.zeros_like(grey)
        if anomalous:
            mask[20:40, 30:50] = 255
            grey[mask > 0] = 250
            Image.fromarray(mask).save(folder / f"{number}_mask.png")
        Image.fromarray(grey).save(folder / f"{number}.png")
        samples.append(
            Sample(
                id=f"sample {number}",
                image=folder / f"{number}.png",
                stated_size=(112, 84),
                category=f"category {number % 2}",
                anomalous=anomalous,
                stated_boxes=((30.0, 20.0, 50.0, 40.0),) if anomalous else (),
                mask=MaskFiles((folder / f"{number}_mask.png",)) if anomalous else None,
            )
        )
    return samples


@dataclass
class Squares:
    """A data set of `images`; a config can name it."""

    root: str
    count: int = 6
    name: str = "squares"

    def split(self, name: str) -> Sequence[Sample]:
        """Make the samples of a part."""
        folder = Path(self.root) / name
        folder.mkdir(parents=True, exist_ok=True)
        return images(folder, self.count, first={"train": 0, "val": 100, "test": 200}[name])

    def fingerprint(self) -> str:
        """Tell data sets apart by their size."""
        return str(self.count)
