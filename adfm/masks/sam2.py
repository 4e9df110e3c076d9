"""Masks by SAM 2, prompted with the boxes, as AnomalyR1 makes its masks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor
from transformers import AutoConfig, Sam2Model

from adfm.errors import ConfigError
from adfm.masks.segmenter import Masks, Picture, pixels_of
from adfm.types import Box

FAMILIES = ("sam2", "sam2_video")
"""Meta's checkpoints on the hub say `sam2_video`: the image model with a memory for videos, which is not loaded."""
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
"""Of the pixels of ImageNet. facebookresearch/sam2, sam2/utils/transforms.py: the same for every checkpoint."""


class Sam2:
    """SAM 2 (Ravi et al., ICLR 2025): one mask a box, all boxes of an image at once.

    A mask may reach out of its box. Images are resized, normalised and their masks enlarged as in Meta's
    sam2/utils/transforms.py, without transformers' `Sam2Processor`: its image processor needs torchvision.

    Args:
        path: A checkpoint folder in the Hugging Face format, or a hub id.
        revision: Of a hub id.
        device: `auto` takes a GPU where there is one.
        threshold: A pixel is defect where its log-odds are above this; Meta's is 0.

    Raises:
        ConfigError: There is no such checkpoint, it is of another kind or incomplete, or there is no such device.
    """

    name: ClassVar[str] = "sam2"

    def __init__(
        self,
        path: str = "facebook/sam2.1-hiera-small",
        *,
        revision: str | None = None,
        device: str = "auto",
        threshold: float = 0.0,
    ) -> None:
        self.device = _device(device)
        self.model = _load(path, revision).to(self.device).eval().requires_grad_(False)
        self.threshold = threshold
        self._given = (path, revision, device, threshold)

    def __reduce__(self) -> tuple[Any, ...]:
        """Let another process load the checkpoint itself, once."""
        return _again, self._given

    @property
    def settings(self) -> Mapping[str, Any]:
        """The threshold and a hash of the weights, wherever they were loaded from."""
        return {"threshold": self.threshold, "weights": self._weights}

    @property
    def side(self) -> int:
        """Of the square that an image is resized to, in pixels."""
        size = self.model.config.prompt_encoder_config.image_size
        return size if isinstance(size, int) else size[0]

    @torch.inference_mode()
    def __call__(self, image: Picture, boxes: Sequence[Box]) -> Masks:
        """Return one mask a box; empty for a box that covers no pixel."""
        height, width = image.shape[:2]
        masks = np.zeros((len(boxes), height, width), bool)
        places = [index for index, box in enumerate(boxes) if _has_pixels(box, width, height)]
        if not places:
            return masks
        scale = np.array([width, height, width, height]) / self.side
        prompts = np.array([_clipped(boxes[index], width, height) for index in places]) / scale
        logits = self.model(
            pixel_values=self.pixels(image).to(self.device),
            input_boxes=torch.tensor(prompts[None], dtype=torch.float32, device=self.device),
            multimask_output=False,
        ).pred_masks[0]
        for place, low in zip(places, logits, strict=True):
            masks[place] = self._enlarged(low, height, width)
        return masks

    def pixels(self, image: Picture) -> Float[Tensor, "1 3 side side"]:
        """Resize and normalise an image."""
        square = Image.fromarray(image).resize((self.side, self.side), Image.Resampling.BILINEAR)
        values = (np.asarray(square, np.float32) / 255 - MEAN) / DEVIATION
        return torch.from_numpy(values.astype(np.float32)).permute(2, 0, 1)[None]

    def _enlarged(self, logits: Float[Tensor, "1 rows columns"], height: int, width: int) -> Bool[np.ndarray, "h w"]:
        """Enlarge one mask at a time: those of a large image would fill the memory."""
        whole = torch.nn.functional.interpolate(logits[None], (height, width), mode="bilinear", align_corners=False)
        return (whole[0, 0] > self.threshold).cpu().numpy()

    @cached_property
    def _weights(self) -> str:
        digest = hashlib.sha256()
        for name, weight in sorted(self.model.state_dict().items()):
            digest.update(name.encode())
            digest.update(weight.cpu().contiguous().flatten().view(torch.uint8).numpy())
        return digest.hexdigest()[:16]


@cache
def _again(path: str, revision: str | None, device: str, threshold: float) -> Sam2:
    return Sam2(path, revision=revision, device=device, threshold=threshold)


def _load(path: str, revision: str | None) -> Any:
    source: dict[str, Any] = {"pretrained_model_name_or_path": path, "revision": revision}
    try:
        kind = AutoConfig.from_pretrained(**source).model_type
        if kind not in FAMILIES:
            raise ConfigError(f"masks.path: {path} is a {kind}, and no SAM 2; masks=classical needs no checkpoint")
        loaded: Any = Sam2Model.from_pretrained(**source, output_loading_info=True)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"masks.path: {path} is neither a folder with a SAM 2 checkpoint nor a hub model that can be reached; "
            f"use masks.path=<folder>, or masks=classical, which needs none ({error})"
        ) from error
    model, found = loaded
    if found["missing_keys"]:
        raise ConfigError(f"masks.path: {path} lacks weights of SAM 2: {', '.join(sorted(found['missing_keys'])[:3])}")
    return model


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        raise ConfigError(f"masks.device: {name} cannot be used here; use masks.device=auto ({error})") from error


def _has_pixels(box: Box, width: int, height: int) -> bool:
    x0, y0, x1, y1 = pixels_of(box, width=width, height=height)
    return x0 < x1 and y0 < y1


def _clipped(box: Box, width: int, height: int) -> Box:
    x0, y0, x1, y1 = np.clip(box, 0, [width, height, width, height]).tolist()
    return x0, y0, x1, y1
