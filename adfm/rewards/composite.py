"""A reward: named terms, each with a weight. The only place where weights are applied."""

from __future__ import annotations

import math
import traceback
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from adfm.errors import AdfmError
from adfm.types import Prompt, Reward, Rewards, Settled, Term, Verdict


class RewardError(AdfmError):
    """A term failed, or gave something that is not a finite number."""


class Composite:
    """Judge the verdicts of one group by every term, and add the terms by weight.

    A term is any callable of a verdict and its prompt. It may say which fields of a verdict it `needs`, the `best`
    that a completion which is right by the labels can earn for a prompt, and what it would be `knowing` the defect
    types of the data set.

    >>> constant = Composite({"half": {"weight": 2.0, "term": lambda verdict, prompt: 0.5}})
    >>> constant.weights
    {'half': 2.0}
    """

    def __init__(self, terms: Mapping[str, Mapping[str, Any]], released_with: str | None = None) -> None:
        """Keep the terms.

        Args:
            terms: name to `term` (the callable) and `weight` (1 if left out).
            released_with: the reasoning option whose completions the released terms read; what `python -m adfm.rewards`
                reads with unless told otherwise.
        """
        self.terms: dict[str, Term] = {name: entry["term"] for name, entry in terms.items()}
        self.weights = {name: float(entry.get("weight", 1.0)) for name, entry in terms.items()}
        self.released_with = released_with

    def __call__(self, verdicts: Sequence[Verdict], prompt: Prompt) -> Rewards:
        """Judge the verdicts of one group.

        Raises:
            RewardError: a term raised, or gave NaN, infinity or no number; the message names the term and the prompt.
        """
        values = {name: np.array([self._judge(name, verdict, prompt) for verdict in verdicts]) for name in self.terms}
        weighted = {name: self.weights[name] * value for name, value in values.items()}
        total = sum(weighted.values(), start=np.zeros(len(verdicts)))
        settled = {
            name: Settled(weighted=weighted[name], characters=_characters(needs, verdicts))
            for name, term in self.terms.items()
            if (needs := getattr(term, "needs", None))
        }
        return Rewards(terms=values, total=total, settled=settled)

    @property
    def needs(self) -> frozenset[str]:
        """What the terms judge, of the fields of a verdict."""
        return frozenset().union(*(getattr(term, "needs", ()) for term in self.terms.values()))

    def best(self, prompt: Prompt) -> float:
        """Return the total that a completion which is right by the labels can earn.

        A term that does not say its `best` is left out of it.
        """
        bests = {name: getattr(term, "best", None) for name, term in self.terms.items()}
        return sum(self.weights[name] * best(prompt) for name, best in bests.items() if best is not None)

    def _judge(self, name: str, verdict: Verdict, prompt: Prompt) -> float:
        try:
            value = float(self.terms[name](verdict, prompt))
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            raise RewardError(
                f"reward.terms.{name} failed on prompt {prompt.id}: {type(error).__name__}: {error} "
                f"({where.filename}, line {where.lineno}). Completion: {verdict.text!r:.200}"
            ) from error
        if not math.isfinite(value):
            raise RewardError(
                f"reward.terms.{name} gave {value} for prompt {prompt.id}. Completion: {verdict.text!r:.200}"
            )
        return value


def _characters(needs: Collection[str], verdicts: Sequence[Verdict]) -> tuple[int, ...]:
    """Return how much of each completion settles all that a term needs."""
    return tuple(max(verdict.settled.get(need, len(verdict.text)) for need in needs) for verdict in verdicts)


def knowing(reward: Reward, types: Sequence[str]) -> Reward:
    """Return a reward with all defect types of a data set told to the terms that want to know them.

    A reward that is no `Composite` stays as it is.
    """
    if not isinstance(reward, Composite):
        return reward
    entries = {}
    for name, term in reward.terms.items():
        told = getattr(term, "knowing", None)
        entries[name] = {"term": told(types) if told else term, "weight": reward.weights[name]}
    return Composite(entries, reward.released_with)
