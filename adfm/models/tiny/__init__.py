"""The embedded model: its checkpoint folder and the recipe that makes it."""

from __future__ import annotations

from pathlib import Path

TRAINED_ON = ("synthetic",)
"""Data sets that the packaged checkpoint was trained on: those of conf/coldstart.yaml with `recipe=tiny`."""


def folder() -> Path:
    """Return the packaged checkpoint folder, an ordinary Hugging Face folder."""
    return Path(__file__).parent / "checkpoint"
