"""What all templates share: prompts are filled-in text, completions are tagged stages, readings are objects."""

from __future__ import annotations

import hashlib
import string
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, ClassVar

from adfm.errors import ConfigError, DataError
from adfm.reasoning import phrases
from adfm.reasoning.layout import Layout
from adfm.reasoning.questions import Asked, own
from adfm.reasoning.released import ReleasedADFM, ReleasedAnomalyR1
from adfm.reasoning.strict import Strict
from adfm.types import DETECTION, Frame, Frames, Message, Prompt, Sample, Verdict


class StagedTemplate(ABC):
    """Ask with one user turn, read tagged stages. A method is a subclass: its stages, its readings, its reference text.

    Asked is the sample's own multiple-choice question, whose options keep their order and letters, or else detection.

    Texts may use the fields `{category}`, `{width}` and `{height}` (of the image as the model sees it), `{frame}` (the
    coordinate system in words), `{question}`, `{options}`, and each stage's name for its tag.
    """

    name: ClassVar[str]
    stages: ClassVar[tuple[str, ...]]
    reasoning: ClassVar[tuple[str, ...]]
    boxes: ClassVar[str | None]
    released: ClassVar[type[ReleasedAnomalyR1] | type[ReleasedADFM]]

    def __init__(
        self,
        *,
        instruction: str,
        question: str,
        anomalous: str,
        normal: str,
        option: str,
        option_separator: str,
        letters: Sequence[str],
        shuffle_seed: int | None,
        tags: Mapping[str, str],
        knowledge: bool,
        knowledge_text: str,
        references: int,
        reference_text: str,
        reading: str = "strict",
    ) -> None:
        """Keep the wording; nothing is composed before a sample comes.

        Args:
            instruction: the prompt's last text.
            question: asks for detection, where a sample has no question of its own.
            anomalous: what the letter for an anomalous sample says.
            normal: what the letter for a normal sample says.
            option: how one option is shown, with the fields `{letter}` and `{text}`.
            option_separator: stands between options.
            letters: the letter for anomalous, then the letter for normal.
            shuffle_seed: swaps the two letters for half of the samples, by a hash of this number and the sample's id;
                None never swaps them.
            tags: stage name to tag.
            knowledge: whether to show what the sample's category is known for (a sample without knowledge shows none).
            knowledge_text: how it is shown, with the field `{knowledge}`.
            references: how many normal images to show before the sample's own.
            reference_text: stands before each of them.
            reading: `strict`, or `released` for the reading of the method's released code.

        Raises:
            ConfigError: the texts use unknown fields, or letters, tags or reading do not fit.
        """
        self.letters = tuple(letters)
        self._texts = {"instruction": instruction, "question": question, "option": option}
        self._texts |= {"knowledge_text": knowledge_text, "reference_text": reference_text}
        self._knowledge = knowledge
        self._meaning = {True: anomalous, False: normal}
        self._option_separator = option_separator
        self._shuffle_seed = shuffle_seed
        self._references = references
        self._check(tags, reading)
        self.layout = Layout(
            tags={stage: tags[stage] for stage in self.stages}, reasoning=self.reasoning, boxes=self.boxes
        )
        self.reading = reading
        self._reading = {"strict": Strict, "released": self.released}[reading](self.layout)
        self.provides = frozenset(self.layout.provides)

    def ask(self, sample: Sample, frames: Frames) -> Prompt:
        """Make the prompt for a sample; the same sample gives the same prompt.

        Raises:
            DataError: the sample has fewer reference images than the prompt shows.
        """
        frame = frames(sample.width, sample.height)
        asked = self._asked(sample)
        fields = self._fields(sample, frame) | {"question": asked.text, "options": self._shown(asked.options)}
        content: list[dict[str, str]] = []
        for _ in self._reference_images(sample):
            content += [{"type": "text", "text": self._texts["reference_text"].format(**fields)}, {"type": "image"}]
        texts = []
        if self._knowledge and sample.knowledge:
            texts.append(self._texts["knowledge_text"].format(**fields, knowledge=sample.knowledge))
        texts.append(self._texts["instruction"].format(**fields))
        content += [{"type": "image"}, {"type": "text", "text": "\n".join(texts)}]
        message: Message = {"role": "user", "content": content}
        return Prompt(
            id=sample.id,
            sample=sample,
            messages=(message,),
            images=(*self._reference_images(sample), sample.image),
            frame=frame,
            choices=asked.choices,
            key=asked.key,
            options=asked.options,
        )

    def read(self, text: str, prompt: Prompt) -> Verdict:
        """Read a completion. Never raises, whatever the text is."""
        return self._reading(text, prompt)

    def answers(self, prompt: Prompt) -> Mapping[str, str]:
        """Give, for each letter, the whole answer stage as text (opening tag to closing tag)."""
        return {letter: self.layout.wrap("answer", letter) for letter in prompt.choices}

    def opening(self) -> str:
        """Return empty stages for all that stands before the answer: the answer forced without reasoning."""
        before = self.stages[: self.stages.index("answer")]
        return self.layout.compose(dict.fromkeys(before, ""))

    def reference(self, prompt: Prompt, rng: Random) -> str:
        """Write a completion that is right by the sample's labels, in wording that varies with `rng`."""
        return self.layout.compose({**self._reference_stages(prompt, rng), "answer": prompt.key})

    @abstractmethod
    def _reference_stages(self, prompt: Prompt, rng: Random) -> dict[str, str]:
        """Write the text of every stage but the answer."""

    def choices_without_sample(self, key: str) -> dict[str, bool | None]:
        """Return the letters of a completion whose sample is unknown, as in a file of completions.

        What they mean is known only where the order of the options is fixed.

        Raises:
            ValueError: `key` is not one of the letters.
        """
        fixed = self._shuffle_seed is None
        choices: dict[str, bool | None] = {
            letter: anomalous if fixed else None for letter, anomalous in zip(self.letters, (True, False), strict=True)
        }
        if key not in choices:
            raise ValueError(f"{key!r} is not one of the letters {', '.join(choices)}")
        return choices

    def _asked(self, sample: Sample) -> Asked:
        """Return the sample's own question with its letters in its order, else the detection question."""
        if sample.question is not None:
            return own(sample.question, sample.anomalous)
        anomalous_letter, normal_letter = self.letters
        if self._shuffle_seed is not None and _coin(self._shuffle_seed, sample.id):
            anomalous_letter, normal_letter = normal_letter, anomalous_letter
        choices: dict[str, bool | None] = {letter: letter == anomalous_letter for letter in self.letters}
        options = {letter: self._meaning[letter == anomalous_letter] for letter in self.letters}
        return Asked(
            text=self._texts["question"].format(category=sample.category),
            options=options,
            choices=choices,
            key=anomalous_letter if sample.anomalous else normal_letter,
        )

    def _insight(self, prompt: Prompt, rng: Random) -> str:
        """Say in a reference completion what a closer look finds, or what the right option says."""
        question = prompt.sample.question
        if question is None or question.kind == DETECTION:
            return phrases.finding(prompt.sample, rng)
        return rng.choice(phrases.OPTION).format(text=prompt.options[prompt.key].rstrip("."))

    def _fields(self, sample: Sample, frame: Frame) -> dict[str, Any]:
        width, height = frame.image_size
        place = {"width": width, "height": height, "frame": frame.describe()}
        return {"category": sample.category, **place, **self.layout.tags}

    def _shown(self, options: Mapping[str, str]) -> str:
        shown = (self._texts["option"].format(letter=letter, text=text) for letter, text in options.items())
        return self._option_separator.join(shown)

    def _reference_images(self, sample: Sample) -> tuple[Path, ...]:
        if len(sample.references) < self._references:
            raise DataError(
                f"sample {sample.id} has {len(sample.references)} reference images, the prompt shows "
                f"{self._references}: set reasoning.references={len(sample.references)}"
            )
        return sample.references[: self._references]

    def _check(self, tags: Mapping[str, str], reading: str) -> None:
        if len(self.letters) != 2 or len({letter.lower() for letter in self.letters}) != 2:
            raise ConfigError(f"reasoning.letters must be two different letters, not {list(self.letters)}")
        if not all(len(letter) == 1 and letter.isascii() and letter.isalpha() for letter in self.letters):
            raise ConfigError(f"reasoning.letters must be letters from a to z, not {list(self.letters)}")
        if set(tags) != set(self.stages) or len({tag.lower() for tag in tags.values()}) != len(tags):
            raise ConfigError(f"reasoning.tags must name a different tag for each of {', '.join(self.stages)}")
        if reading not in ("strict", "released"):
            raise ConfigError(f"reasoning.reading must be strict or released, not {reading!r}")
        general = {"category", "width", "height", "frame", "question", "options", *self.stages}
        known = {"option": {"letter", "text"}, "question": {"category"}, "knowledge_text": general | {"knowledge"}}
        for name, text in self._texts.items():
            used = {field for _, field, _, _ in string.Formatter().parse(text) if field is not None}
            if unknown := used - known.get(name, general):
                raise ConfigError(
                    f"reasoning.{name} uses the unknown field {{{min(unknown)}}}; "
                    f"known are {', '.join(sorted(known.get(name, general)))}"
                )


def _coin(seed: int, sample_id: str) -> bool:
    """Toss a coin that falls the same way in every process and on every machine."""
    return bool(hashlib.blake2b(f"{seed}:{sample_id}".encode(), digest_size=1).digest()[0] & 1)
