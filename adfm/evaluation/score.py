"""The anomaly score of an image: a log-odds, made of the probabilities of whole answer strings.

For every letter the template writes the whole answer stage. The text before it and that stage are tokenised together,
since a letter may merge with the `>` before it into one token. The letters' token sequences begin alike; what is common
changes no odds and becomes part of the prompt, the rest is forced. The score is

    log sum p(answers that mean anomalous) - log sum p(answers that mean normal)

in float64, so that 800 and 900 stay apart where probabilities would both be 1. It needs nothing of what the model
answered, so it is defined for every completion. A question that does not decide between the two has none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
import torch

from adfm.errors import ConfigError
from adfm.grpo.logprob import forced
from adfm.grpo.packing import PackItem
from adfm.models.vlm import VLM, EncodedPrompt
from adfm.types import Completion, Prompt, Template

Text = TypeVar("Text", str, list[int])


@runtime_checkable
class Score(Protocol):
    """Where the anomaly score of an image comes from."""

    name: str

    def __call__(
        self,
        vlm: VLM,
        template: Template,
        prompts: Sequence[Prompt],
        encoded: Sequence[EncodedPrompt],
        completions: Sequence[Sequence[Completion]],
    ) -> list[float | None]:
        """Score each prompt, given its completions: one for each, or equally many."""
        ...


class AnswerScore:
    """The odds after the model's own reasoning; after several, those of the mean of their probabilities.

    After one reasoning they are nearly binary, as it has mostly decided. The mean over several estimates the
    probability of the answer whatever the reasoning was: it has less variance than the share of verdicts and fewer
    ties, and an unreadable answer needs no rule. It is taken over logarithms, so nothing saturates.
    """

    name = "answer"

    def __call__(
        self,
        vlm: VLM,
        template: Template,
        prompts: Sequence[Prompt],
        encoded: Sequence[EncodedPrompt],
        completions: Sequence[Sequence[Completion]],
    ) -> list[float | None]:
        """Score each prompt; see `reasoning_of` for where a completion is cut."""
        answers = [template.answers(prompt) for prompt in prompts]
        odds = []
        for each in zip(*completions, strict=True):
            written = [reasoning_of(one.text, of_prompt) for one, of_prompt in zip(each, answers, strict=True)]
            odds.append(log_odds(vlm, template, prompts, encoded, written))
        return [_mean_or_none(of_prompt) for of_prompt in zip(*odds, strict=True)]


class DirectScore:
    """The odds where the answer is forced without any reasoning."""

    name = "direct"

    def __call__(
        self,
        vlm: VLM,
        template: Template,
        prompts: Sequence[Prompt],
        encoded: Sequence[EncodedPrompt],
        completions: Sequence[Sequence[Completion]],
    ) -> list[float | None]:
        """Score each prompt; the completions play no part."""
        return log_odds(vlm, template, prompts, encoded, [template.opening()] * len(prompts))


class NoScore:
    """None for every image, at no cost."""

    name = "none"

    def __call__(
        self,
        vlm: VLM,
        template: Template,
        prompts: Sequence[Prompt],
        encoded: Sequence[EncodedPrompt],
        completions: Sequence[Sequence[Completion]],
    ) -> list[float | None]:
        """Score nothing."""
        return [None] * len(prompts)


SCORES: Mapping[str, Callable[[], Score]] = {"answer": AnswerScore, "direct": DirectScore}
"""By the names that `evaluate.score` and `score` take."""


@torch.no_grad()
def log_odds(
    vlm: VLM,
    template: Template,
    prompts: Sequence[Prompt],
    encoded: Sequence[EncodedPrompt],
    written: Sequence[str],
) -> list[float | None]:
    """Log-odds of anomalous against normal where the completion so far is `written` and the answer stage follows.

    All prompts and answers share one packed row. A prompt whose letters mean neither is not read and has None.

    Raises:
        ConfigError: the letters of a prompt do not decide between anomalous and normal.
    """
    letters = [deciding_letters(prompt) for prompt in prompts]
    places = [place for place, deciding in enumerate(letters) if deciding]
    items = []
    for place in places:
        answers = template.answers(prompts[place])
        tokens = [written_tokens(vlm, written[place] + answers[letter]) for letter in letters[place]]
        common = shared_prefix(tokens)
        rest = tuple(torch.tensor(ids[len(common) :], dtype=torch.long) for ids in tokens)
        items.append(PackItem(encoded=encoded[place].extended(common), completions=rest))
    odds: list[float | None] = [None] * len(prompts)
    for place, logprobs in zip(places, forced(vlm, items) if items else (), strict=True):
        deciding, choices = letters[place], prompts[place].choices
        logprob_of = dict(zip(deciding, logprobs, strict=True))
        sides = [[logprob_of[letter] for letter in deciding if choices[letter] is side] for side in (True, False)]
        odds[place] = float(np.logaddexp.reduce(sides[0]) - np.logaddexp.reduce(sides[1]))
    return odds


def deciding_letters(prompt: Prompt) -> list[str]:
    """Return the letters that mean anomalous or normal; none for a question about something else.

    Raises:
        ConfigError: They all mean the same.
    """
    letters = [letter for letter, meaning in prompt.choices.items() if meaning is not None]
    if letters and {prompt.choices[letter] for letter in letters} != {True, False}:
        raise ConfigError(f"{prompt.id}: its letters do not decide between anomalous and normal, so it has no score")
    return letters


def reasoning_of(text: str, answers: Mapping[str, str]) -> str:
    """Return what a completion says before its answer stage; all of it where that stage never begins.

    The stage begins where what all answer strings have in common first stands in the text, in upper or lower case. A
    later answer would have the first one as its reasoning. Answers that begin differently stand at the very start.

    >>> reasoning_of("<think>a crack</think><answer>b", {"a": "<answer>a</answer>", "b": "<answer>b</answer>"})
    '<think>a crack</think>'
    >>> reasoning_of("<think>a crack", {"a": "<answer>a</answer>", "b": "<answer>b</answer>"})
    '<think>a crack'
    """
    opening = shared_prefix(list(answers.values()))
    found = re.search(re.escape(opening), text, re.IGNORECASE)
    return text[: found.start()] if found else text


def shared_prefix(sequences: Sequence[Text]) -> Text:
    """Return what all sequences begin with.

    >>> shared_prefix(["<answer>a</answer>", "<answer>b</answer>"])
    '<answer>'
    """
    first = sequences[0]
    alike = (len(set(items)) == 1 for items in zip(*sequences, strict=False))
    return first[: sum(1 for _ in takewhile(bool, alike))]


def mean_log_odds(odds: Sequence[float]) -> float:
    """Log-odds of the mean of the probabilities that have these log-odds.

    >>> mean_log_odds([900.0, 800.0]) > mean_log_odds([800.0, 800.0])
    True
    """
    values = np.asarray(odds, dtype=np.float64)
    anomalous, normal = -np.logaddexp(0, -values), -np.logaddexp(0, values)
    return float(np.logaddexp.reduce(anomalous) - np.logaddexp.reduce(normal))


def _mean_or_none(odds: Sequence[float | None]) -> float | None:
    known = [value for value in odds if value is not None]
    return mean_log_odds(known) if known else None


def written_tokens(vlm: VLM, text: str) -> list[int]:
    """Tokenise what a model wrote, without the image tokens that it may have spelt out: sampling never draws them."""
    return [token for token in vlm.tokenize(text) if token not in vlm.suppressed_token_ids]
