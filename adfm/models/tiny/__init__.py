"""The embedded model: its checkpoint folder and the recipe that makes it."""

from __future__ import annotations

from pathlib import Path


def folder() -> Path:
    """Return the packaged checkpoint folder, an ordinary Hugging Face folder."""
    return Path(__file__).parent / "checkpoint"
