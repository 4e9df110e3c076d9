"""The multiple-choice question of a prompt: what it asks, which letters it offers and what they mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase

from adfm.types import DETECTION, Question


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A question as a prompt shows it; see `adfm.types.Prompt` for the fields that it shares."""

    text: str
    options: Mapping[str, str]
    choices: Mapping[str, bool | None]
    key: str

    def reordered(self, order: Sequence[str]) -> Asked:
        """Show the options in another order, lettered A, B, ... by place.

        >>> asked = Asked(text="?", options={"A": "Yes", "B": "No"}, choices={"A": True, "B": False}, key="B")
        >>> asked.reordered("BA")
        Asked(text='?', options={'A': 'No', 'B': 'Yes'}, choices={'A': False, 'B': True}, key='A')
        """
        letters = dict(zip(order, ascii_uppercase, strict=False))
        return Asked(
            text=self.text,
            options={letters[old]: self.options[old] for old in order},
            choices={letters[old]: self.choices[old] for old in order},
            key=letters[self.key],
        )


def own(question: Question, anomalous: bool) -> Asked:
    """Take the question of a sample as it is.

    Of a detection question the right letter means what the sample is, and every other letter the opposite.
    """
    choices: dict[str, bool | None] = dict.fromkeys(question.options)
    if question.kind == DETECTION:
        choices = {letter: (letter == question.answer) == anomalous for letter in question.options}
    return Asked(text=question.text, options=dict(question.options), choices=choices, key=question.answer)
