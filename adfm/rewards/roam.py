"""AnomalyR1's two rewards: the right choice, and reasoning that agrees with it (ROAM).

Source: `choice_reward` and `roam_reward` of `chaoyuhao/AnomalyR1:open-r1-multimodal/src/open_r1/grpo_rec.py`. Their
gate (closed reasoning directly before a closed answer) belongs to reading: where it fails there are no letters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from adfm.types import Prompt, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Pay 1 for the right letter.

    >>> from adfm.rewards.examples import judged
    >>> Choice()(*judged(answer="B", key="B")), Choice()(*judged(answer="A", key="B"))
    (1.0, 0.0)
    """

    needs: ClassVar[frozenset[str]] = frozenset({"answer"})

    def __call__(self, verdict: Verdict, prompt: Prompt) -> float:
        """Judge one verdict."""
        return float(verdict.answer_letter == prompt.key)

    def best(self, prompt: Prompt) -> float:
        """Return what a completion which is right by the labels can earn."""
        return 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Roam:
    """Pay for reasoning whose letter is that of the answer: reasoned outcome alignment.

    | reasoning | answer | pays |
    |---|---|---|
    | right | right | `agree_right` |
    | the same wrong letter | as the reasoning | `agree_wrong` |
    | names no letter | right | `silent_right` |
    | names no letter | wrong | `silent_wrong` |
    | anything else, or no letter in the answer | | 0 |

    Hole of the released values: with `Choice`, reasoning that never concludes still earns 1.8 of 2; `silent_right=0`
    closes it.

    >>> from adfm.rewards.examples import judged
    >>> Roam()(*judged(reasoning="B", answer="B", key="B")), Roam()(*judged(answer="B", key="B"))
    (1.0, 0.8)
    """

    agree_right: float = 1.0
    agree_wrong: float = 0.1
    silent_right: float = 0.8
    silent_wrong: float = 0.05
    needs: ClassVar[frozenset[str]] = frozenset({"answer", "reasoning_letter"})

    def __call__(self, verdict: Verdict, prompt: Prompt) -> float:
        """Judge one verdict."""
        reasoned, answered = verdict.reasoning_letter, verdict.answer_letter
        if answered is None or reasoned not in (None, answered):
            return 0.0
        if reasoned is None:
            return self.silent_right if answered == prompt.key else self.silent_wrong
        return self.agree_right if answered == prompt.key else self.agree_wrong

    def best(self, prompt: Prompt) -> float:
        """Return what a completion which is right by the labels can earn."""
        return self.agree_right
