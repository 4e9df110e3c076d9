"""A vision-language model as the rest of adfm sees it: ids, positions, features; load, save, reference."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from adfm.models import checkpoint, training
from adfm.models.card import Card, write_card
from adfm.models.disk_store import DiskStore
from adfm.models.encode import EncodedPrompt, Encoder
from adfm.models.images import ImageKey, ImageReader
from adfm.models.tower import EncoderOutputs, VisionTower
from adfm.models.vision_cache import default_folder
from adfm.types import Frames, Prompt

__all__ = ["VLM", "EncodedPrompt", "ImageKey"]

MEGABYTE = 2**20
GIGABYTE = 2**30


class VLM:
    """A Qwen-VL checkpoint with its tokenizer, image processor and vision tower.

    Attributes:
        model: What trains and is sharded: the Hugging Face model, or the `PeftModel` around it.
        base: The inner `Qwen*ForConditionalGeneration`, also under LoRA (whose adapters then sit in its layers).
        tower: The vision tower; while frozen it is no submodule of `base`.
        frames: Makes the coordinate frame of an image in this family's convention.
        image_token_id: Stands for one feature of an image.
        end_token_ids: Each ends a completion.
        pad_token_id: Fills rows; never scored.
        suppressed_token_ids: Never sampled: image and vision tokens, and rows of the embedding that are no token.
    """

    def __init__(self, config: Any, model: Any, encoder: Encoder, tower: VisionTower, frames: Frames) -> None:
        """Use `load`."""
        self.config = config
        self.model = model
        self.tower = tower
        self.frames = frames
        self.tokenizer = encoder.tokenizer
        self.image_processor = encoder.reader.image_processor
        self.image_token_id = encoder.image_token_id
        self.suppressed_token_ids = encoder.suppressed_token_ids
        ends = self.base.generation_config.eos_token_id or self.tokenizer.eos_token_id
        self.end_token_ids: tuple[int, ...] = tuple(ends) if isinstance(ends, list) else (ends,)
        pad = self.tokenizer.pad_token_id
        self.pad_token_id: int = self.end_token_ids[0] if pad is None else pad
        self._encoder = encoder
        self._reference: VLM | None = None

    @classmethod
    def load(cls, config: Any, *, device: str | torch.device = "cpu", train: bool) -> VLM:
        """Load a checkpoint.

        Args:
            config: Has the fields of `adfm.config.schema.ModelConfig`; `frames` is the object itself.
            device: Where weights and features live.
            train: Whether freeze rules, LoRA and gradient checkpointing apply; otherwise all is frozen, in eval mode.

        Raises:
            ConfigError: if the checkpoint cannot be had, or what is to train contradicts it or itself.
        """
        source = checkpoint.Source.of(config.path, config.revision)
        base = checkpoint.load_base(source, getattr(torch, config.dtype)).to(device)
        training.freeze(base, config.freeze if train else training.EVERYTHING)
        limits = {"min_pixels": config.min_pixels, "max_pixels": config.max_pixels}
        reader = ImageReader.load(source.path, revision=source.revision, **limits)
        disk_bytes = int(config.feature_cache_disk_gb * GIGABYTE)
        tower = VisionTower(
            base,
            reader,
            trains=any(weight.requires_grad for weight in base.model.visual.parameters()),
            memory_bytes=config.feature_cache_mb * MEGABYTE,
            disk=DiskStore(default_folder(), disk_bytes) if config.feature_cache_disk else None,
        )
        encoder = Encoder(
            checkpoint.load_tokenizer(source),
            reader,
            base.model.get_rope_index,
            vocabulary=base.get_input_embeddings().num_embeddings,
            prompt_tokens=config.prompt_tokens,
        )
        model = training.policy(base, source, config) if train else training.as_saved(base, source)
        return cls(config, model, encoder, tower, config.frames)

    @property
    def base(self) -> Any:
        """The inner model for conditional generation."""
        return self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model

    @property
    def device(self) -> torch.device:
        """Where the language model is."""
        return self.base.get_input_embeddings().weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Of weights and activations."""
        return self.base.get_input_embeddings().weight.dtype

    def encode(self, prompt: Prompt) -> EncodedPrompt:
        """Encode a prompt up to and including the opening of the model's turn; see `Encoder.encode` for the errors."""
        return self._encoder.encode(prompt)

    def tokenize(self, text: str) -> list[int]:
        """Return the ids of text, without any token added around it."""
        return self._encoder.tokenize(text)

    def decode(self, token_ids: Sequence[int]) -> str:
        """Return the text of ids without the tokens of the chat format."""
        return self._encoder.decode(token_ids)

    def features(self, encoded: Sequence[EncodedPrompt]) -> EncoderOutputs:
        """Return the features of all images of the prompts, in order, as `forward(mm_encoder_outputs=...)` takes them.

        With a frozen tower they are computed once per image and kept; otherwise they carry gradients.
        """
        return self.tower.encoder_outputs([image for prompt in encoded for image in prompt.images])

    def hold(self, images: int) -> None:
        """Keep the newest `images` images in memory, whatever `feature_cache_mb` is.

        With as many as a step shows, no step opens an image twice: sampling, the reference and the update share it.
        """
        for vlm in (self, self._reference):
            if vlm is not None:
                vlm.tower.hold(images)

    def save(
        self, folder: Path, *, merged: bool = False, dtype: torch.dtype | None = None, card: Card | None = None
    ) -> None:
        """Write an ordinary Hugging Face folder, whole or not at all, in the place of an existing one.

        It has the tokenizer with its chat template, the image processor with this model's pixel limits and the
        generation configuration of the starting checkpoint. Under LoRA the weights are the adapter alone, which `load`
        and PEFT put on its base checkpoint. Under ZeRO-3 call it while the weights are gathered.

        Args:
            folder: Where to write.
            merged: Under LoRA, write whole weights with the adapter added in.
            dtype: Of the weights on disk; by default the one they have, so that nothing is lost.
            card: What the checkpoint was trained to be asked, written beside the weights.
        """
        with checkpoint.replacing(folder) as new:
            if isinstance(self.model, PeftModel) and not merged:
                checkpoint.write_adapter(new, self.model)
            else:
                checkpoint.write_weights(new, self.base, self.tower.state(), dtype or self.dtype)
            self.tokenizer.save_pretrained(new)
            self.image_processor.save_pretrained(new)
            if card is not None:
                write_card(new, card)

    @contextmanager
    def reference(self) -> Iterator[VLM]:
        """Give the model that the policy started from, to score with.

        Under LoRA it is this very model: with the adapter off, or, where the run goes on training a saved adapter, with
        that adapter as it was. Otherwise it is a frozen copy that shares all frozen weights, made at the first use: use
        it once before the first update, before weights are restored and before `deepspeed.initialize`.
        """
        if isinstance(self.model, PeftModel):
            with training.starting_adapter(self.model):
                yield self
            return
        if self._reference is None:
            self._reference = self._frozen_copy()
        yield self._reference

    def _frozen_copy(self) -> VLM:
        """Copy what trains and share everything else, the configuration too, so that both attend in the same way."""
        if any(hasattr(weight, "ds_id") for weight in self.model.parameters()):
            raise RuntimeError(
                "the reference must be made before deepspeed.initialize: enter VLM.reference() once before it"
            )
        shared: list[Any] = [weight for weight in self.model.parameters() if not weight.requires_grad]
        shared += [module.config for module in self.model.modules() if hasattr(module, "config")]
        if not self.tower.trains:
            shared.append(self.tower.visual)
        memo = {id(item): item for item in shared}
        twin = copy.copy(self)
        twin.model = copy.deepcopy(self.model, memo).requires_grad_(False).eval()
        twin.tower = self.tower.of(twin.model)
        return twin
