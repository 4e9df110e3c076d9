"""What the tests of the loop share: configs of random checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import tiny_checkpoints

from adfm.reasoning.frames import AbsoluteFrames, RelativeFrames

FAMILIES = {"qwen2_5": tiny_checkpoints.write_qwen2_5_vl, "qwen3": tiny_checkpoints.write_qwen3_vl}
LIMITS = {"min_pixels": 56 * 56, "max_pixels": 112 * 112}
FRAMES = {"qwen2_5_vl": AbsoluteFrames(factor=28, **LIMITS), "qwen3_vl": RelativeFrames(factor=32, **LIMITS)}


def model_config(folder: Path, **changes: object) -> SimpleNamespace:
    """What `VLM.load` needs of a model's config."""
    numbers: dict[str, object] = {
        "path": str(folder),
        "revision": None,
        "dtype": "float32",
        **LIMITS,
        "freeze": SimpleNamespace(vision=True, merger=True, language=False),
        "lora": None,
        "gradient_checkpointing": False,
        "feature_cache_mb": 64,
        "feature_cache_disk": False,
        "feature_cache_disk_gb": 1.0,
        "prompt_tokens": 512,
        "frames": FRAMES[json.loads((folder / "config.json").read_text())["model_type"]],
    }
    return SimpleNamespace(**(numbers | changes))
