"""Prompts that begin alike are read once: the questions about one image share the image and all that stands before it.

Prompts that stand beside each other, show the same images and begin alike become one item of a packed row: what they
share, and the rest of each as if it were a completion. A rest may look at what is shared and at itself, and its
positions go on where that ends, so every token has the keys, values and hidden state that it has in its whole prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from adfm.grpo.attention import attend_by_layout
from adfm.grpo.logprob import hidden_states
from adfm.grpo.packing import PackItem, pack_row
from adfm.models.vlm import VLM, EncodedPrompt


@dataclass(frozen=True, slots=True)
class ReadPrompts:
    """Prompts after one forward, in their order."""

    last_hidden: Float[Tensor, "prompt hidden"]
    """Of each prompt's last token."""
    index: Int[Tensor, "prompt token"]
    """Where each token of a prompt stands in the packed row; 0 behind a prompt's end."""
    valid: Bool[Tensor, "prompt token"]
    """Which of them are tokens of the prompt."""


def read_prompts(vlm: VLM, encoded: Sequence[EncodedPrompt], **cache: object) -> ReadPrompts:
    """Run the language model over prompts, packed; what they share once. `cache` goes to `hidden_states`."""
    attend_by_layout(vlm)
    items = stems(encoded, vlm.image_token_id)
    hidden = hidden_states(vlm, pack_row(items, vlm.device), **cache)[0]
    places = _places(items)
    lengths = torch.tensor([len(place) for place in places], device=vlm.device)
    index = pad_sequence(places, batch_first=True).to(vlm.device)
    valid = torch.arange(index.shape[1], device=vlm.device) < lengths[:, None]
    return ReadPrompts(hidden[index.gather(1, lengths[:, None] - 1)[:, 0]], index, valid)


def stems(encoded: Sequence[EncodedPrompt], image_token_id: int) -> list[PackItem]:
    """Return the items that prompts make, in order; a prompt that shares nothing is an item without completions."""
    items = []
    for _, members in groupby(encoded, key=lambda prompt: prompt.images):
        prompts = list(members)
        length = _shared(prompts, image_token_id) if len(prompts) > 1 else 0
        if length:
            first = prompts[0]
            stem = EncodedPrompt(
                token_ids=first.token_ids[:length],
                positions=first.positions[:, :length],
                next_position=int(first.positions[0, length]),
                images=first.images,
            )
            items.append(PackItem(encoded=stem, completions=tuple(prompt.token_ids[length:] for prompt in prompts)))
        else:
            items += [PackItem(encoded=prompt, completions=()) for prompt in prompts]
    return items


def _shared(prompts: Sequence[EncodedPrompt], image_token_id: int) -> int:
    """Count the tokens with which all prompts begin; 0 if an image is not among them. Each keeps one of its own."""
    length = min(len(prompt.token_ids) for prompt in prompts) - 1
    first = prompts[0].token_ids[:length]
    for prompt in prompts[1:]:
        differs = (prompt.token_ids[:length] != first[:length]).nonzero()
        length = int(differs[0, 0]) if len(differs) else length
    rests = torch.cat([prompt.token_ids[length:] for prompt in prompts])
    return 0 if bool((rests == image_token_id).any()) else length


def _places(items: Sequence[PackItem]) -> list[Int[Tensor, " token"]]:
    places, cursor = [], 0
    for item in items:
        stem = torch.arange(cursor, cursor + len(item.encoded.token_ids))
        cursor += len(stem)
        if not item.completions:
            places.append(stem)
        for rest in item.completions:
            places.append(torch.cat([stem, torch.arange(cursor, cursor + len(rest))]))
            cursor += len(rest)
    return places
