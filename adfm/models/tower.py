"""The vision tower of a Qwen-VL model: patches to features, once per image while it is frozen.

A frozen tower is taken out of the module tree (it stays reachable as `model.visual`), so that it is not an optimizer's,
DeepSpeed's, PEFT's or gradient checkpointing's business: it is not sharded, not checkpointed and always in eval mode.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import transformers
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures

from adfm.models.disk_store import DiskStore
from adfm.models.images import ImageKey, ImageReader
from adfm.models.vision_cache import MemoryStore, VisionCache

PATCHES_AT_ONCE = 2**13
"""Of the images in one call of a frozen tower; a larger image has a call of its own."""

EncoderOutputs = dict[str, BaseModelOutputWithPooling]
"""What the forward of a Qwen-VL model takes as `mm_encoder_outputs`."""


class PatchProjection(nn.Conv3d):
    """A convolution whose stride is its kernel, computed as the matrix product that it is.

    cuDNN has no good kernel for this shape in bfloat16: seconds instead of milliseconds (sglang-omni issue 539, pytorch
    issue 174051). Weights keep their name and shape, so checkpoints do not change.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Take `(patch, channel, time, height, width)` of exactly one kernel to `(patch, embedding, 1, 1, 1)`."""
        embedded = functional.linear(input.flatten(1), self.weight.flatten(1), self.bias)
        return embedded[:, :, None, None, None]


class VisionTower:
    """Runs, or remembers, the vision tower of one model.

    Args:
        base: A Qwen-VL model for conditional generation.
        reader: Makes the patches of an image.
        trains: Whether any of its weights train: then features carry gradients and only patches are remembered.
        memory_bytes: Limit of what is remembered in memory.
        disk: Where features of a frozen tower are kept on disk; None for nowhere.
    """

    def __init__(
        self, base: Any, reader: ImageReader, *, trains: bool, memory_bytes: int, disk: DiskStore | None = None
    ) -> None:
        self.base = base
        self.reader = reader
        self.trains = trains
        self.cache = VisionCache(memory_bytes, disk, self._fingerprint)
        self._patches = MemoryStore(memory_bytes)
        self.visual.patch_embed.proj.__class__ = PatchProjection
        if not trains:
            self._take_out()

    def of(self, copied: Any) -> VisionTower:
        """Return the frozen tower of a copy of the model: this one, if the copy shares it, else one on its patches."""
        if not self.trains:
            return self
        tower = VisionTower(copied, self.reader, trains=False, memory_bytes=self._patches.limit_bytes)
        tower._patches = self._patches
        tower.cache.memory.newest = self._patches.newest
        return tower

    def hold(self, images: int) -> None:
        """Keep what the newest `images` images need in memory, even above the limit."""
        self._patches.newest = self.cache.memory.newest = images

    @property
    def visual(self) -> Any:
        """The tower itself, with its mergers."""
        return self.base.model.visual

    def state(self) -> dict[str, Tensor]:
        """Return the tower's weights by their names in the whole model."""
        return {f"model.visual.{name}": weight for name, weight in self.visual.state_dict().items()}

    def features(self, images: Sequence[ImageKey]) -> list[Float[Tensor, "level token channel"]]:
        """Return each image's features: level 0 goes in for the image tokens, the others (Qwen3-VL) are added deeper.

        A frozen tower sees only the images that it does not remember, as many in one call as `PATCHES_AT_ONCE` lets.
        No image attends to another, so what is beside it changes its features by rounding at most.
        """
        if self.trains:
            return self._run(images)
        found, missing = _known(images, self.cache.get)
        for members in _calls(missing):
            with torch.no_grad():
                made = self._run(members)
            for image, features in zip(members, made, strict=True):
                found[image] = features.cpu()
                self.cache.put(image, found[image])
        return [found[image].to(self.visual.device, non_blocking=True) for image in images]

    def encoder_outputs(self, images: Sequence[ImageKey]) -> EncoderOutputs:
        """Return the features of images as the model's forward takes them; empty without images."""
        if not images:
            return {}
        levels = list(zip(*self.features(images), strict=True))
        if len(levels) == 1:
            return {"image": BaseModelOutputWithPooling(pooler_output=levels[0])}  # pyright: ignore[reportArgumentType]
        outputs = BaseModelOutputWithDeepstackFeatures(pooler_output=levels[0], deepstack_features=levels[1:])  # pyright: ignore[reportArgumentType]
        return {"image": outputs}

    def _run(self, images: Sequence[ImageKey]) -> list[Tensor]:
        patches = torch.cat(self._read(images)).to(self.visual.device)
        grids = torch.tensor([image.grid for image in images], device=patches.device)
        outputs = self.base.model.get_image_features(patches, grids, return_dict=True)
        levels = (outputs.pooler_output, *(getattr(outputs, "deepstack_features", None) or ()))
        counts = [self.reader.token_count(image.grid) for image in images]
        by_level = [level if isinstance(level, tuple) else level.split(counts) for level in levels]
        return [torch.stack(of_image) for of_image in zip(*by_level, strict=True)]

    def _read(self, images: Sequence[ImageKey]) -> list[Tensor]:
        found, missing = _known(images, self._patches.get)
        for image, patches in zip(missing, self.reader.patches(missing) if missing else (), strict=True):
            found[image] = patches
            if self.trains:
                self._patches.put(image, patches)
        return [found[image] for image in images]

    def _take_out(self) -> None:
        visual = self.visual.eval().requires_grad_(False)
        self.base.model._modules.pop("visual", None)
        self.base.model.__dict__["visual"] = visual

    def _fingerprint(self) -> str:
        """Name what features depend on besides the image."""
        digest = hashlib.sha256(f"{transformers.__version__} {self.visual.dtype} {self.reader.settings}".encode())
        for name, weight in sorted(self.visual.state_dict().items()):
            digest.update(name.encode())
            digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        return digest.hexdigest()


def _known(
    images: Sequence[ImageKey], get: Callable[[ImageKey], Tensor | None]
) -> tuple[dict[ImageKey, Tensor], list[ImageKey]]:
    """Return what is remembered of images, and which are not, each once."""
    looked_up = {image: get(image) for image in images}
    found = {image: tensor for image, tensor in looked_up.items() if tensor is not None}
    return found, [image for image in looked_up if image not in found]


def _calls(images: Sequence[ImageKey]) -> Iterator[list[ImageKey]]:
    """Part images into the calls of the tower, in order."""
    members: list[ImageKey] = []
    for image in images:
        if members and sum(one.patch_count for one in (*members, image)) > PATCHES_AT_ONCE:
            yield members
            members = []
        members.append(image)
    if members:
        yield members
