"""The yardsticks of magnetic_tile on a few drawn tiles."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

from adfm.data.masks import MaskFiles
from adfm.evaluation.pooled import Pool
from adfm.models import tiny
from adfm.models.images import ImageReader
from adfm.supervised.images import LabelledImages, load
from adfm.types import Sample

SCRIPT = Path(__file__).parents[2] / "experiments" / "magnetic_tile" / "cnn.py"


@pytest.fixture(scope="module")
def cnn() -> ModuleType:
    """The script."""
    spec = importlib.util.spec_from_file_location("magnetic_tile_cnn", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """Noise of two shapes; every third with a bright square."""
    folder = tmp_path_factory.mktemp("tiles")
    rng = np.random.default_rng(0)
    found = []
    for number in range(24):
        anomalous, (height, width) = number % 3 == 0, [(112, 112), (80, 160)][number % 2]
        grey = rng.integers(90, 110, size=(height, width), dtype=np.uint8)
        mask = np.zeros_like(grey)
        if anomalous:
            top, left = rng.integers(0, 50), rng.integers(0, 80)
            mask[top : top + 24, left : left + 30] = 255
            grey[mask > 0] = 240
            Image.fromarray(mask).save(folder / f"{number}_mask.png")
        Image.fromarray(grey).save(folder / f"{number}.png")
        found.append(
            Sample(
                id=f"{number}",
                image=folder / f"{number}.png",
                stated_size=(width, height),
                category="tile",
                anomalous=anomalous,
                defect_type="square" if anomalous else None,
                stated_boxes=((float(left), float(top), left + 30.0, top + 24.0),) if anomalous else (),
                mask=MaskFiles((folder / f"{number}_mask.png",)) if anomalous else None,
            )
        )
    return found


@pytest.fixture(scope="module")
def images(samples: list[Sample]) -> list[LabelledImages]:
    reader = ImageReader.load(str(tiny.folder()), revision=None, min_pixels=12544, max_pixels=12544)
    return load(samples, reader.image_processor, ["square"])


def test_it_has_the_size_of_the_embedded_model(cnn: ModuleType) -> None:
    parameters = sum(parameter.numel() for parameter in cnn.Network().parameters())
    assert 2.0e6 < parameters < 3.0e6


def test_any_size_of_image(cnn: ModuleType) -> None:
    score, mask = cnn.Network().eval()(torch.zeros(2, 3, 84, 140, dtype=torch.uint8))
    assert (score.shape, mask.shape) == ((2,), (2, 84, 140))


def test_batches_hold_as_many_of_either_class(cnn: ModuleType, images: list[LabelledImages]) -> None:
    drawn = cnn.batches(images, torch.Generator().manual_seed(0))
    for batch in (next(drawn) for _ in range(4)):
        assert (batch.kinds > 0).sum() == (batch.kinds == 0).sum() == cnn.BATCH // 2
        assert (batch.masks.flatten(1).amax(1) > 127).equal(batch.kinds > 0)


def test_boxes_are_written_only_where_it_calls_anomalous(cnn: ModuleType, samples: list[Sample]) -> None:
    square = samples[0]
    (x0, y0, x1, y1), mask = square.boxes[0], np.zeros((square.height, square.width), dtype=np.float32)
    mask[int(y0) : int(y1), int(x0) : int(x1)] = 0.7
    found, missed, blank = cnn.decided(
        [(square, 1.0, mask), (square, -1.0, mask), (samples[1], 2.0, mask * 0)], 0.0, 0.6
    )
    assert (found.boxes, found.predicted, found.mask_iou) == (square.boxes, True, 1.0)
    assert (missed.boxes, missed.predicted, missed.mask_iou) == ((), False, 0.0)
    assert (blank.boxes, blank.predicted, blank.mask_iou) == ((), True, None)


@pytest.mark.slow
def test_it_learns_bright_squares(
    cnn: ModuleType, images: list[LabelledImages], samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cnn, "WIDTHS", (8, 16, 32, 64))
    monkeypatch.setattr(cnn, "LEARNING_RATE", 5e-3)
    network = cnn.train(images, images, steps=60, seed=0)
    pool = Pool({"0": cnn.predict(network, images, images)}, resamples=20)
    assert pool.estimate("auroc").value > 0.95
    assert pool.estimate("box_iou").value > 0.5
    table = cnn.table(cnn.rows({"U-Net": pool}))
    assert "| balanced_accuracy " in table
