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

from adfm.errors import ConfigError
from adfm.grpo.rollout import only_read
from adfm.grpo.written import Ends, Written
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
        written: Sequence[Written] = (),
    ) -> list[float | None]:
        """Score each prompt, given its completions: one for each, or equally many.

        `written` is what writing them has left; without it the prompts are read again.
        """
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
        written: Sequence[Written] = (),
    ) -> list[float | None]:
        """Score each prompt; see `reasoning_of` for where a completion is cut."""
        answers = [template.answers(prompt) for prompt in prompts]
        texts = [
            [reasoning_of(one.text, of_prompt) for one in group]
            for group, of_prompt in zip(completions, answers, strict=True)
        ]
        return [_mean_or_none(odds) for odds in log_odds(vlm, template, prompts, encoded, texts, written)]


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
        written: Sequence[Written] = (),
    ) -> list[float | None]:
        """Score each prompt; the completions play no part."""
        texts = [[template.opening(), *[None] * (len(group) - 1)] for group in completions]
        return [odds[0] for odds in log_odds(vlm, template, prompts, encoded, texts, written)]


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
        written: Sequence[Written] = (),
    ) -> list[float | None]:
        """Score nothing."""
        return [None] * len(prompts)


SCORES: Mapping[str, Callable[[], Score]] = {"answer": AnswerScore, "direct": DirectScore}
"""By the names that `evaluate.score` and `score` take."""


def log_odds(
    vlm: VLM,
    template: Template,
    prompts: Sequence[Prompt],
    encoded: Sequence[EncodedPrompt],
    texts: Sequence[Sequence[str | None]],
    written: Sequence[Written] = (),
) -> list[list[float | None]]:
    """Log-odds of anomalous against normal behind each text of each prompt, where the answer stage follows.

    Equally many texts belong to each prompt. What is `written` there already is not read again. A text that is None, or
    whose prompt has letters that mean neither, is not read and has None.

    Raises:
        ConfigError: the letters of a prompt do not decide between anomalous and normal.
    """
    size = len(texts[0])
    letters = [deciding_letters(prompt) for prompt in prompts]
    ends: dict[int, Ends] = {}
    for place, (prompt, deciding) in enumerate(zip(prompts, letters, strict=True)):
        answers = template.answers(prompt)
        for draw, text in enumerate(texts[place] if deciding else ()):
            if text is None:
                continue
            tokens = [written_tokens(vlm, text + answers[letter]) for letter in deciding]
            common = shared_prefix(tokens)
            ends[place * size + draw] = Ends(stem=common, rests=[ids[len(common) :] for ids in tokens])
    odds: list[list[float | None]] = [[None] * size for _ in prompts]
    for row, logprobs in forced_in(vlm, encoded, size, ends, written).items():
        place, draw = divmod(row, size)
        odds[place][draw] = _log_odds(prompts[place], letters[place], logprobs)
    return odds


def forced_in(
    vlm: VLM, encoded: Sequence[EncodedPrompt], size: int, ends: Mapping[int, Ends], written: Sequence[Written]
) -> dict[int, list[float]]:
    """Force ends behind rows, `size` of each prompt, which are parted over `written` in their order.

    Where nothing is written the prompts are read first.
    """
    parts = written or ([only_read(vlm, encoded, size)] if ends else [])
    found, first = {}, 0
    for part in parts:
        count = len(part.encoded)
        own = {row - first: one for row, one in ends.items() if first <= row < first + count}
        found |= {first + row: logprobs for row, logprobs in part.forced(vlm, own).items()}
        first += count
    return found


def _log_odds(prompt: Prompt, letters: Sequence[str], logprobs: Sequence[float]) -> float:
    logprob_of = dict(zip(letters, logprobs, strict=True))
    sides = [[logprob_of[letter] for letter in letters if prompt.choices[letter] is side] for side in (True, False)]
    return float(np.logaddexp.reduce(sides[0]) - np.logaddexp.reduce(sides[1]))


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
