"""What supervised fine-tuning learns from: a prompt and the completion that its template writes from the labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

from adfm.data.order import EpochOrder
from adfm.errors import ConfigError
from adfm.types import Frames, Prompt, Sample, Template

ONSETS = (
    "b",
    "c",
    "ch",
    "d",
    "f",
    "g",
    "gr",
    "h",
    "j",
    "k",
    "l",
    "m",
    "n",
    "p",
    "qu",
    "r",
    "s",
    "st",
    "t",
    "tr",
    "v",
    "w",
    "z",
)
VOWELS = ("a", "e", "i", "o", "u", "ea", "oo", "ai", "ou")
CODAS = ("", "", "b", "ck", "d", "l", "ll", "m", "n", "nt", "p", "r", "rd", "ss", "st", "t", "x", "y")
"""What made-up names are put together from."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """One prompt with a completion that is right."""

    prompt: Prompt
    completion: str


class Lessons:
    """The order of lessons: every epoch a new permutation of the samples, every lesson its own template and wording.

    It has no state: the lessons of a step follow from the seed and the step, so resuming needs no cursor.

    Args:
        samples: Of the training part.
        templates: Name to template and its share of the lessons, above 0; the shares need not add up to one.
        frames: Of the model.
        per_step: Lessons of a step over all ranks.
        seed: Of order, templates and wording.
        renamed: Share of the lessons in which the category has a made-up name. A model that has read few names
            otherwise loses the form of its answers at the first name that is new to it.
        rank: This process takes every `world_size`-th lesson, from this one.
        world_size: Number of processes.

    Raises:
        ConfigError: There is no sample, or no template with a share.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        templates: Mapping[str, tuple[Template, float]],
        frames: Frames,
        *,
        per_step: int,
        seed: int,
        renamed: float = 0.0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if not samples:
            raise ConfigError("dataset: its training part is empty, so there is nothing to learn from")
        if not templates:
            raise ConfigError("templates: at least one must have a share above 0")
        self.samples = samples
        self.templates = templates
        self.frames = frames
        self.per_step = per_step
        self.seed = seed
        self.renamed = renamed
        self.rank = rank
        self.world_size = world_size
        self.order = EpochOrder(len(samples), seed=seed)

    def batch(self, step: int) -> list[Lesson]:
        """Return this rank's lessons of a step (counted from 0)."""
        places = range(step * self.per_step + self.rank, (step + 1) * self.per_step, self.world_size)
        return [self._lesson(place) for place in places]

    def texts(self, count: int) -> Iterator[str]:
        """Yield the texts of the first `count` samples under every template: of each prompt, then its completion."""
        for index, sample in enumerate(self.samples[:count]):
            for name, (template, _) in self.templates.items():
                prompt = template.ask(sample, self.frames)
                yield "\n".join(_texts(prompt))
                yield template.reference(prompt, Random(f"{self.seed}/text/{index}/{name}"))

    def _lesson(self, place: int) -> Lesson:
        rng = Random(f"{self.seed}/lesson/{place}")
        choices = list(self.templates.values())
        ((template, _),) = rng.choices(choices, [share for _, share in choices])
        sample = self.samples[self.order[place]]
        if rng.random() < self.renamed:
            sample = replace(sample, category=_made_up_name(rng))
        prompt = template.ask(sample, self.frames)
        return Lesson(prompt, template.reference(prompt, rng))


def _made_up_name(rng: Random) -> str:
    """Return one to three words that can be spoken but mean nothing."""

    def word() -> str:
        return "".join(rng.choice(part) for _ in range(rng.randint(1, 3)) for part in (ONSETS, VOWELS, CODAS))

    return " ".join(word() for _ in range(rng.randint(1, 3)))


def _texts(prompt: Prompt) -> Iterator[str]:
    for message in prompt.messages:
        content = message["content"]
        if isinstance(content, str):
            yield content
        else:
            yield from (part["text"] for part in content if part["type"] == "text")
