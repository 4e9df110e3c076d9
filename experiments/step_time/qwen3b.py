"""The 3B architecture with random weights as a checkpoint folder, and a scaled-down one that goes the same way.

Speed depends on shapes alone. The tokenizer is the embedded model's, so that no file has to be fetched: most rows of
the embedding are then no token.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForImageTextToText, Qwen2_5_VLConfig

from adfm.models import tiny

# Sizes: config.json of Qwen/Qwen2.5-VL-3B-Instruct on the hub.
LANGUAGE = {
    "vocab_size": 151936,
    "hidden_size": 2048,
    "intermediate_size": 11008,
    "num_hidden_layers": 36,
    "num_attention_heads": 16,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128000,
    "rms_norm_eps": 1e-6,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
}
TOWER = {
    "depth": 32,
    "hidden_size": 1280,
    "intermediate_size": 3420,
    "num_heads": 16,
    "patch_size": 14,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "tokens_per_second": 2,
    "window_size": 112,
    "fullatt_block_indexes": [7, 15, 23, 31],
    "out_hidden_size": 2048,
}
SHRUNK_LANGUAGE = {
    "vocab_size": 2048,
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
SHRUNK_TOWER = {
    "depth": 2,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_heads": 4,
    "fullatt_block_indexes": [1],
    "out_hidden_size": 256,
}
"""Widths of a head stay as they are."""


def write(folder: Path, *, shrunk: bool) -> Path:
    """Write the folder in bfloat16 and return it; the whole size takes 7.5 GB."""
    source = tiny.folder()
    ids = AutoConfig.from_pretrained(source)
    language: dict[str, Any] = LANGUAGE | (SHRUNK_LANGUAGE if shrunk else {})
    tower: dict[str, Any] = TOWER | (SHRUNK_TOWER if shrunk else {})
    ends = {name: getattr(ids.text_config, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    marks = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    config = Qwen2_5_VLConfig(
        vision_config=tower,
        text_config=language | ends,
        tie_word_embeddings=True,
        **{name: getattr(ids, name) for name in marks},
    )
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "preprocessor_config.json"):
        shutil.copy(source / name, folder / name)
    shutil.copy(source / "generation_config.json", folder / "generation_config.json")
    return folder


def layer_parameters(folder: Path) -> int:
    """Count the weights of the language model's layers, which every token meets; embedding and head are left out."""
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(AutoConfig.from_pretrained(folder))
    return sum(weight.numel() for weight in model.model.language_model.layers.parameters())
