"""An image file to the patches a vision tower takes: read once for its digest and its pixels, decoded when asked."""

from __future__ import annotations

import hashlib
import json
import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import AutoImageProcessor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from adfm.data.images import read_image, read_size
from adfm.errors import DataError

KNOWN_FILES = 65536
"""Image files whose hash and size are remembered; an entry takes a few hundred bytes."""
READING = 2
"""Counts up when `adfm.data.images` makes other pixels of the same file, so that kept features are made again."""
HELD_BYTES = 256 * 2**20
"""Of files that were read for their key and wait to be decoded: a few steps of large images."""


@dataclass(frozen=True, slots=True)
class ImageKey:
    """One image as a vision tower sees it: which file, which bytes, how many patches."""

    path: Path
    digest: str
    """SHA-256 of the file's bytes."""
    grid: tuple[int, int, int]
    """Patches along time (1 for a still image), height and width."""

    @property
    def patch_count(self) -> int:
        """Patches of the whole image."""
        return math.prod(self.grid)


class ImageReader:
    """Reads images for one image processor, as `adfm.data.images` shows them: boxes refer to these pixels."""

    def __init__(self, image_processor: Any) -> None:
        self.image_processor = image_processor
        self.factor: int = image_processor.patch_size * image_processor.merge_size
        self._key = lru_cache(KNOWN_FILES)(self._read_key)
        self._held: OrderedDict[ImageKey, bytes] = OrderedDict()
        self._held_bytes = 0

    @classmethod
    def load(cls, path: str, *, revision: str | None, min_pixels: int, max_pixels: int) -> ImageReader:
        """Load the image processor of a checkpoint with own pixel limits.

        The backend is always PIL: torchvision's differs slightly, and an image must give the same features everywhere.
        """
        processor = AutoImageProcessor.from_pretrained(
            path,
            revision=revision,
            backend="pil",
            min_pixels=min_pixels,
            max_pixels=max_pixels,
        )
        return cls(processor)

    @property
    def settings(self) -> str:
        """Everything that decides how pixels become patches, as canonical JSON."""
        return json.dumps([READING, self.image_processor.to_dict()], sort_keys=True, default=str)

    def key(self, path: Path) -> ImageKey:
        """Return the key of an image file; a file that changed on disk gets a new one.

        Raises:
            DataError: if the file is missing, is no image, or cannot be shown to the tower.
        """
        try:
            stat = path.stat()
        except OSError as error:
            raise DataError(f"{path}: cannot read this image ({error.strerror})") from error
        return self._key(path, stat.st_mtime_ns, stat.st_size)

    def token_count(self, grid: tuple[int, int, int]) -> int:
        """Return how many image tokens stand for an image of so many patches in a prompt."""
        return math.prod(grid) // self.image_processor.merge_size**2

    def seen_size(self, key: ImageKey) -> tuple[int, int]:
        """Return width and height in pixels of the image as the tower sees it."""
        _, height, width = key.grid
        return width * self.image_processor.patch_size, height * self.image_processor.patch_size

    def patches(self, keys: Sequence[ImageKey]) -> list[Float[Tensor, "patch channel"]]:
        """Decode and process images, from the bytes their keys were made from; a second time they are read again.

        Raises:
            DataError: if a file cannot be decoded, or is read again and no longer the one its key was made from.
        """
        images = [read_image(key.path, self._content(key)) for key in keys]
        processed = self.image_processor(images=images, return_tensors="pt")
        for key, grid in zip(keys, processed["image_grid_thw"].tolist(), strict=True):
            if tuple(grid) != key.grid:
                raise RuntimeError(f"{key.path}: the image processor made another grid than {key.grid}")
        return list(processed["pixel_values"].to(torch.float32).split([key.patch_count for key in keys]))

    def _read_key(self, path: Path, modified: int, size: int) -> ImageKey:
        content = _read(path)
        width, height = read_size(path, content)
        limits = self.image_processor.size
        try:
            seen_height, seen_width = smart_resize(
                height,
                width,
                factor=self.factor,
                min_pixels=limits["shortest_edge"],
                max_pixels=limits["longest_edge"],
            )
        except ValueError as error:
            raise DataError(f"{path}: {width} x {height} pixels cannot be resized for the model ({error})") from error
        patch = self.image_processor.patch_size
        key = ImageKey(path, hashlib.sha256(content).hexdigest(), (1, seen_height // patch, seen_width // patch))
        self._hold(key, content)
        return key

    def _hold(self, key: ImageKey, content: bytes) -> None:
        """Keep a file's bytes until it is decoded; the oldest that never were are dropped."""
        self._held_bytes += len(content) - len(self._held.pop(key, b""))
        self._held[key] = content
        while self._held_bytes > HELD_BYTES:
            self._held_bytes -= len(self._held.popitem(last=False)[1])

    def _content(self, key: ImageKey) -> bytes:
        if key in self._held:
            content = self._held.pop(key)
            self._held_bytes -= len(content)
            return content
        content = _read(key.path)
        if hashlib.sha256(content).hexdigest() != key.digest:
            raise DataError(f"{key.path}: this image changed while it was in use; start the run again")
        return content


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot read this image ({error.strerror})") from error
