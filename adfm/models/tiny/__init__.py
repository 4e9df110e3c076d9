"""The embedded model: its checkpoint folder and the recipes that make it."""

from __future__ import annotations

from pathlib import Path


def folder() -> Path:
    """Return the packaged checkpoint folder, an ordinary Hugging Face folder."""
    return Path(__file__).parent / "checkpoint"
