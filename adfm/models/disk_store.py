"""Tensors by name in a folder up to a limit, the least recently used removed first; several processes may share it."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

LOOK_EVERY = 1 / 20
"""Share of the limit that a process writes before it looks again at what all of them have written."""
FULL = 0.9
"""Share of the limit that is left when entries are removed."""
ABANDONED = 3600
"""Age in seconds at which a half-written file belongs to a process that died."""


class DiskStore:
    """One safetensors file an entry, which carries its own name and a checksum.

    An entry that does not match both (torn, corrupted, copied from elsewhere) is removed, never used. The limit holds
    for all that share the folder, give or take a twentieth of it for each process.

    Args:
        folder: Where the entries lie.
        limit_bytes: Of all entries together; an entry that is larger by itself is not kept.
    """

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self.folder = folder
        self.limit_bytes = limit_bytes
        self._written: int | None = None

    def path(self, name: str) -> Path:
        """Return where an entry lies; `name` is hexadecimal."""
        return self.folder / name[:2] / f"{name}.safetensors"

    def get(self, name: str) -> Tensor | None:
        """Return the tensor of a name, or None."""
        path = self.path(name)
        try:
            with safe_open(path, framework="pt") as file:
                metadata, tensor = file.metadata() or {}, file.get_tensor("features")
            if metadata == _metadata(path, tensor):
                os.utime(path)
                return tensor
        except FileNotFoundError:
            return None
        except (SafetensorError, OSError):
            pass
        path.unlink(missing_ok=True)
        return None

    def put(self, name: str, tensor: Tensor) -> None:
        """Keep a tensor, then remove others if there are too many."""
        if tensor.nbytes > self.limit_bytes:
            return
        path, tensor = self.path(name), tensor.contiguous()
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
            file.write(save({"features": tensor}, metadata=_metadata(path, tensor)))
        Path(file.name).replace(path)
        self._written = None if self._written is None else self._written + tensor.nbytes
        if self._written is None or self._written > LOOK_EVERY * self.limit_bytes:
            self._trim()
            self._written = 0

    def _trim(self) -> None:
        """Remove what was not used for longest; where another process is at it, leave it to that one."""
        try:
            with FileLock(self.folder / "lock", timeout=0):
                entries = sorted(self._entries())
                total = sum(size for _, size, _ in entries)
                if total > self.limit_bytes:
                    for _, size, path in entries:
                        if total <= FULL * self.limit_bytes:
                            break
                        path.unlink(missing_ok=True)
                        total -= size
        except Timeout:
            pass

    def _entries(self) -> Iterator[tuple[float, int, Path]]:
        """Yield the time of last use, the size and the path of each entry; what a dead process left is removed."""
        now = time.time()
        for path in self.folder.glob("*/*"):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            if path.suffix == ".safetensors":
                yield status.st_mtime, status.st_size, path
            elif path.suffix == ".part" and now - status.st_mtime > ABANDONED:
                path.unlink(missing_ok=True)


def _metadata(path: Path, tensor: Tensor) -> dict[str, str]:
    content = tensor.contiguous().view(torch.uint8).numpy().tobytes()
    return {"entry": path.stem, "checksum": hashlib.sha256(content).hexdigest()}
