"""Writing files."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file, and the folders above it, so that a reader sees the old content or the new, never a part.

    What a process leaves that dies meanwhile is beside the file, as `.<name>.<process>`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    draft.replace(path)
