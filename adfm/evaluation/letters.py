"""Answers by probability: how likely each letter of a prompt is, where the answer is forced without reasoning.

A letter is as likely as its whole answer stage. What the letters' stages have in common before they differ becomes part
of the prompt. Where one token follows, as under MMAD's protocol, one forward over the prompts gives the distribution of
that token; otherwise every stage stands behind its prompt in the row. In both the prompts' common beginnings are read
once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from adfm.evaluation.score import deciding_letters, shared_prefix, written_tokens
from adfm.grpo.attention import attend_by_layout
from adfm.grpo.logprob import head_scores, hidden_states, sampled_logits
from adfm.grpo.packing import PackItem, pack_row
from adfm.grpo.stems import read_prompts, stems
from adfm.models.vlm import VLM, EncodedPrompt
from adfm.types import Prompt, Template


@torch.no_grad()
def letter_logprobs(
    vlm: VLM, template: Template, prompts: Sequence[Prompt], encoded: Sequence[EncodedPrompt]
) -> list[dict[str, float]]:
    """Return, for each prompt, the log-probability of each letter among its letters; they add up to 1."""
    opened, rests = [], []
    for prompt, prefix in zip(prompts, encoded, strict=True):
        answers = template.answers(prompt)
        tokens = [written_tokens(vlm, template.opening() + answer) for answer in answers.values()]
        common = shared_prefix(tokens)
        opened.append(prefix.extended(common) if common else prefix)
        rests.append({letter: ids[len(common) :] for letter, ids in zip(answers, tokens, strict=True)})
    single = all(len(ids) == 1 for of_prompt in rests for ids in of_prompt.values())
    logprobs = (_of_next_token if single else _of_whole_rest)(vlm, opened, [[*one.values()] for one in rests])
    normal = [torch.tensor(row, dtype=torch.float64).log_softmax(0).tolist() for row in logprobs]
    return [dict(zip(of_prompt, row, strict=True)) for of_prompt, row in zip(rests, normal, strict=True)]


def log_odds_of(logprobs: Mapping[str, float], prompt: Prompt) -> float | None:
    """Log-odds of anomalous against normal; None for a prompt that does not decide between them."""
    if not deciding_letters(prompt):
        return None
    sides = [[logprobs[letter] for letter in logprobs if prompt.choices[letter] is side] for side in (True, False)]
    return float(np.logaddexp.reduce(sides[0]) - np.logaddexp.reduce(sides[1]))


def _of_next_token(
    vlm: VLM, prompts: Sequence[EncodedPrompt], rests: Sequence[Sequence[Sequence[int]]]
) -> list[list[float]]:
    hidden = read_prompts(vlm, prompts).last_hidden
    logits = sampled_logits(vlm.base.lm_head, hidden, 1.0, vlm.suppressed_token_ids)
    return [row[[ids[0] for ids in of_prompt]].tolist() for row, of_prompt in zip(logits, rests, strict=True)]


def _of_whole_rest(
    vlm: VLM, prompts: Sequence[EncodedPrompt], rests: Sequence[Sequence[Sequence[int]]]
) -> list[list[float]]:
    """Force every rest behind its prompt, all in one row, and score its tokens alone."""
    attend_by_layout(vlm)
    items, waiting = [], iter(rests)
    for item in stems(prompts, vlm.image_token_id):
        behind_stem = item.completions or (torch.empty(0, dtype=torch.long),)
        forced = [
            torch.cat([question, torch.tensor(ids, dtype=torch.long)])
            for question in behind_stem
            for ids in next(waiting)
        ]
        items.append(PackItem(encoded=item.encoded, completions=tuple(forced)))
    packed = pack_row(items, vlm.device)
    own = torch.tensor([len(ids) for of_prompt in rests for ids in of_prompt], device=vlm.device)
    of_target = packed.completion_of_target
    to_the_end = packed.lengths.cumsum(0)[of_target] - torch.arange(len(of_target), device=vlm.device)
    scored = (to_the_end <= own[of_target]).nonzero()[:, 0]
    hidden = hidden_states(vlm, packed)[0, packed.predictors[scored]]
    scores = head_scores(vlm.base.lm_head, hidden, packed.targets[scored], 1.0, vlm.suppressed_token_ids)
    sums = torch.zeros(len(own), dtype=torch.float64, device=vlm.device)
    sums.index_add_(0, of_target[scored], scores.logprob.double())
    values = iter(sums.tolist())
    return [[next(values) for _ in of_prompt] for of_prompt in rests]
