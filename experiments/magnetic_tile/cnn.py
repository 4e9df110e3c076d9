"""What a model of this size can do here: a small supervised U-Net on the same images; and two floors without learning.

    MAGNETIC_TILE=<folder with MT_Free, ...> python experiments/magnetic_tile/cnn.py [--steps 300] [--seeds 3]

The network has about as many parameters as the embedded model, sees the images at the size at which that model sees
them, and learns from the labels and masks of the same training part. The checkpoint and both thresholds (of the score
and of the mask) are chosen on val; boxes are those of the thresholded mask, written only where the image is called
anomalous. Predictions go to `runs/magnetic_tile_cnn/steps<N>-seed<N>/`, and a seed that has them is not trained again.
Prints a table and writes yardsticks.csv.
"""

from __future__ import annotations

import argparse
import copy
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics.functional.classification import binary_auroc

from adfm.config.compose import build, compose
from adfm.data.masks import boxes_from_mask
from adfm.errors import ConfigError
from adfm.evaluation import localization, prediction, tables
from adfm.evaluation.baselines import PatchNeighbours, best_threshold, by_score, image_deviation
from adfm.evaluation.pooled import Pool
from adfm.evaluation.prediction import Prediction
from adfm.models import tiny
from adfm.models.images import ImageReader
from adfm.supervised.images import SYMMETRIES, LabelledImages, load
from adfm.tracking.arms import Row, write_csv
from adfm.types import Dataset, Sample

RUNS = Path("runs/magnetic_tile_cnn")
WIDTHS = (38, 76, 152, 304)
BATCH = 32
LEARNING_RATE = 1e-3
LOOK_EVERY = 25
PATIENCE = 6
"""Looks at val without a better one after which a seed stops."""
BRIGHTNESS = 0.25
MASK_THRESHOLDS = np.linspace(0.1, 0.9, 9)
METRICS = ("auroc", "balanced_accuracy", "average_precision", "overkill", "miss", "box_iou", "mask_iou", "box_acc_0.5")

Outputs = list[tuple[Sample, float, np.ndarray]]
"""Each sample with its anomaly score (a log-odds) and the probability of each of its pixels to be defect."""


class Network(nn.Module):
    """A U-Net on half the resolution, with one more head for the whole image."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, WIDTHS[0], 5, stride=2, padding=2)
        pairs = list(pairwise(WIDTHS))
        self.down = nn.ModuleList([_block(WIDTHS[0], WIDTHS[0]), *(_block(first, second) for first, second in pairs)])
        self.up = nn.ModuleList([_block(first + second, first) for first, second in reversed(pairs)])
        self.mask = nn.Conv2d(WIDTHS[0], 1, 1)
        self.anomalous = nn.Linear(2 * WIDTHS[-1], 1)

    def forward(
        self, pixels: Float[Tensor, "image 3 height width"]
    ) -> tuple[Float[Tensor, " image"], Float[Tensor, "image height width"]]:
        """Return logits: of the image to be anomalous, and of each pixel to be defect."""
        size, skips = pixels.shape[-2:], []
        pixels = self.stem((pixels.float() - 128) / 64)
        for level, block in enumerate(self.down):
            pixels = block(functional.max_pool2d(pixels, 2, ceil_mode=True) if level else pixels)
            skips.append(pixels)
        whole = torch.cat([pixels.mean((-2, -1)), pixels.amax((-2, -1))], dim=1)
        for block, skip in zip(self.up, reversed(skips[:-1]), strict=True):
            pixels = block(torch.cat([functional.interpolate(pixels, skip.shape[-2:]), skip], dim=1))
        mask = functional.interpolate(self.mask(pixels), size, mode="bilinear")
        return self.anomalous(whole)[:, 0], mask[:, 0]


def _block(entering: int, leaving: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for first in (entering, leaving):
        layers += [nn.Conv2d(first, leaving, 3, padding=1, bias=False), nn.BatchNorm2d(leaving), nn.ReLU()]
    return nn.Sequential(*layers)


def loss(network: Network, images: LabelledImages) -> Tensor:
    """Cross-entropy of the image's label and of its pixels, and the Dice loss of the masks of anomalous images."""
    score, mask = network(images.pixels)
    anomalous, target = (images.kinds > 0).float(), images.masks.float() / 255
    found = functional.binary_cross_entropy_with_logits(score, anomalous)
    found = found + functional.binary_cross_entropy_with_logits(mask, target)
    if anomalous.any():
        said, true = mask[anomalous > 0].sigmoid().flatten(1), target[anomalous > 0].flatten(1)
        found = found + (1 - (2 * (said * true).sum(1) + 1) / (said.sum(1) + true.sum(1) + 1)).mean()
    return found


def train(train_images: Sequence[LabelledImages], val: Sequence[LabelledImages], *, steps: int, seed: int) -> Network:
    """Train a network and return it as it was when it did best on val: AUROC plus the IoU of its masks at 0.5."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    network = Network()
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.1)
    best, kept, looks, started = -1.0, copy.deepcopy(network), 0, time.monotonic()
    for step, images in zip(range(1, steps + 1), batches(train_images, generator), strict=False):
        value = loss(network.train(), images)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        schedule.step()
        if step % LOOK_EVERY == 0 or step == steps:
            auroc, iou = look(network, val)
            looks += 1
            print(
                f"seed {seed} step {step} {time.monotonic() - started:.0f} s: loss {value:.3f} {auroc=:.3f} {iou=:.3f}"
            )
            if auroc + iou > best:
                best, kept, looks = auroc + iou, copy.deepcopy(network), 0
            if looks == PATIENCE:
                break
    return kept


def batches(groups: Sequence[LabelledImages], generator: torch.Generator) -> Iterator[LabelledImages]:
    """Draw batches of one size, half of each anomalous where there are such, turned and changed in brightness."""
    parts = [[(group.kinds > 0).nonzero()[:, 0], (group.kinds == 0).nonzero()[:, 0]] for group in groups]
    shares = torch.tensor([float(len(group)) for group in groups])
    while True:
        chosen = int(torch.multinomial(shares, 1, generator=generator))
        classes = [part for part in parts[chosen] if len(part)]
        index = [part[torch.randint(len(part), (BATCH // len(classes),), generator=generator)] for part in classes]
        images = groups[chosen].take(torch.cat(index))
        square = images.pixels.shape[-1] == images.pixels.shape[-2]
        turned = images.turned(SYMMETRIES[int(torch.randint(8 if square else 4, (), generator=generator))])
        gain, offset = BRIGHTNESS * (2 * torch.rand(2, len(images), 1, 1, 1, generator=generator) - 1)
        pixels = ((turned.pixels.float() - 128) * (1 + gain) + 128 + 64 * offset).clamp(0, 255).to(torch.uint8)
        yield LabelledImages(
            pixels=pixels, masks=turned.masks, boxes=turned.boxes, kinds=turned.kinds, samples=turned.samples
        )


@torch.no_grad()
def look(network: Network, val: Sequence[LabelledImages]) -> tuple[float, float]:
    """Return AUROC, and the mean IoU of the masks of anomalous images at the size of the network."""
    network.eval()
    scores, truth, ious = [], [], []
    for images in val:
        score, mask = network(images.pixels)
        said, true = mask > 0, images.masks > 127
        anomalous = images.kinds > 0
        iou = (said & true).sum((-2, -1)) / (said | true).sum((-2, -1)).clamp(min=1)
        scores.append(score)
        truth.append(anomalous.int())
        ious.append(iou[anomalous])
    return float(binary_auroc(torch.cat(scores), torch.cat(truth))), float(torch.cat(ious).mean())


@torch.no_grad()
def outputs(network: Network, groups: Sequence[LabelledImages]) -> Outputs:
    """Run the network over images; the pixels' probabilities are at the size of the original."""
    network.eval()
    found: Outputs = []
    for images in groups:
        for index in torch.arange(len(images)).split(64):
            part = images.take(index)
            scores, masks = network(part.pixels)
            for sample, score, mask in zip(part.samples, scores, masks.sigmoid(), strict=True):
                size = (sample.height, sample.width)
                large = functional.interpolate(mask[None, None], size, mode="bilinear")[0, 0]
                found.append((sample, float(score), large.numpy()))
    return found


def predict(network: Network, val: Sequence[LabelledImages], test: Sequence[LabelledImages]) -> list[Prediction]:
    """Predict test at the thresholds that are best on val: the score's by balanced accuracy, the mask's by box IoU."""
    known = outputs(network, val)
    threshold = best_threshold([score for _, score, _ in known], [sample.anomalous for sample, _, _ in known])

    def mean_iou(level: float) -> float:
        predictions = decided(known, threshold, level)
        ious = [
            localization.box_mask_iou(one.boxes, one.true_boxes, width=one.width, height=one.height)
            for one in predictions
            if one.anomalous
        ]
        return float(np.mean(ious))

    return decided(outputs(network, test), threshold, max(MASK_THRESHOLDS.tolist(), key=mean_iou))


def decided(found: Outputs, threshold: float, level: float) -> list[Prediction]:
    """Make predictions of outputs: boxes of the mask above `level`, where the score is at least `threshold`."""
    predictions = []
    for sample, score, mask in found:
        boxes = boxes_from_mask(mask > level, dilation=0.01, min_area=5) if score >= threshold else ()
        true = None if sample.mask is None else sample.mask.read(sample.size)
        iou = None if true is None else localization.mask_iou(boxes, true)
        known = prediction.labels(sample)
        predictions.append(Prediction(**known, predicted=score >= threshold, score=score, boxes=boxes, mask_iou=iou))
    return predictions


def pools(dataset: Dataset, *, steps: int, seeds: int) -> dict[str, Pool]:
    """Predict the test part with both floors and with every seed of the network."""
    parts = {part: list(dataset.split(part)) for part in ("train", "val", "test")}
    normals = [sample for sample in parts["train"] if not sample.anomalous]
    scores = {"image deviation": image_deviation, "patch nearest neighbour": PatchNeighbours(normals)}
    floors = {name: by_score(score, parts["val"], parts["test"]) for name, score in scores.items()}
    found = {name: Pool({"-": predictions}, boxes=False) for name, predictions in floors.items()}
    model = compose("train").model
    reader = ImageReader.load(
        str(tiny.folder()), revision=None, min_pixels=model.min_pixels, max_pixels=model.max_pixels
    )
    kinds = sorted({sample.defect_type for members in parts.values() for sample in members if sample.defect_type})
    images = {part: load(members, reader.image_processor, kinds) for part, members in parts.items()}
    runs = {}
    for seed in range(seeds):
        path = RUNS / f"steps{steps}-seed{seed}" / "predictions.jsonl"
        if not path.is_file():
            network = train(images["train"], images["val"], steps=steps, seed=seed)
            prediction.write(path, predict(network, images["val"], images["test"]))
        runs[str(seed)] = prediction.read(path)
    parameters = sum(parameter.numel() for parameter in Network().parameters())
    return found | {f"U-Net, {parameters / 1e6:.1f} M parameters": Pool(runs)}


def rows(found: Mapping[str, Pool]) -> list[Row]:
    """List every metric that is defined."""
    return [
        Row(arm=name, data="magnetic_tile", quantity="after", metric=metric, pooled=pooled)
        for name, pool in found.items()
        for metric in METRICS
        if (pooled := pool.estimate(metric)) is not None
    ]


def table(found: Sequence[Row]) -> str:
    """Set the detectors side by side: mean over seeds, 95% interval over images, ± deviation over seeds."""
    known = {(row.metric, row.arm): row.pooled for row in found}
    names = list(dict.fromkeys(row.arm for row in found))
    body = []
    for metric in METRICS:
        cells = []
        for name in names:
            pooled = known.get((metric, name))
            spread = "" if pooled is None or pooled.spread is None else f" ± {pooled.spread:.3f}"
            cells.append("-" if pooled is None else f"{pooled.value:.3f} [{pooled.low:.3f}, {pooled.high:.3f}]{spread}")
        body.append([metric, *cells])
    return tables.markdown(["test part", *names], body)


def main() -> None:
    """Read the command line, train what is missing, print the table and write yardsticks.csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300, help="of each seed, at most")
    parser.add_argument("--seeds", type=int, default=3)
    wanted = parser.parse_args()
    if "MAGNETIC_TILE" not in os.environ:
        raise ConfigError("set MAGNETIC_TILE to the folder that holds MT_Free, MT_Blowhole, ...")
    tiles = compose("train", ["dataset=magnetic_tile", f"dataset.root={os.environ['MAGNETIC_TILE']}"]).dataset
    found = rows(pools(build(tiles), steps=wanted.steps, seeds=wanted.seeds))
    write_csv(Path(__file__).parent / "yardsticks.csv", found)
    print(table(found))


if __name__ == "__main__":
    main()
