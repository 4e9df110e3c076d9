"""What image tokens must say in the dense stages, computed from masks and boxes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from adfm.supervised.images import LabelledImages

FINE = 4
"""A cell (one image token) says where it is defective on a raster of FINE x FINE."""
BINS = 28
"""A distance from a cell's centre to an edge of its box is one of this many bins."""
OUTWARDS = torch.tensor([-1.0, -1.0, 1.0, 1.0])
"""Sign of a step from the centre towards the left, upper, right and lower edge."""
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
        distances = (edges - _centres(rows, columns)) * OUTWARDS
        seen = (raster.mean(dim=-1) > SEEN) & ~boxes.isnan().any(dim=-1)
        return cls(raster=raster, seen=seen, distances=distances, kinds=images.kinds)

    def boxes(self, rows: int, columns: int) -> Float[Tensor, "image cell 4"]:
        """Return each cell's box as a share of the image's width and height."""
        edges = self.distances * OUTWARDS + _centres(rows, columns)
        return edges / torch.tensor([columns, rows, columns, rows])


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


def between_bins(
    logits: Float[Tensor, "box bins"], values: Float[Tensor, "box 4"], lowest: float, highest: float
) -> Tensor:
    """Cross-entropy of each value against the two of `BINS` bins around it, in proportion to nearness."""
    place = (values.clamp(lowest, highest) - lowest) / (highest - lowest) * (BINS - 1)
    lower = place.floor().clamp(max=BINS - 2)
    share = (place - lower)[..., None]
    low = functional.one_hot(lower.long(), BINS) * (1 - share)
    target = low + functional.one_hot(lower.long() + 1, BINS) * share
    return -(target * logits.view(-1, 4, BINS).log_softmax(dim=-1)).sum(dim=-1).mean()
