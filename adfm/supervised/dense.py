"""Dense pre-training of vision tower and merger on mask labels.

Captions alone teach a small model the language and nothing about the image. Here every image token must say what its
own cell holds, through linear heads that are thrown away afterwards, so that a language model finds it there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import cos, pi
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics.functional.classification import binary_auroc, binary_average_precision
from transformers import PreTrainedModel

from adfm.supervised.images import SYMMETRIES, LabelledImages, kinds_of, load, patches_of
from adfm.types import Sample

Numbers = Mapping[str, float]

FINE = 4
"""A cell (one image token) says where it is defective on a raster of FINE x FINE."""
BINS = 28
"""A distance from a cell's centre to an edge of its box is one of this many bins."""
NEAREST, FARTHEST = -0.5, 4.0
"""Distances of the first and the last bin, in cells; a box that ends before the centre is at a negative distance."""
SEEN = 0.02
"""Share of a cell that must be defect before the cell is asked about the defect's type and box."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseTargets:
    """What every image token, and the mean of an image's tokens, must say.

    Boxes are told from the cell they are seen in: positions in the tower are relative, so it knows no cell's place.
    """

    raster: Float[Tensor, "image cell fine"]
    """Share of defect in each part of the cell."""
    seen: Bool[Tensor, "image cell"]
    """Whether the cell holds enough defect to be asked about it."""
    distances: Float[Tensor, "image cell 4"]
    """From the cell's centre to the left, upper, right, lower edge of its defect's box, in cells; NaN without one."""
    kinds: Int[Tensor, " image"]

    @classmethod
    def of(cls, images: LabelledImages, cell: int) -> DenseTargets:
        """Compute the targets of augmented images whose image tokens are `cell` pixels wide and high."""
        masks = images.masks.float()[:, None] / 255
        fine = functional.avg_pool2d(masks, cell // FINE)[:, 0]
        count, height, width = fine.shape
        rows, columns = height // FINE, width // FINE
        raster = fine.view(count, rows, FINE, columns, FINE).transpose(2, 3).reshape(count, rows * columns, FINE**2)
        owner = _overlap(images.boxes, rows, columns).argmax(dim=-1)
        boxes = images.boxes.gather(1, owner[..., None].expand(-1, -1, 4))
        edges = boxes * torch.tensor([columns, rows, columns, rows])
        distances = (edges - _centres(rows, columns)) * torch.tensor([-1, -1, 1, 1])
        seen = (raster.mean(dim=-1) > SEEN) & ~boxes.isnan().any(dim=-1)
        return cls(raster=raster, seen=seen, distances=distances, kinds=images.kinds)


class DenseHeads(nn.Module):
    """Linear readings of the merged features; temporary."""

    def __init__(self, width: int, kinds: int) -> None:
        super().__init__()
        self.raster = nn.Linear(width, FINE**2)
        self.cell_kind = nn.Linear(width, kinds)
        self.cell_box = nn.Linear(width, 4 * BINS)
        self.anomalous = nn.Linear(width, 1)
        self.image_kind = nn.Linear(width, kinds + 1)

    def losses(self, features: Float[Tensor, "image cell width"], targets: DenseTargets) -> dict[str, Tensor]:
        """Return the named parts of the loss, already weighted."""
        whole = features.mean(dim=1)
        anomalous = (targets.kinds > 0).float()
        told = self.anomalous(features)[..., 0]
        of_cell = targets.kinds[:, None].expand_as(targets.seen)[targets.seen] - 1
        parts = {
            "raster": 2.0 * functional.binary_cross_entropy_with_logits(self.raster(features), targets.raster),
            "anomalous": functional.binary_cross_entropy_with_logits(told, anomalous[:, None].expand_as(told)),
            "image_kind": 0.5 * functional.cross_entropy(self.image_kind(whole), targets.kinds),
        }
        if targets.seen.any():
            seen = features[targets.seen]
            parts["cell_kind"] = 0.3 * functional.cross_entropy(self.cell_kind(seen), of_cell)
            parts["cell_box"] = 0.5 * _distance_loss(self.cell_box(seen), targets.distances[targets.seen])
        return parts


@dataclass(frozen=True, slots=True, kw_only=True)
class DensePretraining:
    """The recipe of the dense stage. With `steps` 0 there is none."""

    steps: int
    batch: int
    """Images of a step; all of one size."""
    learning_rate: float
    """After `warmup_steps` it falls along half a cosine."""
    warmup_steps: int
    weight_decay: float
    brightness: float
    """Largest relative change of an image's gain; of a channel's offset, in shares of 64 (of 255)."""
    report_every: int
    """Steps between two measurements."""
    feature_size: float | None
    """Root mean square to which the features are brought at the end, their mean removed; None leaves them as they are.

    None is right for a language model that reads them already. One from scratch has embeddings of size 0.02, and beside
    features a hundred times as large nothing that its layers add, such as where a cell is, would be visible.
    """

    def run(
        self,
        tower: PreTrainedModel,
        image_processor: Any,
        samples: Mapping[str, Sequence[Sample]],
        *,
        seed: int,
        report: Callable[[Numbers], None],
    ) -> dict[str, float]:
        """Train the tower with its merger in place.

        Args:
            tower: A Qwen-VL vision tower in training dtype; `pooler_output` of its forward is one row per image token.
            image_processor: The tower's own.
            samples: Parts `train` and `val`; the second is only measured.
            seed: Of the order, the augmentation and the heads.
            report: Called with the numbers so far, every `report_every` steps.

        Returns:
            The last numbers: losses, and on `val` the image AUROC and the cells' average precision.
        """
        kinds = kinds_of([*samples["train"], *samples["val"]])
        train = load(samples["train"], image_processor, kinds)
        val = load(samples["val"], image_processor, kinds)
        generator = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)
        heads = DenseHeads(tower.config.out_hidden_size, len(kinds))  # pyright: ignore[reportAttributeAccessIssue]
        parameters = [*tower.parameters(), *heads.parameters()]
        optimizer = torch.optim.AdamW(
            parameters, lr=self.learning_rate, weight_decay=self.weight_decay, betas=(0.9, 0.98)
        )
        cell = image_processor.patch_size * image_processor.merge_size
        numbers: dict[str, float] = {}
        started = time.monotonic()
        for step in range(1, self.steps + 1):
            for group in optimizer.param_groups:
                group["lr"] = self._learning_rate(step)
            images = self._augmented(_drawn(train, self.batch, generator), generator)
            features = _features(tower, images.pixels, image_processor, cell)
            parts = heads.losses(features, DenseTargets.of(images, cell))
            loss = sum(parts.values(), torch.zeros(()))
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if step % self.report_every == 0 or step == self.steps:
                numbers = {name: float(part.detach()) for name, part in parts.items()}
                numbers |= {"step": step, "loss": float(loss.detach()), "seconds": time.monotonic() - started}
                numbers |= measure(tower, heads, val, image_processor)
                report(numbers)
        if self.feature_size is not None:
            sample = _drawn(train, 16 * self.batch, generator)
            standardise(tower, _features(tower, sample.pixels, image_processor, cell), self.feature_size)
        return numbers

    def _learning_rate(self, step: int) -> float:
        warm = min(1.0, step / max(1, self.warmup_steps))
        return self.learning_rate * warm * (0.02 + 0.98 * 0.5 * (1 + cos(pi * step / self.steps)))

    def _augmented(self, images: LabelledImages, generator: torch.Generator) -> LabelledImages:
        """Turn the whole batch by one symmetry; change each image's brightness, contrast and order of channels."""
        square = images.pixels.shape[-1] == images.pixels.shape[-2]
        turn = torch.randint(len(SYMMETRIES) if square else 4, (), generator=generator)
        turned = images.turned(SYMMETRIES[int(turn)])
        count = len(images)
        gain = 1 + self.brightness * (2 * torch.rand(count, 1, 1, 1, generator=generator) - 1)
        offset = 64 * self.brightness * (2 * torch.rand(count, 3, 1, 1, generator=generator) - 1)
        channels = torch.rand(count, 3, generator=generator).argsort(dim=1)[:, :, None, None]
        pixels = turned.pixels.gather(1, channels.expand_as(turned.pixels)).float()
        pixels = ((pixels - 128) * gain + 128 + offset).clamp(0, 255).to(torch.uint8)
        return LabelledImages(
            pixels=pixels, masks=turned.masks, boxes=turned.boxes, kinds=turned.kinds, samples=turned.samples
        )


@torch.no_grad()
def standardise(tower: nn.Module, features: Float[Tensor, "image cell width"], size: float) -> None:
    """Change the tower's last layer so that features like these have mean 0 and root mean square `size`."""
    last = [module for module in tower.merger.modules() if isinstance(module, nn.Linear)][-1]
    mean = features.mean(dim=(0, 1))
    scale = size / (features - mean).square().mean().sqrt()
    last.weight.mul_(scale)
    last.bias.sub_(mean).mul_(scale)


@torch.no_grad()
def measure(
    tower: PreTrainedModel, heads: DenseHeads, images: Sequence[LabelledImages], image_processor: Any, batch: int = 128
) -> dict[str, float]:
    """Return image AUROC (all, and per `contrast` bin where samples have one) and the cells' average precision."""
    cell = image_processor.patch_size * image_processor.merge_size
    scores, labels, cell_scores, cell_labels, bins = [], [], [], [], []
    for group in images:
        for index in torch.arange(len(group)).split(batch):
            taken = group.take(index)
            features = _features(tower, taken.pixels, image_processor, cell)
            targets = DenseTargets.of(taken, cell)
            scores.append(heads.anomalous(features)[..., 0].mean(dim=1))
            labels.append((targets.kinds > 0).int())
            cell_scores.append(heads.raster(features).logsumexp(dim=-1).flatten())
            cell_labels.append(targets.seen.flatten().int())
            bins += [str(sample.attributes.get("bin", "")) for sample in taken.samples]
    score, label = torch.cat(scores), torch.cat(labels)
    numbers = {
        "val/image_auroc": float(binary_auroc(score, label)),
        "val/image_accuracy": float(((score > 0) == label.bool()).float().mean()),
        "val/cell_ap": float(binary_average_precision(torch.cat(cell_scores), torch.cat(cell_labels))),
    }
    for name in sorted(set(bins) - {""}):
        member = torch.tensor([name == other for other in bins]) | (label == 0)
        numbers[f"val/image_auroc/{name}"] = float(binary_auroc(score[member], label[member]))
    return numbers


def _drawn(groups: Sequence[LabelledImages], batch: int, generator: torch.Generator) -> LabelledImages:
    """Draw a batch of one size; a size's chance is its share of the images."""
    shares = torch.tensor([float(len(group)) for group in groups])
    group = groups[int(torch.multinomial(shares, 1, generator=generator))]
    return group.take(torch.randint(len(group), (min(batch, len(group)),), generator=generator))


def _features(
    tower: PreTrainedModel, pixels: Tensor, image_processor: Any, cell: int
) -> Float[Tensor, "image cell width"]:
    values, grid = patches_of(pixels, image_processor)
    cells = (pixels.shape[-2] // cell) * (pixels.shape[-1] // cell)
    return tower(values, grid_thw=grid).pooler_output.view(len(pixels), cells, -1)


def _overlap(boxes: Float[Tensor, "image box 4"], rows: int, columns: int) -> Float[Tensor, "image cell box"]:
    """Area that each box shares with each cell, cells in raster order; -1 for an absent box."""
    top = torch.arange(rows).repeat_interleave(columns)[None, :, None] / rows
    left = torch.arange(columns).repeat(rows)[None, :, None] / columns
    x0, y0, x1, y1 = boxes[:, None].unbind(dim=-1)
    wide = torch.minimum(x1, left + 1 / columns) - torch.maximum(x0, left)
    high = torch.minimum(y1, top + 1 / rows) - torch.maximum(y0, top)
    return (wide.clamp(min=0) * high.clamp(min=0)).nan_to_num(-1.0)


def _centres(rows: int, columns: int) -> Float[Tensor, "cell 4"]:
    """Centres of the cells in raster order, as x, y, x, y in cells."""
    y, x = torch.meshgrid(torch.arange(rows) + 0.5, torch.arange(columns) + 0.5, indexing="ij")
    return torch.stack([x, y, x, y], dim=-1).view(-1, 4)


def _distance_loss(logits: Float[Tensor, "box bins"], distances: Float[Tensor, "box 4"]) -> Tensor:
    """Cross-entropy of each distance against the two bins around it, in proportion to nearness."""
    place = (distances.clamp(NEAREST, FARTHEST) - NEAREST) / (FARTHEST - NEAREST) * (BINS - 1)
    lower = place.floor().clamp(max=BINS - 2)
    share = (place - lower)[..., None]
    low = functional.one_hot(lower.long(), BINS) * (1 - share)
    target = low + functional.one_hot(lower.long() + 1, BINS) * share
    return -(target * logits.view(-1, 4, BINS).log_softmax(dim=-1)).sum(dim=-1).mean()
