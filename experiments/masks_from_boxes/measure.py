"""How near do masks made of boxes come to the true masks, method by method, for boxes of three qualities?

    python experiments/masks_from_boxes/measure.py dataset=synthetic dataset.test=1000
    python experiments/masks_from_boxes/measure.py dataset=magnetic_tile dataset.root=<folder with MT_Free, ...> every=6

Takes the anomalous images of the test part (of Magnetic-Tile: of all parts), every n-th with `every=n`. The IoU of an
image is that of the union of its masks, one a true box, with its true mask. Prints the table of all images and adds
every row to results.csv in place of those of the same data set. Milliseconds are CPU time of one core per box.
"""

from __future__ import annotations

import csv
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from adfm.config.compose import build, compose
from adfm.data.images import read_image
from adfm.evaluation.bootstrap import draws, interval, mean
from adfm.masks import candidates
from adfm.masks.candidates import Cutout, Region
from adfm.masks.classical import Classical
from adfm.masks.segmenter import BoxMasks, Segmenter
from adfm.types import Box, Sample

TABLE = Path(__file__).with_name("results.csv")
COLUMNS = ("data", "group", "boxes", "method", "images", "iou", "low", "high", "gain", "gain_low", "gain_high", "ms")
BOXES = ("exact", "enlarged", "jittered")
LARGE = 0.12
"""Share of the image from which users.md 4.3 treats a box as large."""


@dataclass(frozen=True, kw_only=True)
class Single(Classical):
    """One of the methods alone, in the same part of the image; an empty result becomes the box too."""

    method: str
    large: Literal["vote"] = "vote"

    def vote(self, cutout: Cutout) -> Region:
        """Return what the method calls defect."""
        match self.method:
            case "ellipse":
                return candidates.ellipse(cutout)
            case "otsu":
                return candidates.otsu(cutout)
            case "watershed":
                return candidates.watershed(cutout, seeds=self.seeds)
            case "felzenszwalb":
                numbers = {name: getattr(self, name) for name in ("scale", "sigma", "min_size", "within")}
                return candidates.felzenszwalb(cutout, **numbers)
            case _:
                return candidates.chan_vese(cutout, steps=self.steps, smoothing=self.smoothing)


METHODS: dict[str, Segmenter] = {
    "box": BoxMasks(),
    **{name: Single(method=name) for name in ("ellipse", "otsu", "watershed", "felzenszwalb", "chan_vese")},
    "classical": Classical(),
    "vote": Classical(large="vote"),
    "vote, box from 12 %": Classical(large="box", large_from=LARGE),
    "vote, chan_vese from 12 %": Classical(large="chan_vese", large_from=LARGE),
}


def samples_of(overrides: Sequence[str], every: int) -> tuple[str, list[Sample]]:
    """Return the name of the data set and its anomalous images that have a box."""
    config = compose("data", overrides)
    dataset = build(config.dataset)
    parts = ("test",) if dataset.name == "synthetic" else ("train", "val", "test")
    found = [sample for part in parts for sample in dataset.split(part) if sample.anomalous and sample.mask]
    return dataset.name, sorted((sample for sample in found if sample.boxes), key=lambda sample: sample.id)[::every]


def as_drawn(boxes: Sequence[Box], quality: str, rng: np.random.Generator) -> list[Box]:
    """Return the true boxes, or 25 % larger on each side, or with each edge moved by up to 20 % of the side."""
    drawn = []
    for x0, y0, x1, y1 in boxes:
        sides = np.array([x1 - x0, y1 - y0] * 2)
        moves = {"exact": 0.0, "enlarged": np.array([-0.25, -0.25, 0.25, 0.25]), "jittered": rng.uniform(-0.2, 0.2, 4)}
        drawn.append(tuple((np.array([x0, y0, x1, y1]) + moves[quality] * sides).tolist()))
    return drawn


def groups_of(sample: Sample) -> list[str]:
    """Return the groups whose rows an image counts in."""
    largest = max((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in sample.boxes) / (sample.width * sample.height)
    found = ["all", f"type: {sample.defect_type}", f"size: {'from' if largest >= LARGE else 'below'} 12 %"]
    return [*found, f"contrast: {sample.attributes['bin']}"] if "bin" in sample.attributes else found


def measure(samples: Sequence[Sample]) -> tuple[dict[tuple[str, str], list[float]], dict[tuple[str, str], list[float]]]:
    """Return the IoU of each image, and milliseconds per box, for each quality of boxes and method."""
    ious, costs = defaultdict(list), defaultdict(list)
    for number, sample in enumerate(samples):
        image, true = np.asarray(read_image(sample.image)), _true(sample)
        for quality in BOXES:
            boxes = as_drawn(sample.boxes, quality, np.random.default_rng(number))
            for name, method in METHODS.items():
                start = time.process_time()
                found = method(image, boxes).any(0)
                costs[quality, name].append((time.process_time() - start) * 1000 / len(boxes))
                ious[quality, name].append((found & true).sum() / (found | true).sum())
    return ious, costs


def _true(sample: Sample) -> Region:
    assert sample.mask is not None  # `samples_of` takes no other
    return sample.mask.read(sample.size)


def with_interval(values: Float[np.ndarray, " image"]) -> tuple[float, float, float]:
    """Return the mean and its 95 % interval over images."""
    image = np.arange(len(values))
    resampled = np.concatenate([mean(values, weights) for weights in draws(image, resamples=2000, seed=0)])
    low, high = interval(resampled) or (float("nan"),) * 2
    return float(values.mean()), low, high


def rows_of(data: str, samples: Sequence[Sample]) -> list[dict[str, object]]:
    """Return one row a group, quality of boxes and method."""
    ious, costs = measure(samples)
    members = defaultdict(list)
    for index, sample in enumerate(samples):
        for group in groups_of(sample):
            members[group].append(index)
    rows = []
    for group, index in members.items():
        for (quality, name), values in ious.items():
            here, box = np.array(values)[index], np.array(ious[quality, "box"])[index]
            numbers = [f"{number:.3f}" for number in (*with_interval(here), *with_interval(here - box))]
            cost = f"{np.mean(np.array(costs[quality, name])[index]):.1f}"
            rows.append(dict(zip(COLUMNS, (data, group, quality, name, len(index), *numbers, cost), strict=True)))
    return rows


def write(data: str, rows: Sequence[dict[str, object]]) -> None:
    """Put the rows in the place of those of the same data set."""
    kept: list[Mapping[str, object]] = []
    if TABLE.exists():
        with TABLE.open(newline="", encoding="utf-8") as file:
            kept = [row for row in csv.DictReader(file) if row["data"] != data]
    with TABLE.open("w", newline="", encoding="utf-8") as file:
        writer: Any = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows([*kept, *rows])


def show(rows: Sequence[dict[str, object]], group: str) -> None:
    """Print a group's rows, one line a method."""
    for name in METHODS:
        cells = [row for row in rows if row["group"] == group and row["method"] == name]
        print(f"| {name} | " + " | ".join(f"{row['iou']} [{row['low']}, {row['high']}]" for row in cells), end=" | ")
        print(f"{np.mean([float(str(row['ms'])) for row in cells]):.1f} |")


def main(arguments: Sequence[str]) -> None:
    """Measure one data set."""
    steps = [int(argument.removeprefix("every=")) for argument in arguments if argument.startswith("every=")]
    data, samples = samples_of([argument for argument in arguments if not argument.startswith("every=")], *steps or [1])
    rows = rows_of(data, samples)
    write(data, rows)
    print(f"{data}: {len(samples)} images, {sum(len(sample.boxes) for sample in samples)} boxes")
    show(rows, "all")


if __name__ == "__main__":
    main(sys.argv[1:])
