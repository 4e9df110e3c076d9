"""What a frozen vision tower made of an image, kept: in memory up to a limit, then on disk.

A frozen tower is a function of the image alone: it runs once per image, not once per completion, forward and epoch.
"""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from jaxtyping import Shaped
from torch import Tensor

from adfm.models.disk_store import DiskStore
from adfm.models.images import ImageKey


def default_folder() -> Path:
    """Return where features lie on disk: `$ADFM_CACHE/features`, or `~/.cache/adfm/features`."""
    return Path(os.environ.get("ADFM_CACHE") or Path.home() / ".cache" / "adfm") / "features"


class MemoryStore:
    """Tensors by key, the least recently used dropped first.

    Args:
        limit_bytes: Of all tensors together; a tensor that is larger by itself is not kept.

    Attributes:
        newest: So many of the newest are kept whatever they take.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.newest = 0
        self.used_bytes = 0
        self._tensors: OrderedDict[ImageKey, Tensor] = OrderedDict()

    def get(self, key: ImageKey) -> Tensor | None:
        """Return the tensor of a key, or None."""
        if key in self._tensors:
            self._tensors.move_to_end(key)
        return self._tensors.get(key)

    def put(self, key: ImageKey, tensor: Tensor) -> None:
        """Keep a tensor, dropping others until it fits."""
        if key in self._tensors or (tensor.nbytes > self.limit_bytes and not self.newest):
            return
        self._tensors[key] = tensor
        self.used_bytes += tensor.nbytes
        while self.used_bytes > self.limit_bytes and len(self._tensors) > self.newest:
            self.used_bytes -= self._tensors.popitem(last=False)[1].nbytes


class VisionCache:
    """Features by image: memory first, then disk.

    An entry on disk is named after the image's bytes, its grid and `fingerprint`.

    Args:
        memory_bytes: Limit of what is kept in memory.
        disk: Keeps entries on disk; None keeps nothing there.
        fingerprint: Names everything else the features depend on (processor settings, tower weights, dtype). Called at
            most once, and only with a disk, since hashing the weights of a large tower takes seconds.
    """

    def __init__(self, memory_bytes: int, disk: DiskStore | None, fingerprint: Callable[[], str]) -> None:
        self.memory = MemoryStore(memory_bytes)
        self.disk = disk
        self._make_fingerprint = fingerprint
        self._fingerprint: str | None = None

    def get(self, key: ImageKey) -> Shaped[Tensor, "level token channel"] | None:
        """Return the features of an image on the CPU, or None if they have to be made."""
        features = self.memory.get(key)
        if features is None and self.disk is not None:
            features = self.disk.get(self.name(key))
            if features is not None:
                self.memory.put(key, features)
        return features

    def put(self, key: ImageKey, features: Shaped[Tensor, "level token channel"]) -> None:
        """Keep the features of an image."""
        self.memory.put(key, features)
        if self.disk is not None:
            self.disk.put(self.name(key), features)

    def name(self, key: ImageKey) -> str:
        """Return what the features of an image are called on disk."""
        if self._fingerprint is None:
            self._fingerprint = self._make_fingerprint()
        return hashlib.sha256(f"{key.digest} {key.grid} {self._fingerprint}".encode()).hexdigest()
