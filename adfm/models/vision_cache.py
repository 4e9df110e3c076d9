"""What a frozen vision tower made of an image, kept: in memory up to a limit, then on disk.

A frozen tower is a function of the image alone: it runs once per image, not once per completion, forward and epoch.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Shaped
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

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

    An entry on disk is named after the image's bytes, its grid and `fingerprint`, and carries its own name and a
    checksum; one that does not match both (torn, corrupted, copied from elsewhere) is made again, never used.

    Args:
        memory_bytes: Limit of what is kept in memory.
        folder: Where entries lie on disk; None keeps nothing on disk.
        fingerprint: Names everything else the features depend on (processor settings, tower weights, dtype). Called at
            most once, and only with a folder, since hashing the weights of a large tower takes seconds.
    """

    def __init__(self, memory_bytes: int, folder: Path | None, fingerprint: Callable[[], str]) -> None:
        self.memory = MemoryStore(memory_bytes)
        self.folder = folder
        self._make_fingerprint = fingerprint
        self._fingerprint: str | None = None

    def get(self, key: ImageKey) -> Shaped[Tensor, "level token channel"] | None:
        """Return the features of an image on the CPU, or None if they have to be made."""
        features = self.memory.get(key)
        if features is None and self.folder is not None:
            features = self._load(key)
            if features is not None:
                self.memory.put(key, features)
        return features

    def put(self, key: ImageKey, features: Shaped[Tensor, "level token channel"]) -> None:
        """Keep the features of an image."""
        self.memory.put(key, features)
        if self.folder is not None:
            self._save(key, features)

    def entry(self, key: ImageKey) -> Path:
        """Return where the features of an image lie on disk."""
        if self.folder is None:
            raise ValueError("this cache keeps nothing on disk")
        if self._fingerprint is None:
            self._fingerprint = self._make_fingerprint()
        name = hashlib.sha256(f"{key.digest} {key.grid} {self._fingerprint}".encode()).hexdigest()
        return self.folder / name[:2] / f"{name}.safetensors"

    def _load(self, key: ImageKey) -> Tensor | None:
        path = self.entry(key)
        try:
            with safe_open(path, framework="pt") as file:
                metadata, features = file.metadata() or {}, file.get_tensor("features")
        except FileNotFoundError:
            return None
        except (SafetensorError, OSError):
            path.unlink(missing_ok=True)
            return None
        if metadata != _metadata(path, features):
            path.unlink(missing_ok=True)
            return None
        return features

    def _save(self, key: ImageKey, features: Tensor) -> None:
        path = self.entry(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        features = features.contiguous()
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
            file.write(save({"features": features}, metadata=_metadata(path, features)))
        Path(file.name).replace(path)


def _metadata(path: Path, features: Tensor) -> dict[str, str]:
    content = features.contiguous().view(torch.uint8).numpy().tobytes()
    return {"entry": path.stem, "checksum": hashlib.sha256(content).hexdigest()}
