"""What a run ran on, for `env.json`: enough to explain why two runs of one config differ."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from typing import Any

import torch

from adfm.config.compose import PACKAGE

PACKAGES = ("torch", "transformers", "tokenizers", "peft", "deepspeed", "hydra-core", "omegaconf", "numpy")


def environment() -> dict[str, Any]:
    """Return versions, the commit of adfm if it runs from a checkout, and the devices."""
    return {
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "git": _git(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "gpus": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
    }


def _git() -> dict[str, Any] | None:
    if not (PACKAGE.parent / ".git").exists():
        return None
    return {"commit": _git_output("rev-parse", "HEAD"), "dirty": bool(_git_output("status", "--porcelain"))}


def _git_output(*arguments: str) -> str | None:
    """What a git command prints about the checkout; None where git is missing or refuses."""
    try:
        result = subprocess.run(
            ["git", "-C", str(PACKAGE.parent), *arguments], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout.strip()
