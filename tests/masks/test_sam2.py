"""SAM 2 from a tiny checkpoint of random weights, in the format in which it lies on disk."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, Sam2Config, Sam2Model, Sam2VideoConfig, Sam2VideoModel

from adfm.errors import ConfigError
from adfm.masks.sam2 import Sam2
from adfm.masks.segmenter import Segmenter

SIDE = 64
PARTS: dict[str, Any] = {
    "vision_config": {
        "model_type": "sam2_vision_model",
        "backbone_config": {
            "model_type": "sam2_hiera_det_model",
            "hidden_size": 8,
            "image_size": [SIDE, SIDE],
            "blocks_per_stage": [1, 1, 2, 1],
            "embed_dim_per_stage": [8, 16, 32, 64],
            "num_attention_heads_per_stage": [1, 1, 2, 2],
            "window_size_per_stage": [4, 4, 4, 2],
            "global_attention_blocks": [3],
        },
        "backbone_channel_list": [64, 32, 16, 8],
        "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
        "fpn_hidden_size": 32,
    },
    "prompt_encoder_config": {"hidden_size": 32, "image_size": SIDE, "mask_input_channels": 4},
    "mask_decoder_config": {"hidden_size": 32, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 16},
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sam2")
    torch.manual_seed(0)
    model = Sam2Model(Sam2Config(**PARTS))
    with torch.no_grad():
        for weight in model.parameters():  # as drawn, masks of all images would be nearly alike
            weight.add_(0.05 * torch.randn(weight.shape))
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def sam2(checkpoint: Path) -> Sam2:
    return Sam2(str(checkpoint))


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)


BOXES = [(3.0, 4.0, 20.0, 18.0), (25.0, 10.0, 45.0, 28.0)]


def test_one_mask_a_box_in_the_images_size(sam2: Sam2, image: np.ndarray) -> None:
    assert isinstance(sam2, Segmenter)
    masks = sam2(image, BOXES)
    assert masks.shape == (2, 30, 50)
    assert masks.dtype == bool
    assert np.array_equal(masks, sam2(image, BOXES))
    assert sam2(image, []).shape == (0, 30, 50)


def test_it_is_the_models_own_mask(sam2: Sam2, checkpoint: Path, image: np.ndarray) -> None:
    model: Any = Sam2Model.from_pretrained(checkpoint)
    prompts = torch.tensor(BOXES)[None] * torch.tensor([SIDE / 50, SIDE / 30, SIDE / 50, SIDE / 30])
    with torch.no_grad():
        found = model(pixel_values=sam2.pixels(image), input_boxes=prompts, multimask_output=False)
        whole = torch.nn.functional.interpolate(found.pred_masks[0], (30, 50), mode="bilinear")
    sam2.threshold = float(whole.median())  # random weights may call everything defect, or nothing
    masks = sam2(image, BOXES)
    sam2.threshold = 0.0
    assert np.array_equal(masks, (whole[:, 0] > whole.median()).numpy())
    assert 0 < masks.sum() < masks.size


def test_pixels_are_resized_and_normalised(sam2: Sam2) -> None:
    white = sam2.pixels(np.full((10, 20, 3), 255, np.uint8))
    assert white.shape == (1, 3, SIDE, SIDE)
    assert white[0, :, 5, 7].tolist() == pytest.approx([(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225])


def test_a_box_that_covers_no_pixel_is_not_asked_about(sam2: Sam2, image: np.ndarray) -> None:
    empty = [(5.0, 5.0, 5.0, 9.0), (60.0, 2.0, 70.0, 9.0)]
    masks = sam2(image, [empty[0], BOXES[0], empty[1]])
    assert not masks[0].any()
    assert not masks[2].any()
    assert np.array_equal(masks[1], sam2(image, [BOXES[0]])[0])
    assert not sam2(image, empty).any()


def test_a_box_is_cut_off_at_the_border(sam2: Sam2, image: np.ndarray) -> None:
    assert np.array_equal(sam2(image, [(-9.0, -9.0, 20.0, 99.0)]), sam2(image, [(0.0, 0.0, 20.0, 30.0)]))


def test_checkpoints_of_the_hub_are_of_the_video_model(tmp_path: Path, image: np.ndarray) -> None:
    torch.manual_seed(1)
    memory: dict[str, Any] = {
        "memory_attention_hidden_size": 32,
        "memory_attention_num_layers": 1,
        "memory_encoder_hidden_size": 32,
        "memory_encoder_output_channels": 8,
        "memory_fuser_embed_dim": 32,
        "mask_downsampler_embed_dim": 32,
    }
    video = Sam2VideoModel(Sam2VideoConfig(**PARTS, **memory, image_size=SIDE))
    video.save_pretrained(tmp_path)
    loaded = Sam2(str(tmp_path))
    own = video.state_dict()
    assert all(torch.equal(weight, own[name]) for name, weight in loaded.model.state_dict().items())
    assert loaded(image, BOXES).shape == (2, 30, 50)


def test_settings_name_the_weights(sam2: Sam2, checkpoint: Path) -> None:
    assert sam2.settings == Sam2(str(checkpoint)).settings
    other = Sam2(str(checkpoint))
    with torch.no_grad():
        next(other.model.parameters()).add_(1)
    assert other.settings != sam2.settings


def test_another_process_loads_the_checkpoint_itself(sam2: Sam2, image: np.ndarray) -> None:
    sent = pickle.dumps(sam2)
    assert len(sent) < 1000
    there = pickle.loads(sent)
    assert there.settings == sam2.settings
    assert pickle.loads(sent).model is there.model
    box = [(10.0, 10.0, 60.0, 50.0)]
    assert (there(image, box) == sam2(image, box)).all()


def test_missing_weights_name_the_path(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"masks\.path: facebook/sam2\.1-hiera-small .* masks=classical"):
        Sam2()
    with pytest.raises(ConfigError, match=r"masks\.path: .*nowhere"):
        Sam2(str(tmp_path / "nowhere"))


def test_another_model_is_refused(tmp_path: Path) -> None:
    BertConfig().save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"masks\.path: .* is a bert, and no SAM 2"):
        Sam2(str(tmp_path))


def test_an_incomplete_checkpoint_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    weights = load_file(checkpoint / "model.safetensors")
    weights.pop("no_memory_embedding")
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    (tmp_path / "config.json").write_bytes((checkpoint / "config.json").read_bytes())
    with pytest.raises(ConfigError, match=r"masks\.path: .* lacks weights of SAM 2: no_memory_embedding"):
        Sam2(str(tmp_path))


def test_an_unknown_device_is_refused(checkpoint: Path) -> None:
    with pytest.raises(ConfigError, match=r"masks\.device: tpu"):
        Sam2(str(checkpoint), device="tpu")


def test_torchvision_is_not_needed(sam2: Sam2) -> None:
    assert "torchvision" not in sys.modules
