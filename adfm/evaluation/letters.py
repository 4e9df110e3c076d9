"""Answers by probability: how likely each letter of a prompt is, where the answer is forced without reasoning.

One forward reads the prompts, what they share once, and gives the distribution of the token in which the answers
differ. What letters have in common before it becomes part of the prompt, what follows is not looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from adfm.errors import ConfigError
from adfm.evaluation.score import deciding_letters, shared_prefix, written_tokens
from adfm.grpo.attention import attend_by_layout
from adfm.grpo.logprob import sampled_logits
from adfm.grpo.stems import read_prompts
from adfm.models.vlm import VLM, EncodedPrompt
from adfm.types import Prompt, Template


@torch.no_grad()
def letter_logprobs(
    vlm: VLM, template: Template, prompts: Sequence[Prompt], encoded: Sequence[EncodedPrompt]
) -> list[dict[str, float]]:
    """Return, for each prompt, the log-probability of each letter among its letters; they add up to 1.

    Raises:
        ConfigError: Two letters of a prompt begin with the same token.
    """
    attend_by_layout(vlm)
    extended, tokens = [], []
    for prompt, prefix in zip(prompts, encoded, strict=True):
        common, next_tokens = _next_tokens(vlm, template, prompt)
        extended.append(prefix.extended(common) if common else prefix)
        tokens.append(next_tokens)
    hidden = read_prompts(vlm, extended).last_hidden
    logits = sampled_logits(vlm.base.lm_head, hidden, 1.0, vlm.suppressed_token_ids)
    found = []
    for row, of_letter in zip(logits, tokens, strict=True):
        logprobs = row[list(of_letter.values())].double().log_softmax(-1).tolist()
        found.append(dict(zip(of_letter, logprobs, strict=True)))
    return found


def log_odds_of(logprobs: Mapping[str, float], prompt: Prompt) -> float | None:
    """Log-odds of anomalous against normal; None for a prompt that does not decide between them."""
    if not deciding_letters(prompt):
        return None
    sides = [[logprobs[letter] for letter in logprobs if prompt.choices[letter] is side] for side in (True, False)]
    return float(np.logaddexp.reduce(sides[0]) - np.logaddexp.reduce(sides[1]))


def _next_tokens(vlm: VLM, template: Template, prompt: Prompt) -> tuple[list[int], dict[str, int]]:
    answers = template.answers(prompt)
    tokens = [written_tokens(vlm, template.opening() + answer) for answer in answers.values()]
    common = shared_prefix(tokens)
    following = [ids[len(common)] for ids in tokens if len(ids) > len(common)]
    if len(set(following)) < len(answers):
        raise ConfigError(
            f"{prompt.id}: this checkpoint's tokenizer writes two of {', '.join(answers)} with one first token under "
            f"reasoning={template.name}; use answering=text"
        )
    return common, dict(zip(answers, following, strict=True))
