"""Dense pre-training of vision tower and merger on mask labels.

Captions alone teach a small model the language and nothing about the image. Here every image token must say what its
own cell holds, through linear heads that are thrown away afterwards, so that a language model finds it there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics.functional.classification import binary_auroc, binary_average_precision
from transformers import PreTrainedModel

from adfm.supervised.descent import descend
from adfm.supervised.grounding import Grounding
from adfm.supervised.images import LabelledImages, drawn, features_of, kinds_of, load
from adfm.supervised.targets import BINS, FARTHEST, FINE, NEAREST, DenseTargets, between_bins
from adfm.types import Sample

Numbers = Mapping[str, float]


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
            parts["cell_box"] = 0.5 * between_bins(
                self.cell_box(seen), targets.distances[targets.seen], NEAREST, FARTHEST
            )
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
    grounding: Grounding
    """What follows for a language model from random weights."""

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
        cell = image_processor.patch_size * image_processor.merge_size

        def losses() -> dict[str, Tensor]:
            images = self._augmented(drawn(train, self.batch, generator), generator)
            features = features_of(tower, images.pixels, image_processor, cell)
            return heads.losses(features, DenseTargets.of(images, cell))

        numbers = descend(
            [*tower.parameters(), *heads.parameters()],
            losses,
            steps=self.steps,
            learning_rate=self.learning_rate,
            warmup_steps=self.warmup_steps,
            weight_decay=self.weight_decay,
            report_every=self.report_every,
            report=report,
            measure=lambda: measure(tower, heads, val, image_processor),
        )
        if self.feature_size is not None:
            sample = drawn(train, 16 * self.batch, generator)
            standardise(tower, features_of(tower, sample.pixels, image_processor, cell), self.feature_size)
        return numbers

    def _augmented(self, images: LabelledImages, generator: torch.Generator) -> LabelledImages:
        """Turn the whole batch by one symmetry; change each image's brightness, contrast and order of channels."""
        turned = images.turned_at_random(generator)
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
def standardise(tower: Any, features: Float[Tensor, "image cell width"], size: float) -> None:
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
            features = features_of(tower, taken.pixels, image_processor, cell)
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
