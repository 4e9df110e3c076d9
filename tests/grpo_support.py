"""What the tests of the loop share: configs of random checkpoints, and the stock attention to compare with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import tiny_checkpoints

from adfm.models.vlm import VLM
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
        "prompt_tokens": 512,
        "frames": FRAMES[json.loads((folder / "config.json").read_text())["model_type"]],
    }
    return SimpleNamespace(**(numbers | changes))


@contextmanager
def stock_attention(vlm: VLM) -> Iterator[None]:
    """Run the language model with transformers' own attention."""
    text = vlm.base.model.language_model.config
    before, text._attn_implementation = text._attn_implementation, "sdpa"
    yield
    text._attn_implementation = before
