from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from PIL import Image
from transformers import Qwen2_5_VLProcessor, Qwen3VLProcessor

from adfm.errors import ConfigError
from adfm.models.vlm import VLM
from adfm.types import Prompt

Load = Callable[..., VLM]
MakePrompt = Callable[..., Prompt]


class Qwen25Processor(Qwen2_5_VLProcessor):
    """The stock processor, without the video part that needs torchvision."""

    def check_argument_for_proper_class(self, argument_name: str, argument: object) -> None:
        """Accept no video processor."""


class Qwen3Processor(Qwen3VLProcessor):
    """The stock processor, without the video part that needs torchvision."""

    def check_argument_for_proper_class(self, argument_name: str, argument: object) -> None:
        """Accept no video processor."""


PROCESSORS = {"qwen2_5": Qwen25Processor, "qwen3": Qwen3Processor}
SIZES = [[(112, 112)], [(200, 90), (64, 128), (112, 112)]]


def stock_inputs(vlm: VLM, family: str, prompt: Prompt) -> dict[str, torch.Tensor]:
    """What transformers' own processor makes of a prompt."""
    template = vlm.tokenizer.chat_template
    processor = PROCESSORS[family](vlm.image_processor, vlm.tokenizer, None, chat_template=template)
    text = vlm.tokenizer.apply_chat_template(list(prompt.messages), tokenize=False, add_generation_prompt=True)
    images = [Image.open(path).convert("RGB") for path in prompt.images]
    return processor(text=[text], images=images or None, return_tensors="pt", return_mm_token_type_ids=True)


@pytest.mark.parametrize("sizes", SIZES)
def test_prompt_equals_the_stock_path(load: Load, make_prompt: MakePrompt, family: str, sizes: list) -> None:
    vlm, prompt = load(train=False), make_prompt("parity", *sizes)
    encoded = vlm.encode(prompt)
    stock = stock_inputs(vlm, family, prompt)

    assert encoded.token_ids.tolist() == stock["input_ids"][0].tolist()
    assert [image.grid for image in encoded.images] == [tuple(grid) for grid in stock["image_grid_thw"].tolist()]
    positions, delta = vlm.base.model.get_rope_index(
        stock["input_ids"], stock["mm_token_type_ids"], image_grid_thw=stock["image_grid_thw"]
    )
    assert torch.equal(encoded.positions, positions[:, 0])
    assert encoded.next_position == len(encoded.token_ids) + int(delta)

    with torch.no_grad():
        plain = vlm.base(**stock).logits
        ours = vlm.base(
            input_ids=encoded.token_ids[None],
            position_ids=encoded.positions[:, None],
            mm_encoder_outputs=vlm.features([encoded]),
        ).logits
    torch.testing.assert_close(ours, plain, atol=1e-5, rtol=1e-5)


def test_prompt_without_images(load: Load, make_prompt: MakePrompt) -> None:
    vlm = load(train=False)
    shown = make_prompt("text", (112, 112))
    prompt = Prompt(
        id="text",
        sample=shown.sample,
        messages=({"role": "user", "content": "Nothing to see."},),
        images=(),
        frame=shown.frame,
        choices={},
        key="a",
    )
    encoded = vlm.encode(prompt)
    assert encoded.positions.tolist() == [list(range(len(encoded.token_ids)))] * 3
    assert vlm.features([encoded]) == {}


def test_extension_continues_the_positions(load: Load, make_prompt: MakePrompt) -> None:
    encoded = load(train=False).encode(make_prompt("extended", (112, 112)))
    longer = encoded.extended([5, 6]).extended([7])
    start = encoded.next_position
    assert longer.token_ids[-3:].tolist() == [5, 6, 7]
    assert longer.positions[:, -3:].tolist() == [[start, start + 1, start + 2]] * 3
    assert longer.next_position == start + 3
    assert longer.images == encoded.images


def test_encoding_is_remembered(load: Load, make_prompt: MakePrompt) -> None:
    vlm = load(train=False)
    first, second = (vlm.encode(make_prompt(name, (112, 112))) for name in ("again", "another"))
    assert first.token_ids is second.token_ids
    assert first.positions is second.positions
    assert [image.path.stem[:5] for encoded in (first, second) for image in encoded.images] == ["again", "anoth"]


def test_too_long_prompt_names_the_sample(load: Load, make_prompt: MakePrompt) -> None:
    vlm = load(train=False, prompt_tokens=20)
    with pytest.raises(ConfigError, match=r"^long: its prompt has \d+ tokens, more than model.prompt_tokens=20"):
        vlm.encode(make_prompt("long", (112, 112)))


def test_frame_must_be_what_the_model_sees(load: Load, make_prompt: MakePrompt, make_image: Callable) -> None:
    prompt = make_prompt("turned", (200, 90))
    make_image("turned0", 90, 200)
    with pytest.raises(ConfigError, match="turned: the prompt speaks of"):
        load(train=False).encode(prompt)


def test_messages_must_show_every_image(load: Load, make_prompt: MakePrompt) -> None:
    prompt = make_prompt("extra", (112, 112), text="An image: <|image_pad|>")
    with pytest.raises(ValueError, match="its messages show 2 images, it has 1"):
        load(train=False).encode(prompt)


def test_decoding_drops_the_chat_format_only(load: Load, family: str) -> None:
    vlm = load(train=False)
    text = "<think>A line [12, 34, 56, 78]</think> <answer>b</answer>"
    ids = vlm.tokenize(text + "<|im_end|><|endoftext|>")
    assert vlm.decode(ids) == text
    assert (vlm.tokenizer.convert_ids_to_tokens(ids[0]) == "<think>") == (family == "qwen3")
    assert tuple(ids[-2:]) == vlm.end_token_ids


def test_images_cannot_be_sampled(load: Load) -> None:
    vlm = load(train=False)
    suppressed = set(vlm.suppressed_token_ids)
    assert vlm.image_token_id in suppressed
    assert vlm.tokenizer.convert_tokens_to_ids("<|video_pad|>") in suppressed
    assert set(range(len(vlm.tokenizer), vlm.base.lm_head.out_features)) <= suppressed
    assert not suppressed & set(vlm.end_token_ids)
