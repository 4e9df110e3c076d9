"""What is checked once, before the first update: the failures of GRPO that no error ever tells about.

Each check is a function that raises `GuardError` with what is wrong and what to do. Together they cost seconds on
the tiny model, and about a rollout batch on a large one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import numpy as np
import torch

from adfm.errors import AdfmError
from adfm.grpo.logprob import forced
from adfm.grpo.packing import PackItem
from adfm.models.vlm import VLM
from adfm.types import Frames, Group, Prompt, Reward, Sample, Template

BLIND_BELOW = 1e-3
"""A swap of images must move the log-odds of the verdict by more than this, in nats, on average."""
REFERENCE_SHARE = 0.9
"""Of the best total that the reward can pay; what reference completions must earn on average."""


class GuardError(AdfmError):
    """Training would run, and teach nothing or the wrong thing."""


def check_groups_differ(groups: Sequence[Group]) -> None:
    """Refuse a sampler that writes the same completion for a whole group, for every group."""
    if all(len({completion.text for completion in group.completions}) == 1 for group in groups):
        raise GuardError(
            f"all {len(groups[0].completions)} completions of each of {len(groups)} groups are the same text, so "
            f"no advantage can differ from 0. First completion: {groups[0].completions[0].text!r}. "
            "Raise rollout.temperature"
        )


def check_references_pay(
    samples: Sequence[Sample], template: Template, frames: Frames, reward: Reward, seed: int
) -> None:
    """Refuse a reward that does not pay for completions that are right by the labels."""
    earned, best = [], []
    for sample in samples:
        prompt = template.ask(sample, frames)
        text = template.reference(prompt, Random(f"{seed}/{sample.id}"))
        earned.append(float(reward([template.read(text, prompt)], prompt).total[0]))
        best.append(reward.best(prompt))
    if np.mean(earned) < REFERENCE_SHARE * np.mean(best):
        raise GuardError(
            f"completions written from the labels earn {np.mean(earned):.3f} of {np.mean(best):.3f} on average over "
            f"{len(samples)} samples: the reward does not read what reasoning={template.name} writes. "
            f"Last text: {text!r}"
        )


@torch.no_grad()
def check_images_matter(vlm: VLM, samples: Sequence[Sample], template: Template, frames: Frames) -> float:
    """Refuse a model whose verdict does not depend on the image; return how far a swap moves its log-odds on average.

    Each sample's prompt is scored with its own image and with the next sample's, where both have the same size.
    """
    changes = []
    for sample, other in zip(samples, [*samples[1:], *samples[:1]], strict=True):
        if sample.size != other.size:
            continue
        prompt = template.ask(sample, frames)
        swapped = replace(prompt, id=f"{prompt.id}/swapped", images=(*prompt.images[:-1], other.image))
        own, others = _verdict_log_odds(vlm, [prompt, swapped], template)
        changes.append(abs(own - others))
    if changes and np.mean(changes) < BLIND_BELOW:
        raise GuardError(
            f"exchanging the images of {len(changes)} pairs of samples moves the verdict's log-odds by "
            f"{np.mean(changes):.1e} nats: the model does not see its images. Check model.path, or start from a "
            "checkpoint of adfm.coldstart"
        )
    return float(np.mean(changes)) if changes else float("nan")


def _verdict_log_odds(vlm: VLM, prompts: Sequence[Prompt], template: Template) -> list[float]:
    """Log-odds of the right letter against all others, for prompts that differ in their images alone."""
    answers = template.answers(prompts[0])
    texts = tuple(torch.tensor(vlm.tokenize(template.opening() + text)) for text in answers.values())
    odds = []
    for scores in forced(vlm, [PackItem(encoded=vlm.encode(prompt), completions=texts) for prompt in prompts]):
        right = dict(zip(answers, scores, strict=True))
        others = [value for letter, value in right.items() if letter != prompts[0].key]
        odds.append(right[prompts[0].key] - float(np.logaddexp.reduce(others)))
    return odds
