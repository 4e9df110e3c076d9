"""Scaled-down random checkpoints in the on-disk format of the released families.

`write_qwen2_5_vl` writes what `Qwen/Qwen2.5-VL-3B-Instruct` looks like on disk, `write_qwen3_vl` what
`Qwen/Qwen3-VL-4B-Instruct` does: configuration layout, weight names, tied head, shards with an index, tokenizer files,
chat template, image processor and generation configuration. Only the sizes differ (about 1 MB).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoModelForImageTextToText, PretrainedConfig, Qwen2_5_VLConfig, Qwen3VLConfig

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
THINK_TOKENS = ("<think>", "</think>")
"""Tokens of Qwen3-VL that are single but not special: decoding keeps them."""

QWEN2_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SYSTEM = (
    "{% if loop.first and message.role != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
)
CHAT_TEMPLATE = (
    "{% for message in messages %}@SYSTEM@<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}"
    "{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part.type == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CORPUS = (
    "<think>The region [12, 34, 56, 78] shows a scratch on the metal surface.</think><answer>a</answer>",
    "<rethink>Looking closer, the texture is regular and no defect is visible.</rethink><answer>B</answer>",
    "You are a helpful assistant. Is there an anomaly in the image of the tile? Answer with one letter.",
    'A. Yes. B. No. The image is 112 x 112 pixels. {"bbox_2d": [0, 0, 28, 28], "label": "crack"}',
)


def write_qwen2_5_vl(folder: Path, seed: int = 0) -> Path:
    """Write a random Qwen2.5-VL checkpoint into `folder` and return it."""
    ids = _write_tokenizer(folder, "Qwen2_5_VLProcessor", CHAT_TEMPLATE.replace("@SYSTEM@", SYSTEM), SPECIAL_TOKENS)
    layout: dict[str, Any] = {
        "architectures": ["Qwen2_5_VLForConditionalGeneration"],
        "attention_dropout": 0.0,
        **_ids_of_tokens(ids),
        "vision_token_id": ids["<|vision_pad|>"],
        "hidden_act": "silu",
        "hidden_size": 64,
        "initializer_range": 0.02,
        "intermediate_size": 128,
        "max_position_embeddings": 4096,
        "max_window_layers": 70,
        "model_type": "qwen2_5_vl",
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0,
        "sliding_window": 32768,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.41.2",
        "use_cache": True,
        "use_sliding_window": False,
        "vision_config": {
            "depth": 2,
            "hidden_act": "silu",
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "in_chans": 3,
            "out_hidden_size": 64,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "spatial_patch_size": 14,
            "window_size": 112,
            "fullatt_block_indexes": [1],
            "tokens_per_second": 2,
            "temporal_patch_size": 2,
        },
        "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]},
        "vocab_size": 384,
    }
    _write_weights(folder, Qwen2_5_VLConfig.from_dict(layout), layout, seed)
    _write_json(
        folder / "preprocessor_config.json",
        {
            "min_pixels": 3136,
            "max_pixels": 12845056,
            "patch_size": 14,
            "temporal_patch_size": 2,
            "merge_size": 2,
            "image_mean": [0.48145466, 0.4578275, 0.40821073],
            "image_std": [0.26862954, 0.26130258, 0.27577711],
            "image_processor_type": "Qwen2VLImageProcessor",
            "processor_class": "Qwen2_5_VLProcessor",
        },
    )
    _write_json(folder / "generation_config.json", _generation(ids, repetition_penalty=1.05, temperature=0.000001))
    return folder


def write_qwen3_vl(folder: Path, seed: int = 0) -> Path:
    """Write a random Qwen3-VL checkpoint into `folder` and return it."""
    template = CHAT_TEMPLATE.replace("@SYSTEM@", "")
    ids = _write_tokenizer(folder, "Qwen3VLProcessor", template, SPECIAL_TOKENS, THINK_TOKENS)
    tokens = _ids_of_tokens(ids)
    layout: dict[str, Any] = {
        "architectures": ["Qwen3VLForConditionalGeneration"],
        "model_type": "qwen3_vl",
        **{name: tokens[name] for name in tokens if name not in ("bos_token_id", "eos_token_id")},
        "text_config": {
            "attention_bias": False,
            "attention_dropout": 0.0,
            "bos_token_id": tokens["bos_token_id"],
            "eos_token_id": tokens["eos_token_id"],
            "dtype": "bfloat16",
            "head_dim": 16,
            "hidden_act": "silu",
            "hidden_size": 64,
            "initializer_range": 0.02,
            "intermediate_size": 128,
            "max_position_embeddings": 4096,
            "model_type": "qwen3_vl_text",
            "num_attention_heads": 4,
            "num_hidden_layers": 3,
            "num_key_value_heads": 2,
            "rms_norm_eps": 1e-06,
            "rope_scaling": {"mrope_interleaved": True, "mrope_section": [2, 3, 3], "rope_type": "default"},
            "rope_theta": 5000000,
            "tie_word_embeddings": True,
            "use_cache": True,
            "vocab_size": 384,
        },
        "tie_word_embeddings": True,
        "transformers_version": "4.57.0.dev0",
        "vision_config": {
            "deepstack_visual_indexes": [0, 1],
            "depth": 3,
            "hidden_act": "gelu_pytorch_tanh",
            "hidden_size": 32,
            "in_channels": 3,
            "initializer_range": 0.02,
            "intermediate_size": 64,
            "model_type": "qwen3_vl",
            "num_heads": 2,
            "num_position_embeddings": 64,
            "out_hidden_size": 64,
            "patch_size": 16,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
        },
    }
    _write_weights(folder, Qwen3VLConfig.from_dict(layout), layout, seed)
    _write_json(
        folder / "preprocessor_config.json",
        {
            "size": {"longest_edge": 16777216, "shortest_edge": 65536},
            "patch_size": 16,
            "temporal_patch_size": 2,
            "merge_size": 2,
            "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.5, 0.5, 0.5],
            "processor_class": "Qwen3VLProcessor",
            "image_processor_type": "Qwen2VLImageProcessorFast",
        },
    )
    _write_json(folder / "generation_config.json", _generation(ids, top_p=0.8, top_k=20, temperature=0.7))
    return folder


def _generation(ids: dict[str, int], **sampling: float) -> dict[str, Any]:
    """The hub's generation configuration, whose sampling settings must never reach a rollout."""
    end, pad = ids["<|im_end|>"], ids["<|endoftext|>"]
    return {
        "bos_token_id": pad,
        "pad_token_id": pad,
        "do_sample": True,
        "eos_token_id": [end, pad],
        **sampling,
        "transformers_version": "4.49.0",
    }


def _ids_of_tokens(ids: dict[str, int]) -> dict[str, int]:
    return {
        "bos_token_id": ids["<|endoftext|>"],
        "eos_token_id": ids["<|im_end|>"],
        "vision_start_token_id": ids["<|vision_start|>"],
        "vision_end_token_id": ids["<|vision_end|>"],
        "image_token_id": ids["<|image_pad|>"],
        "video_token_id": ids["<|video_pad|>"],
    }


def _write_weights(folder: Path, config: PretrainedConfig, layout: dict[str, Any], seed: int) -> None:
    """Save random weights in shards, then put the released layout of the configuration in place of the saved one."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForImageTextToText.from_config(config, dtype=torch.float32)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.08) if parameter.ndim > 1 else parameter.data.add_(0.01)
    model.to(torch.bfloat16).save_pretrained(folder, max_shard_size="200KB")
    _write_json(folder / "config.json", layout)


def _write_tokenizer(
    folder: Path, processor_class: str, template: str, special: tuple[str, ...], plain: tuple[str, ...] = ()
) -> dict[str, int]:
    """Train a byte-level BPE tokenizer with single digits, write its files and return the ids of its added tokens."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2_WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=340, initial_alphabet=alphabet))
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in plain])
    tokenizer.save(str(folder / "tokenizer.json"))
    tokenizer.model.save(str(folder))
    ids = {token: tokenizer.token_to_id(token) for token in (*special, *plain)}
    _write_json(
        folder / "tokenizer_config.json",
        {
            "add_bos_token": False,
            "add_prefix_space": False,
            "added_tokens_decoder": {
                str(number): {
                    "content": token,
                    "lstrip": False,
                    "normalized": False,
                    "rstrip": False,
                    "single_word": False,
                    "special": token in special,
                }
                for token, number in ids.items()
            },
            "additional_special_tokens": list(special[1:]),
            "bos_token": None,
            "chat_template": template,
            "clean_up_tokenization_spaces": False,
            "eos_token": "<|im_end|>",
            "errors": "replace",
            "model_max_length": 4096,
            "pad_token": "<|endoftext|>",
            "processor_class": processor_class,
            "split_special_tokens": False,
            "tokenizer_class": "Qwen2Tokenizer",
            "unk_token": None,
        },
    )
    _write_json(folder / "chat_template.json", {"chat_template": template})
    return ids


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
