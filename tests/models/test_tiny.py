"""The embedded model's architecture, tokenizer and checkpoint folder."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer

from adfm.models import tiny
from adfm.models.tiny import architecture, tokenizer

COMPLETION = "<think>A scratch at [[12, 34, 56, 78], [1, 2, 3, 112]].</think>\n<answer>a</answer>"


@pytest.fixture(scope="module")
def trained():
    return tokenizer.train([COMPLETION, "Where is the defect in the image of 112 x 112 pixels?"] * 3)


def test_tokenizer_is_the_same_twice(trained):
    again = tokenizer.train([COMPLETION, "Where is the defect in the image of 112 x 112 pixels?"] * 3)
    assert again.backend_tokenizer.to_str() == trained.backend_tokenizer.to_str()


@pytest.mark.parametrize("text", [COMPLETION, "Ünknown\twörds <b> 你好 ]]>>", "a<b", "", "1,2 ,3\n\n<"])
def test_tokenizer_gives_any_text_back(trained, text):
    assert trained.decode(trained(text, add_special_tokens=False).input_ids) == text


def test_digits_and_tags_are_single_tokens(trained):
    ids = trained(COMPLETION, add_special_tokens=False).input_ids
    pieces = [trained.decode([token]) for token in ids]
    assert pieces[0] == "<think>"
    assert pieces[-3:] == ["<answer>", "a", "</answer>"]
    assert not [piece for piece in pieces if any(c.isdigit() for c in piece) and len(piece) > 1]


def test_chat_format(trained):
    messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Look."}]}]
    text = trained.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    image = "<|vision_start|><|image_pad|><|vision_end|>"
    assert text == f"<|im_start|>user\n{image}Look.<|im_end|>\n<|im_start|>assistant\n"


def test_architecture_has_the_promised_size(trained):
    model = architecture.make(trained)
    assert 1_500_000 <= sum(parameter.numel() for parameter in model.parameters()) <= 3_000_000
    assert model.lm_head.weight is model.model.language_model.embed_tokens.weight


def test_packaged_folder_loads_as_any_other():
    folder = tiny.folder()
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 8 * 2**20
    model = AutoModelForImageTextToText.from_pretrained(folder)
    words = AutoTokenizer.from_pretrained(folder)
    processor = AutoImageProcessor.from_pretrained(folder)
    assert model.dtype == torch.bfloat16
    assert 1_500_000 <= sum(parameter.numel() for parameter in model.parameters()) <= 3_000_000
    assert len(words) == model.config.text_config.vocab_size
    assert words.convert_tokens_to_ids("<|image_pad|>") == model.config.image_token_id
    assert processor.size["longest_edge"] == architecture.IMAGE_SIDE**2
