"""Labelled images in memory, and the dense stage on them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image

from adfm.data.masks import MaskFiles
from adfm.errors import DataError
from adfm.models.tiny import architecture, tokenizer
from adfm.supervised.dense import DensePretraining, standardise
from adfm.supervised.grounding import Grounding
from adfm.supervised.images import SYMMETRIES, kinds_of, load, patches_of
from adfm.supervised.targets import BINS, DenseTargets, between_bins
from adfm.types import Sample


def _samples(folder, count=24, size=(112, 112)):
    rng = np.random.default_rng(0)
    samples = []
    for index in range(count):
        pixels = rng.integers(90, 160, (size[1], size[0], 3)).astype(np.uint8)
        mask = np.zeros((size[1], size[0]), np.uint8)
        box = (28.0, 14.0, 63.0, 42.0)
        if index % 2:
            mask[14:42, 28:63] = 255
            pixels[mask > 0] = 0
            Image.fromarray(mask).save(folder / f"{index}_mask.png")
        Image.fromarray(pixels).save(folder / f"{index}.png")
        samples.append(
            Sample(
                id=str(index),
                image=folder / f"{index}.png",
                stated_size=(size[0], size[1]),
                category="noise",
                anomalous=bool(index % 2),
                defect_type="hole" if index % 2 else None,
                stated_boxes=(box,) if index % 2 else (),
                mask=MaskFiles((folder / f"{index}_mask.png",)) if index % 2 else None,
            )
        )
    return samples


@pytest.mark.parametrize("size", [(112, 112), (150, 90)])
def test_patches_equal_the_image_processor(tmp_path, size):
    processor = architecture.make_image_processor()
    samples = _samples(tmp_path, 3, size)
    (images,) = load(samples, processor, ("hole",))
    values, grid = patches_of(images.pixels, processor)
    expected = processor(images=[Image.open(sample.image) for sample in samples], return_tensors="pt")
    torch.testing.assert_close(
        values, expected["pixel_values"], atol=0.02, rtol=0
    )  # the processor keeps resize's fractions
    assert torch.equal(grid, expected["image_grid_thw"])


@pytest.mark.parametrize("symmetry", SYMMETRIES)
def test_boxes_turn_with_their_masks(tmp_path, symmetry):
    (images,) = load(_samples(tmp_path, 2), architecture.make_image_processor(), ("hole",))
    turned = images.turned(symmetry)
    rows, columns = torch.where(turned.masks[1] > 127)
    around = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    torch.testing.assert_close(turned.boxes[1, 0] * 112, around.float())


def test_targets_by_hand(tmp_path):
    (images,) = load(_samples(tmp_path, 2), architecture.make_image_processor(), ("hole",))
    targets = DenseTargets.of(images, 28)
    assert not targets.seen[0].any()
    # The box covers x 28..63, y 14..42: cells (0,1), (0,2), (1,1), (1,2) of the 4 x 4 raster.
    assert targets.seen[1].nonzero().flatten().tolist() == [1, 2, 5, 6]
    assert targets.raster[1, 1].mean() == pytest.approx(0.5)
    assert targets.raster[1, 6].mean() == pytest.approx(0.5 * 7 / 28)
    # From the centre (42, 42) of cell (1, 1): 14 to the left, 28 up, 21 to the right, 0 down; a cell is 28 wide.
    torch.testing.assert_close(targets.distances[1, 5], torch.tensor([0.5, 1.0, 0.75, 0.0]))
    torch.testing.assert_close(targets.boxes(4, 4)[1, 5] * 112, torch.tensor([28.0, 14.0, 63.0, 42.0]))
    assert targets.kinds.tolist() == [0, 1]


def testbetween_bins_of_an_indifferent_head_is_the_log_of_the_bins():
    loss = between_bins(torch.zeros(3, 4 * BINS), torch.rand(3, 4), 0.0, 1.0)
    assert loss.item() == pytest.approx(math.log(BINS), rel=1e-5)


def test_a_missing_image_is_named(tmp_path):
    samples = _samples(tmp_path, 2)
    samples[0].image.unlink()
    with pytest.raises(DataError, match=r"0\.png"):
        load(samples, architecture.make_image_processor(), kinds_of(samples))


def test_dense_stage_learns_a_plain_hole(tmp_path):
    torch.manual_seed(0)
    processor = architecture.make_image_processor()
    model = architecture.make(tokenizer.train(["a"]))
    samples = _samples(tmp_path)
    recipe = DensePretraining(
        steps=12,
        batch=16,
        learning_rate=1e-3,
        warmup_steps=2,
        weight_decay=0.05,
        brightness=0.2,
        report_every=6,
        feature_size=0.1,
        grounding=Grounding(steps=0, batch=1, learning_rate=1e-3, warmup_steps=0, layers=1, farthest=0, report_every=1),
    )
    reports = []
    numbers = recipe.run(
        model.model.visual, processor, {"train": samples, "val": samples[:8]}, seed=0, report=reports.append
    )
    assert [report["step"] for report in reports] == [6, 12]
    assert numbers["loss"] < reports[0]["loss"]
    assert numbers["val/image_auroc"] > 0.9


def test_standardised_features_have_mean_0_and_the_size_asked_for():
    torch.manual_seed(0)
    tower = architecture.make(tokenizer.train(["a"])).model.visual
    values, grid = patches_of(
        torch.randint(0, 256, (6, 3, 112, 112), dtype=torch.uint8), architecture.make_image_processor()
    )

    def features():
        with torch.no_grad():
            return tower(values, grid_thw=grid).pooler_output.view(6, 16, -1)

    standardise(tower, features(), 0.1)
    assert features().square().mean().sqrt().item() == pytest.approx(0.1, rel=1e-3)
    assert features().mean(dim=(0, 1)).abs().max().item() < 1e-5
