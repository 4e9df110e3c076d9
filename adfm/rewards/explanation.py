"""Rewards of what the explanation says: which defect it is, and where. No published method pays these.

Where every token is credited with everything (`objective/credit=whole_completion`) the words decay without them while
boxes and answer improve (experiments/first_light).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import ClassVar

from adfm.reasoning.defect_types import named_type
from adfm.reasoning.explanation import explanation, lies_in, places
from adfm.types import Prompt, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class DefectType:
    """Pay 1 for naming the true defect type and no other; for a normal sample, for naming none.

    A sample whose type is not known is paid for nothing. Hole: of types that it does not know it does not see that they
    are named, so that without `types` naming all is paid as well as naming the right one.

    >>> from adfm.rewards.examples import judged
    >>> term = DefectType(types=("scratch", "hole"))
    >>> said = ("A deep scratch.", "A hole.", "A scratch or a hole.")
    >>> [term(*judged(stages={"think": text}, defect_type="scratch")) for text in said]
    [1.0, 0.0, 0.0]
    >>> [term(*judged(stages={"think": text}, anomalous=False)) for text in ("A hole.", "Even and intact.")]
    [0.0, 1.0]
    """

    types: Collection[str] = ()
    """In plain words; none takes those of the data set, where one is known."""
    needs: ClassVar[frozenset[str]] = frozenset({"explanation"})

    def __call__(self, verdict: Verdict, prompt: Prompt) -> float:
        """Judge one verdict."""
        sample = prompt.sample
        if sample.anomalous and sample.defect_type is None:
            return 0.0
        known = {*self.types, sample.defect_type} - {None}
        return float(named_type(explanation(verdict.stages, verdict.text), known) == sample.defect_type)

    def best(self, prompt: Prompt) -> float:
        """Return what a completion which is right by the labels can earn."""
        return float(not prompt.sample.anomalous or prompt.sample.defect_type is not None)

    def knowing(self, types: Collection[str]) -> DefectType:
        """Return this term with the types of a data set, unless it has types of its own."""
        return self if self.types else replace(self, types=tuple(types))


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Pay for naming the parts of the image where the true boxes are; for a normal sample, for naming none.

    The share of those that are met: true boxes whose centre lies in a part that is named, and named parts in which a
    true box lies. So naming every part is not paid in full. An anomalous sample without true boxes is paid for nothing.

    >>> from adfm.rewards.examples import judged
    >>> true = [(0.0, 0.0, 10.0, 10.0)]
    >>> said = ("A hole, top left.", "Top left or right.", "A hole.")
    >>> [round(Place()(*judged(stages={"think": text}, true=true)), 3) for text in said]
    [1.0, 0.667, 0.0]
    """

    needs: ClassVar[frozenset[str]] = frozenset({"explanation"})

    def __call__(self, verdict: Verdict, prompt: Prompt) -> float:
        """Judge one verdict."""
        sample, named = prompt.sample, places(explanation(verdict.stages, verdict.text))
        if not sample.anomalous:
            return float(not named)
        if not sample.boxes or not named:
            return 0.0
        lying = [{place for place in named if lies_in(box, sample.size, place)} for box in sample.boxes]
        return (sum(map(bool, lying)) + len(set().union(*lying))) / (len(lying) + len(named))

    def best(self, prompt: Prompt) -> float:
        """Return what a completion which is right by the labels can earn."""
        return float(not prompt.sample.anomalous or bool(prompt.sample.boxes))
