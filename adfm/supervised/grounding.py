"""Grounding of a language model that starts from random weights: its lower layers learn where an image token is.

A tower knows no absolute places, and a completion needs them. Left to the completions alone, three things have to be
found at once: where a token is, which token to look at, and how to write what it says; for a long time none is. Here
the first is learned by itself: from the hidden states of the image tokens, linear heads that are thrown away afterwards
read each cell's place and the box of the defect in it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from transformers.modeling_outputs import BaseModelOutputWithPooling

from adfm.grpo.schedule import Cosine
from adfm.models.vlm import VLM, EncodedPrompt
from adfm.supervised.images import SYMMETRIES, LabelledImages, drawn, features_of
from adfm.supervised.targets import BINS, DenseTargets, between_bins


class PlaceHeads(nn.Module):
    """Linear readings of an image token's hidden state; temporary."""

    def __init__(self, width: int, rows: int, columns: int) -> None:
        super().__init__()
        self.rows, self.columns = rows, columns
        self.row = nn.Linear(width, rows)
        self.column = nn.Linear(width, columns)
        self.box = nn.Linear(width, 4 * BINS)

    def losses(self, hidden: Float[Tensor, "image cell width"], targets: DenseTargets) -> dict[str, Tensor]:
        """Return the named parts of the loss."""
        hidden = functional.rms_norm(hidden, hidden.shape[-1:])
        cells = torch.arange(self.rows * self.columns).expand(hidden.shape[:2])
        parts = {
            "row": functional.cross_entropy(self.row(hidden).flatten(0, 1), (cells // self.columns).flatten()),
            "column": functional.cross_entropy(self.column(hidden).flatten(0, 1), (cells % self.columns).flatten()),
        }
        if targets.seen.any():
            boxes = targets.boxes(self.rows, self.columns)[targets.seen]
            parts["box"] = between_bins(self.box(hidden[targets.seen]), boxes, 0.0, 1.0)
        return parts


@dataclass(frozen=True, slots=True, kw_only=True)
class Grounding:
    """The recipe of the stage. With `steps` 0 there is none."""

    steps: int
    batch: int
    """Images of a step; all of one size."""
    learning_rate: float
    """After `warmup_steps` it falls along half a cosine."""
    warmup_steps: int
    layers: int
    """After how many layers of the language model the place must be known; the layers above are left as they are."""
    report_every: int

    def run(
        self,
        vlm: VLM,
        groups: Sequence[LabelledImages],
        opening: Callable[[LabelledImages], EncodedPrompt],
        *,
        seed: int,
        report: Callable[[Mapping[str, float]], None],
    ) -> dict[str, float]:
        """Train the language model's lower layers in place.

        Args:
            vlm: Loaded for training, its tower frozen. Its attention must still be the checkpoint's own.
            groups: Training images, of one size each.
            opening: Gives an encoded prompt for the images of a group; it is shown up to the end of its first image.
            seed: Of the heads and the order.
            report: Called with the numbers every `report_every` steps.

        Returns:
            The last losses.
        """
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        cell = vlm.image_processor.patch_size * vlm.image_processor.merge_size
        language = vlm.base.model.language_model
        heads = {
            group.pixels.shape[-2:]: PlaceHeads(
                language.config.hidden_size, group.pixels.shape[-2] // cell, group.pixels.shape[-1] // cell
            )
            for group in groups
        }
        parameters = [weight for weight in language.parameters() if weight.requires_grad]
        parameters += [weight for head in heads.values() for weight in head.parameters()]
        optimizer = torch.optim.AdamW(parameters, lr=self.learning_rate, weight_decay=0.01, betas=(0.9, 0.98))
        schedule = Cosine(warmup_steps=self.warmup_steps)
        numbers: dict[str, float] = {}
        started = time.monotonic()
        for step in range(1, self.steps + 1):
            for part in optimizer.param_groups:
                part["lr"] = self.learning_rate * schedule.factor(step, self.steps)
            group = drawn(groups, self.batch, generator)
            square = group.pixels.shape[-1] == group.pixels.shape[-2]
            turn = torch.randint(len(SYMMETRIES) if square else 4, (), generator=generator)
            images = group.turned(SYMMETRIES[int(turn)])
            hidden = self._hidden(vlm, images, opening(group), cell)
            parts = heads[images.pixels.shape[-2:]].losses(hidden, DenseTargets.of(images, cell))
            loss = sum(parts.values(), torch.zeros(()))
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if step % self.report_every == 0 or step == self.steps:
                numbers = {name: float(part.detach()) for name, part in parts.items()}
                report({"step": step, "seconds": time.monotonic() - started, **numbers})
        return numbers

    def _hidden(
        self, vlm: VLM, images: LabelledImages, opening: EncodedPrompt, cell: int
    ) -> Float[Tensor, "image cell width"]:
        """Run the language model up to the end of the first image; return its image tokens after `layers` layers."""
        with torch.no_grad():
            features = features_of(vlm.tower.visual, images.pixels, vlm.image_processor, cell)
        is_image = opening.token_ids == vlm.image_token_id
        end = int(is_image.nonzero()[0]) + features.shape[1]
        count = len(images)
        output = vlm.base.model(
            input_ids=opening.token_ids[:end].expand(count, -1),
            position_ids=opening.positions[:, None, :end].expand(-1, count, -1),
            mm_encoder_outputs={"image": BaseModelOutputWithPooling(pooler_output=tuple(features))},  # pyright: ignore[reportArgumentType]
            output_hidden_states=True,
            use_cache=False,
        )
        return output.hidden_states[self.layers][:, end - features.shape[1] : end]
