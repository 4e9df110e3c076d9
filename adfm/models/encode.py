"""A prompt to token ids and positions, and token ids back to text.

The one place where an image token is expanded: the chat template writes one per image, and the tower's grid says how
many stand in the prompt. Prompts are never truncated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from adfm.errors import ConfigError
from adfm.models.images import ImageKey, ImageReader
from adfm.types import Prompt

IMAGE_TOKEN = "<|image_pad|>"
VISION_TOKENS = (IMAGE_TOKEN, "<|video_pad|>", "<|vision_pad|>", "<|vision_start|>", "<|vision_end|>")
KNOWN_PROMPTS = 2048

RopeIndex = Callable[..., tuple[Tensor, Tensor]]
"""`get_rope_index` of a Qwen-VL model (transformers: models/qwen2_5_vl/modeling_qwen2_5_vl.py)."""


@dataclass(frozen=True, slots=True, eq=False)
class EncodedPrompt:
    """A prompt as a model reads it. The tensors are on the CPU and shared: do not write to them."""

    token_ids: Int[Tensor, " prompt"]
    positions: Int[Tensor, "3 prompt"]
    """Multimodal rotary positions: time, height, width."""
    next_position: int
    """Of the first token after the prompt, the same in all three axes."""
    images: tuple[ImageKey, ...]

    def extended(self, token_ids: Sequence[int]) -> EncodedPrompt:
        """Return the prompt with text tokens appended."""
        count = len(token_ids)
        added = torch.arange(self.next_position, self.next_position + count).expand(3, -1)
        return EncodedPrompt(
            token_ids=torch.cat([self.token_ids, torch.tensor(list(token_ids), dtype=torch.long)]),
            positions=torch.cat([self.positions, added], dim=1),
            next_position=self.next_position + count,
            images=self.images,
        )


class Encoder:
    """Text and images to ids, and back, for one checkpoint.

    Args:
        tokenizer: With a chat template that writes one image token for each `{"type": "image"}`.
        reader: Gives each image's grid.
        rope_index: The model's own computation of positions.
        vocabulary: Rows of the model's embedding, which may exceed the tokenizer's.
        prompt_tokens: A longer prompt is an error.
    """

    def __init__(
        self, tokenizer: Any, reader: ImageReader, rope_index: RopeIndex, *, vocabulary: int, prompt_tokens: int
    ) -> None:
        self.tokenizer = tokenizer
        self.reader = reader
        self.prompt_tokens = prompt_tokens
        added = {str(token): number for number, token in tokenizer.added_tokens_decoder.items()}
        self.image_token_id = added[IMAGE_TOKEN]
        self.suppressed_token_ids = (
            *(added[token] for token in VISION_TOKENS if token in added),
            *range(len(tokenizer), vocabulary),
        )
        self._chat_token_ids = {number for token, number in added.items() if token[:2] == "<|" and token[-2:] == "|>"}
        self._rope_index = rope_index
        self._encode = lru_cache(KNOWN_PROMPTS)(self._encode_text)

    def encode(self, prompt: Prompt) -> EncodedPrompt:
        """Encode a prompt, up to and including the opening of the model's turn.

        Text is remembered with the grids of its images: a prompt about another image of the same size costs little.

        Raises:
            ConfigError: if the prompt is longer than `prompt_tokens`, or its frame is not how the tower sees the image.
            DataError: if an image cannot be read.
        """
        text = self.tokenizer.apply_chat_template(list(prompt.messages), tokenize=False, add_generation_prompt=True)
        if (shown := text.count(IMAGE_TOKEN)) != len(prompt.images):
            raise ValueError(f"{prompt.id}: its messages show {shown} images, it has {len(prompt.images)}")
        images = tuple(self.reader.key(path) for path in prompt.images)
        token_ids, positions = self._encode(text, tuple(image.grid for image in images))
        encoded = EncodedPrompt(token_ids, positions, int(positions.max()) + 1, images)
        if len(encoded.token_ids) > self.prompt_tokens:
            raise ConfigError(
                f"{prompt.id}: its prompt has {len(encoded.token_ids)} tokens, more than "
                f"model.prompt_tokens={self.prompt_tokens}; raise it, or lower model.max_pixels"
            )
        if prompt.images and prompt.frame.image_size != (seen := self.reader.seen_size(encoded.images[-1])):
            raise ConfigError(
                f"{prompt.id}: the prompt speaks of {prompt.frame.image_size} pixels, the model sees {seen}: "
                f"the sample's width and height are wrong, or model.frames lacks factor={self.reader.factor} "
                "and the limits model.min_pixels and model.max_pixels"
            )
        return encoded

    def tokenize(self, text: str) -> list[int]:
        """Return the ids of text, without any token added around it."""
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def decode(self, token_ids: Sequence[int]) -> str:
        """Return the text of ids without the tokens of the chat format (`<|...|>`); `<think>` always stays."""
        kept = [int(number) for number in token_ids if int(number) not in self._chat_token_ids]
        return self.tokenizer.decode(kept, skip_special_tokens=False, clean_up_tokenization_spaces=False)

    def _encode_text(
        self, text: str, grids: tuple[tuple[int, int, int], ...]
    ) -> tuple[Int[Tensor, " prompt"], Int[Tensor, "3 prompt"]]:
        """Give ids and positions, which depend on an image by its grid alone."""
        remaining = iter(grids)
        token_ids: list[int] = []
        for number in self.tokenize(text):
            grid = next(remaining, None) if number == self.image_token_id else None
            token_ids.extend([number] * (self.reader.token_count(grid) if grid else 1))
        ids = torch.tensor(token_ids, dtype=torch.long)
        kinds = ids.eq(self.image_token_id).int()
        of_images = torch.tensor(grids, dtype=torch.long) if grids else None
        positions, _ = self._rope_index(ids[None], kinds[None], image_grid_thw=of_images)
        return ids, positions[:, 0]
