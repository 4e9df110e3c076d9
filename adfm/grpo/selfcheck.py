"""Each fast piece against the plain path, once, on the machine, model and data of a run.

The plain path is transformers' own forward as any user calls it: pixel values, padded rows, the stock attention, the
whole vocabulary. What is compared is small, and a difference stops the run: a kernel, driver or version that breaks a
shortcut would otherwise teach the wrong thing without a word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from jaxtyping import Float
from torch import Tensor, nn

from adfm.grpo.attention import attend_by_layout, stock_attention
from adfm.grpo.guards import GuardError
from adfm.grpo.logprob import score
from adfm.grpo.packing import PackItem, pack_row
from adfm.grpo.rollout import Sampling, generate
from adfm.models.vlm import VLM, EncodedPrompt
from adfm.types import Completion, Prompt, Rollout

PROMPTS = 2
LENGTHS = (32, 16)
"""Tokens of a group's first and second completion that are compared."""
GREEDY_TOKENS = 8
PATCHES = 64
"""Patches are embedded one by one, and the convolution takes seconds for an image where it is worth replacing."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """The largest difference that is rounding."""

    unit: str
    allowed: Mapping[torch.dtype, float]


FEATURE = Tolerance("of the largest feature", {torch.float32: 1e-4, torch.bfloat16: 5e-2})
"""A bfloat16 has 8 significant bits, so a rounding is up to 0.4 %; a tower rounds at every layer, and kernels for other
shapes add in another order."""
LOGPROB = Tolerance("nats", {torch.float32: 1e-4, torch.bfloat16: 0.5})
"""A bfloat16 logit between 16 and 32 is a multiple of 0.125: two such steps for the token, two for all others."""


@torch.no_grad()
def check_fast_path(
    vlm: VLM, prompts: Sequence[Prompt], rollout: Rollout | None = None, *, seed: int
) -> dict[str, float]:
    """Compare each fast piece with the plain path; return the largest difference of each.

    Args:
        vlm: In eval mode, with whole weights: call it inside `engine.gathered()`.
        prompts: The first two are looked at.
        rollout: Draws the completions that are compared, at its own temperature; by default a small `Sampling`.
        seed: Of the draw.

    Raises:
        GuardError: a piece differs by more than rounding can; it says which, by how much, and on what.
    """
    attend_by_layout(vlm)
    rollout = rollout or Sampling(vlm, completion_tokens=max(LENGTHS), group_size=len(LENGTHS))
    prompts = prompts[:PROMPTS]
    encoded = [vlm.encode(prompt) for prompt in prompts]
    gaps = _feature_gaps(vlm, encoded) if any(item.images for item in encoded) else {}
    for piece, gap in gaps.items():
        _require(vlm, piece, gap, FEATURE)
    decoding = _decoding_gaps(vlm, encoded, rollout.sample(prompts, seed=seed), rollout.temperature)
    for piece, gap in decoding.items():
        _require(vlm, piece, gap, LOGPROB)
    return gaps | decoding


def _require(vlm: VLM, piece: str, gap: float, tolerance: Tolerance) -> None:
    allowed = tolerance.allowed[vlm.dtype]
    if not gap <= allowed:  # also where it is no number
        raise GuardError(
            f"{piece} differs from transformers' own forward by up to {gap:.2e} {tolerance.unit} (allowed: "
            f"{allowed:.0e} in {vlm.dtype}) with transformers {transformers.__version__} and torch {torch.__version__} "
            f"on {vlm.device}: stopped before it is used. Install the versions of constraints.txt; if "
            "that does not help, please report this message and model.path"
        )


def _feature_gaps(vlm: VLM, encoded: Sequence[EncodedPrompt]) -> dict[str, float]:
    patches, grids = _pixels(vlm, encoded)
    projection = vlm.tower.visual.patch_embed.proj
    kernels = patches[:PATCHES].view(-1, *projection.weight.shape[1:]).to(projection.weight.dtype)
    plain = vlm.base.model.get_image_features(patches, grids, return_dict=True)
    pairs = zip(_levels(vlm.features(encoded)["image"]), _levels(plain), strict=True)
    return {
        "the patch embedding": _share(projection(kernels), nn.Conv3d.forward(projection, kernels)),
        "the features of images": max(_share(fast, expected) for fast, expected in pairs),
    }


def _decoding_gaps(
    vlm: VLM, encoded: Sequence[EncodedPrompt], groups: Sequence[Sequence[Completion]], temperature: float
) -> dict[str, float]:
    """Score the sampler's completions, cut to `LENGTHS`, and a greedy one of each prompt, in every way there is."""
    greedy = generate(vlm, encoded, group_size=1, temperature=0, completion_tokens=GREEDY_TOKENS)
    items, expected, sampled, behind_best = [], [], [], []
    for item, group, (best,) in zip(encoded, groups, greedy, strict=True):
        drawn = list(zip(group, LENGTHS, strict=False))
        tokens = [*(one.token_ids[:length] for one, length in drawn), best.token_ids]
        items.append(PackItem(encoded=item, completions=tuple(map(torch.from_numpy, tokens))))
        plain = [_distribution(vlm, logits, temperature) for logits in plain_logits(vlm, items[-1])]
        logprobs = [_of(rows, ids) for rows, ids in zip(plain, items[-1].completions, strict=True)]
        expected += logprobs
        sampled += [
            logprob - torch.from_numpy(one.sampler_logprob[:length]).to(vlm.device)
            for logprob, (one, length) in zip(logprobs, drawn, strict=False)
        ]
        behind_best.append(plain[-1].max(-1).values - logprobs[-1])
    packed = score(vlm, pack_row(items, vlm.device), temperature).logprob
    return {
        "the log-probability of packed groups": _largest(packed - torch.cat(expected)),
        "the sampler's log-probability": _largest(torch.cat(sampled)),
        "the greedy choice of the decode loop": _largest(torch.cat(behind_best)),
    }


def plain_logits(vlm: VLM, item: PackItem) -> list[Float[Tensor, "token vocabulary"]]:
    """Return the logits that predict each completion's tokens, by the plain path: one right-padded row a completion."""
    prompt, count = len(item.encoded.token_ids), len(item.completions)
    longest = max(map(len, item.completions))
    token_ids = torch.full((count, prompt + longest), vlm.pad_token_id)
    mask = torch.zeros_like(token_ids)
    for row, completion in enumerate(item.completions):
        size = prompt + len(completion)
        token_ids[row, :size] = torch.cat([item.encoded.token_ids, completion])
        mask[row, :size] = 1
    images = {}
    if item.encoded.images:
        patches, grids = _pixels(vlm, [item.encoded] * count)
        images = {"pixel_values": patches, "image_grid_thw": grids}
    with stock_attention(vlm):
        output = vlm.base(
            input_ids=token_ids.to(vlm.device),
            attention_mask=mask.to(vlm.device),
            mm_token_type_ids=(token_ids == vlm.image_token_id).int().to(vlm.device),
            use_cache=False,
            logits_to_keep=longest + 1,  # from the prompt's last token on, the same in each row
            **images,
        )
    return [output.logits[row, : len(completion)] for row, completion in enumerate(item.completions)]


def _pixels(vlm: VLM, encoded: Sequence[EncodedPrompt]) -> tuple[Tensor, Tensor]:
    """Return patches and grids of all images, read anew."""
    images = [image for item in encoded for image in item.images]
    patches = torch.cat(vlm.tower.reader.patches(images))
    return patches.to(vlm.device), torch.tensor([image.grid for image in images], device=vlm.device)


def _levels(outputs: Any) -> list[Tensor]:
    levels = (outputs.pooler_output, *(getattr(outputs, "deepstack_features", None) or ()))
    return [level if isinstance(level, Tensor) else torch.cat(tuple(level)) for level in levels]


def _distribution(
    vlm: VLM, logits: Float[Tensor, "token vocabulary"], temperature: float
) -> Float[Tensor, "token vocabulary"]:
    """Log-probabilities of what is sampled: after the temperature, without the tokens that are never sampled."""
    logits = logits.float() / temperature
    logits[:, list(vlm.suppressed_token_ids)] = -torch.inf
    return logits.log_softmax(-1)


def _of(distribution: Float[Tensor, "token vocabulary"], token_ids: Tensor) -> Float[Tensor, " token"]:
    return distribution.gather(-1, token_ids.to(distribution.device)[:, None])[:, 0]


def _share(fast: Tensor, expected: Tensor) -> float:
    return _largest(fast.float() - expected.float()) / _largest(expected)


def _largest(values: Tensor) -> float:
    return float(values.abs().max())
