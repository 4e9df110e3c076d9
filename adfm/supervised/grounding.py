"""Grounding of a language model that starts from random weights: it learns where an image token is, and to write boxes.

A tower knows no absolute places, and a completion needs them. Left to the completions alone, three things have to be
found at once: where an image token is, which one to look at, and how to write what it says; for a long time none is,
since most of a completion is wording. Here they are learned by themselves. Linear heads that are thrown away afterwards
read each cell's place and the box of its defect from hidden states of the lower layers, and behind the image the
model writes nothing but the boxes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from transformers.modeling_outputs import BaseModelOutputWithPooling

from adfm.models.vlm import VLM, EncodedPrompt
from adfm.reasoning.phrases import written as written_boxes
from adfm.supervised.descent import descend
from adfm.supervised.images import LabelledImages, drawn, features_of
from adfm.supervised.targets import BINS, DenseTargets, between_bins

WEIGHT_DECAY = 0.01
IGNORED = -100
"""Stands where there is nothing to predict."""


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
    """After how many layers of the language model the place must be known, so that those above can use it."""
    farthest: int
    """The boxes are written at a distance of 0 to this many tokens from the image, as behind prompts of any length."""
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
        """Train the language model in place.

        Args:
            vlm: Loaded for training, its tower frozen. Its attention must still be the checkpoint's own.
            groups: Training images with defects, of one size each.
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

        def losses() -> dict[str, Tensor]:
            group = drawn(groups, self.batch, generator)
            images = group.turned_at_random(generator)
            distance = int(torch.randint(self.farthest + 1, (), generator=generator))
            hidden, written = self._forward(vlm, images, opening(group), cell, distance)
            return heads[images.pixels.shape[-2:]].losses(hidden, DenseTargets.of(images, cell)) | {"written": written}

        return descend(
            parameters,
            losses,
            steps=self.steps,
            learning_rate=self.learning_rate,
            warmup_steps=self.warmup_steps,
            weight_decay=WEIGHT_DECAY,
            report_every=self.report_every,
            report=report,
        )

    def _forward(
        self, vlm: VLM, images: LabelledImages, opening: EncodedPrompt, cell: int, distance: int
    ) -> tuple[Float[Tensor, "image cell width"], Float[Tensor, ""]]:
        """Run the model over each image and its boxes; return its image tokens after `layers` layers and the loss.

        The loss is the cross-entropy of the boxes' tokens, end of the turn included. They stand as if there were
        `distance` tokens between them and the image.
        """
        with torch.no_grad():
            features = features_of(vlm.tower.visual, images.pixels, vlm.image_processor, cell)
        start = int((opening.token_ids == vlm.image_token_id).nonzero()[0])
        end = start + features.shape[1] + 1  # the token that closes the image
        texts = [torch.tensor([*vlm.tokenize(text), vlm.end_token_ids[0]]) for text in _boxes_written(images)]
        targets = nn.utils.rnn.pad_sequence(texts, batch_first=True, padding_value=IGNORED)
        token_ids = torch.cat([opening.token_ids[:end].expand(len(images), -1), targets[:, :-1].clamp(min=0)], dim=1)
        behind = opening.positions[:, :end].max() + 1 + distance + torch.arange(targets.shape[1] - 1)
        positions = torch.cat([opening.positions[:, :end], behind.expand(3, -1)], dim=1)
        output = vlm.base.model(
            input_ids=token_ids,
            position_ids=positions[:, None].expand(-1, len(images), -1),
            mm_encoder_outputs={"image": BaseModelOutputWithPooling(pooler_output=tuple(features))},  # pyright: ignore[reportArgumentType]
            output_hidden_states=True,
            use_cache=False,
        )
        logits = vlm.base.lm_head(output.last_hidden_state[:, end - 1 :])
        written = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
        return output.hidden_states[self.layers][:, start : end - 1], written


def _boxes_written(images: LabelledImages) -> list[str]:
    """Write the boxes of each image as its completions would, in pixels of the image as the model sees it."""
    height, width = images.pixels.shape[-2:]
    pixels = (images.boxes * torch.tensor([width, height, width, height])).round()
    present = ([tuple(box) for box in boxes.tolist() if box[0] == box[0]] for boxes in pixels)
    return [written_boxes(sorted(boxes, key=lambda box: (box[1], box[0]))) or "none" for boxes in present]
