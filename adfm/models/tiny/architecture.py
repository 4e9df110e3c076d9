"""The shape of the embedded model: a Qwen2.5-VL of 2.6 million parameters for images of 112 x 112 pixels.

It is the stock class with the processor conventions of the family (patches of 14, merged 2 x 2, a still image
repeated over two frames, M-RoPE), so every line that runs for it runs for the 3B.
"""

from __future__ import annotations

from typing import Any

from transformers import GenerationConfig, PreTrainedTokenizerBase, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

IMAGE_SIDE = 112
"""Pixels. 112 x 112 is one attention window of the family, 8 x 8 patches and 16 image tokens."""

TOWER = {
    "depth": 5,
    "hidden_size": 128,
    "intermediate_size": 320,
    "num_heads": 4,
    "patch_size": 14,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "window_size": 112,
    "fullatt_block_indexes": [0, 1, 2, 3, 4],
}
# Of the rotations, the width's are the slowest. With the usual theta of 10^4 to 10^6 they would not move over the 4
# columns of an image, and the model could not tell left from right; with one of 10 they would all turn so fast that an
# image token could not be found from a distance that varies with the prompt.
LANGUAGE = {
    "hidden_size": 160,
    "intermediate_size": 384,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-6,
    "rope_parameters": {"rope_type": "default", "rope_theta": 100.0, "mrope_section": [2, 9, 9]},
}


def make(tokenizer: PreTrainedTokenizerBase) -> Qwen2_5_VLForConditionalGeneration:
    """Make the model in float32 with weights drawn from torch's global generator.

    Args:
        tokenizer: Gives the size of the vocabulary and the ids of the family's special tokens.
    """
    token_id: dict[str, Any] = {token: tokenizer.convert_tokens_to_ids(token) for token in tokenizer.all_special_tokens}
    ends = {"eos_token_id": token_id["<|im_end|>"], "pad_token_id": token_id["<|endoftext|>"], "bos_token_id": None}
    config = Qwen2_5_VLConfig(
        vision_config=TOWER | {"out_hidden_size": LANGUAGE["hidden_size"]},
        text_config=LANGUAGE | ends | {"vocab_size": len(tokenizer)},
        image_token_id=token_id["<|image_pad|>"],
        video_token_id=token_id["<|video_pad|>"],
        vision_start_token_id=token_id["<|vision_start|>"],
        vision_end_token_id=token_id["<|vision_end|>"],
        tie_word_embeddings=True,
    )
    model = Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        do_sample=False,
        eos_token_id=[token_id["<|im_end|>"], token_id["<|endoftext|>"]],
        pad_token_id=token_id["<|endoftext|>"],
    )
    return model


def make_image_processor() -> Qwen2VLImageProcessorPil:
    """Make the family's image processor with both pixel limits at 112 x 112."""
    return Qwen2VLImageProcessorPil(min_pixels=IMAGE_SIDE**2, max_pixels=IMAGE_SIDE**2)
