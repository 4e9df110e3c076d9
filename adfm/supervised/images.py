"""Labelled images in memory, as the model sees them: decoded and resized once, cut into patches in torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image
from torch import Tensor, nn

from adfm.data.images import read_image
from adfm.errors import DataError
from adfm.types import Sample

SYMMETRIES = tuple(
    (transpose, left_right, up_down) for transpose in (0, 1) for left_right in (0, 1) for up_down in (0, 1)
)
"""The eight symmetries of the square as (transpose, then mirror left-right, then mirror up-down)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledImages:
    """Images of one size with their labels."""

    pixels: UInt8[Tensor, "image 3 height width"]
    masks: UInt8[Tensor, "image height width"]
    """0 to 255: how much of the pixel is defect."""
    boxes: Float[Tensor, "image box 4"]
    """As a share of width and height; absent boxes are NaN. The order is that of the sample."""
    kinds: Int[Tensor, " image"]
    """0 is normal; k is the k-th defect type."""
    samples: tuple[Sample, ...]

    def __len__(self) -> int:
        return len(self.samples)

    def take(self, index: Int[Tensor, " taken"]) -> LabelledImages:
        """Return the images at `index`, in that order."""
        samples = tuple(self.samples[int(i)] for i in index)
        return LabelledImages(
            pixels=self.pixels[index],
            masks=self.masks[index],
            boxes=self.boxes[index],
            kinds=self.kinds[index],
            samples=samples,
        )

    def turned(self, symmetry: tuple[int, int, int]) -> LabelledImages:
        """Return all images, masks and boxes under one of `SYMMETRIES`."""
        transpose, left_right, up_down = symmetry
        pixels, masks, boxes = self.pixels, self.masks, self.boxes
        if transpose:
            pixels, masks, boxes = pixels.mT, masks.mT, boxes[..., [1, 0, 3, 2]]
        if left_right:
            pixels, masks = pixels.flip(-1), masks.flip(-1)
            boxes = torch.stack((1 - boxes[..., 2], boxes[..., 1], 1 - boxes[..., 0], boxes[..., 3]), dim=-1)
        if up_down:
            pixels, masks = pixels.flip(-2), masks.flip(-2)
            boxes = torch.stack((boxes[..., 0], 1 - boxes[..., 3], boxes[..., 2], 1 - boxes[..., 1]), dim=-1)
        return LabelledImages(pixels=pixels, masks=masks, boxes=boxes, kinds=self.kinds, samples=self.samples)

    def turned_at_random(self, generator: torch.Generator) -> LabelledImages:
        """Return all images under one of the symmetries that keep their size."""
        square = self.pixels.shape[-1] == self.pixels.shape[-2]
        turn = torch.randint(len(SYMMETRIES) if square else 4, (), generator=generator)
        return self.turned(SYMMETRIES[int(turn)])


def load(samples: Sequence[Sample], image_processor: Any, kinds: Sequence[str]) -> list[LabelledImages]:
    """Decode and resize the samples' images, collected by size.

    Args:
        samples: Their images and masks are read from disk.
        image_processor: Of the Qwen-VL family; it alone decides the size.
        kinds: The defect types that get a number, from 1.

    Raises:
        DataError: An image or mask cannot be read, or a defect type is not among `kinds`.
    """
    sizes: dict[tuple[int, int], list[int]] = {}
    pixels = [resized(read_image(sample.image), image_processor) for sample in samples]
    for index, image in enumerate(pixels):
        sizes.setdefault((image.shape[1], image.shape[2]), []).append(index)
    most_boxes = max((len(sample.boxes) for sample in samples), default=0) or 1
    return [
        LabelledImages(
            pixels=torch.stack([pixels[i] for i in members]),
            masks=torch.stack([_mask(samples[i], height, width) for i in members]),
            boxes=torch.stack([_boxes(samples[i], most_boxes) for i in members]),
            kinds=torch.tensor([_kind(samples[i], kinds) for i in members]),
            samples=tuple(samples[i] for i in members),
        )
        for (height, width), members in sizes.items()
    ]


def resized(image: Image.Image, image_processor: Any) -> UInt8[Tensor, "3 height width"]:
    """Return an image at the size to which the processor takes it, before normalisation."""
    output = image_processor(images=[image], do_rescale=False, do_normalize=False, return_tensors="pt")
    _, rows, columns = output["image_grid_thw"][0].tolist()
    patch, merge = image_processor.patch_size, image_processor.merge_size
    patches = output["pixel_values"].reshape(
        rows // merge, columns // merge, merge, merge, 3, image_processor.temporal_patch_size, patch, patch
    )[:, :, :, :, :, 0]
    pixels = patches.permute(4, 0, 2, 5, 1, 3, 6).reshape(3, rows * patch, columns * patch)
    return pixels.round().clamp(0, 255).to(torch.uint8)


def patches_of(
    pixels: Float[Tensor, "image 3 height width"] | UInt8[Tensor, "image 3 height width"], image_processor: Any
) -> tuple[Float[Tensor, "patch feature"], Int[Tensor, "image 3"]]:
    """Normalise images of 0 to 255 and cut them into patches, in the layout of the image processor.

    Returns:
        `pixel_values` and `image_grid_thw` as the model's forward takes them.
    """
    images, _, height, width = pixels.shape
    patch, merge, frames = image_processor.patch_size, image_processor.merge_size, image_processor.temporal_patch_size
    mean = torch.tensor(image_processor.image_mean).view(1, 3, 1, 1)
    deviation = torch.tensor(image_processor.image_std).view(1, 3, 1, 1)
    rows, columns = height // patch, width // patch
    normal = (pixels.float() * image_processor.rescale_factor - mean) / deviation
    cut = normal.view(images, 3, rows // merge, merge, patch, columns // merge, merge, patch)
    cut = cut.permute(0, 2, 5, 3, 6, 1, 4, 7).unsqueeze(6)
    cut = cut.expand(*cut.shape[:6], frames, patch, patch)
    grid = torch.tensor([[1, rows, columns]]).expand(images, 3)
    return cut.reshape(images * rows * columns, -1), grid


def drawn(groups: Sequence[LabelledImages], batch: int, generator: torch.Generator) -> LabelledImages:
    """Draw a batch of one size; a size's chance is its share of the images."""
    shares = torch.tensor([float(len(group)) for group in groups])
    group = groups[int(torch.multinomial(shares, 1, generator=generator))]
    return group.take(torch.randint(len(group), (min(batch, len(group)),), generator=generator))


def features_of(tower: nn.Module, pixels: Tensor, image_processor: Any, cell: int) -> Float[Tensor, "image cell width"]:
    """Run the tower over images of one size."""
    values, grid = patches_of(pixels, image_processor)
    cells = (pixels.shape[-2] // cell) * (pixels.shape[-1] // cell)
    return tower(values, grid_thw=grid).pooler_output.view(len(pixels), cells, -1)


def kinds_of(samples: Iterable[Sample]) -> tuple[str, ...]:
    """Return the defect types that occur, sorted."""
    return tuple(sorted({sample.defect_type for sample in samples if sample.defect_type}))


def _mask(sample: Sample, height: int, width: int) -> UInt8[Tensor, "height width"]:
    if sample.mask is None:
        return torch.zeros(height, width, dtype=torch.uint8)
    defect = Image.fromarray(sample.mask.read(sample.size).astype(np.uint8) * 255)
    return torch.from_numpy(np.array(defect.resize((width, height), Image.Resampling.BOX)))


def _boxes(sample: Sample, most: int) -> Float[Tensor, "box 4"]:
    boxes = torch.full((most, 4), torch.nan)
    if sample.boxes:
        scale = torch.tensor([sample.width, sample.height, sample.width, sample.height])
        boxes[: len(sample.boxes)] = torch.tensor(sample.boxes) / scale
    return boxes


def _kind(sample: Sample, kinds: Sequence[str]) -> int:
    if not sample.anomalous:
        return 0
    if sample.defect_type not in kinds:
        raise DataError(f"sample {sample.id}: defect type {sample.defect_type!r} is not one of the training part's")
    return 1 + kinds.index(sample.defect_type)
