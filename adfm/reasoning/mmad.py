"""MMAD's protocol: a letter directly, after knowledge, normal templates and the query image."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import ClassVar, Literal

from adfm.reasoning.questions import Asked, own
from adfm.reasoning.readers import READERS
from adfm.types import Frames, Message, Prompt, Sample, Verdict


class MMAD:
    """Ask one question in one user turn: instruction, knowledge, references, the sample's image, the question.

    What stands before the question is the same for all questions about an image.

    Source: content and order of `jam-cc/MMAD:evaluation/examples/Transformers/qwen2_5_vl_query.py` in other words. As
    there, options are lettered by place, images are numbered (`add_vision_id`) and what is written is read as a whole.
    """

    name: ClassVar[str] = "mmad"

    def __init__(
        self,
        *,
        instruction: str,
        knowledge_text: str,
        references_text: str,
        image_label: str,
        query_text: str,
        question_text: str,
        option: str,
        question: str,
        anomalous: str,
        normal: str,
        knowledge: bool,
        shuffle_seed: int | None,
        reading: Literal["strict", "official", "anomalyr1"],
    ) -> None:
        """Keep the wording.

        Args:
            instruction: The first text.
            knowledge_text: How knowledge is shown, with the field `{knowledge}`.
            references_text: Stands before the references, with the field `{count}`.
            image_label: Stands before every image, with the field `{number}`, counted from 1.
            query_text: Stands before the sample's own image.
            question_text: The last text, with the fields `{question}` and `{options}`.
            option: How one option is shown, a line each, with the fields `{letter}` and `{text}`.
            question: Is asked about a sample without a question of its own; may use `{category}`.
            anomalous: Its option for an anomalous sample, the first.
            normal: Its option for a normal sample.
            knowledge: Whether to show a sample's knowledge.
            shuffle_seed: Shuffles each question's options, by this number and the sample's id; None keeps their order.
            reading: One of `adfm.reasoning.readers.READERS`.
        """
        self.provides = frozenset({"answer"})
        self.reading = reading
        self._instruction = instruction
        self._knowledge_text = knowledge_text if knowledge else None
        self._references_text = references_text
        self._image_label = image_label
        self._query_text = query_text
        self._question_text = question_text
        self._option = option
        self._detection = (question, anomalous, normal)
        self._shuffle_seed = shuffle_seed

    def ask(self, sample: Sample, frames: Frames) -> Prompt:
        """Make the prompt for a sample; the same sample gives the same prompt."""
        asked = self._asked(sample)
        images = (*sample.references, sample.image)
        labels = [self._image_label.format(number=number) for number in range(1, len(images) + 1)]
        content = [_text(self._instruction)]
        if self._knowledge_text is not None and sample.knowledge:
            content.append(_text(self._knowledge_text.format(knowledge=sample.knowledge)))
        if sample.references:
            content.append(_text(self._references_text.format(count=len(sample.references))))
        for label in labels[:-1]:
            content += [_text(label), {"type": "image"}]
        content += [_text(self._query_text), _text(labels[-1]), {"type": "image"}]
        options = "\n".join(self._option.format(letter=letter, text=text) for letter, text in asked.options.items())
        content.append(_text(self._question_text.format(question=asked.text, options=options)))
        message: Message = {"role": "user", "content": content}
        return Prompt(
            id=sample.id,
            sample=sample,
            messages=(message,),
            images=images,
            frame=frames(sample.width, sample.height),
            choices=asked.choices,
            key=asked.key,
            options=asked.options,
        )

    def read(self, text: str, prompt: Prompt) -> Verdict:
        """Read a letter from all that was written. Never raises."""
        letter = READERS[self.reading](text, prompt.options)
        return Verdict(
            text=text,
            stages={"answer": text.strip()},
            reasoning_letter=None,
            answer_letter=letter,
            anomalous=None if letter is None else prompt.choices.get(letter),
            boxes_written=(),
            boxes=(),
            reasons=() if letter in prompt.choices else ("no_letter",),
        )

    def reference(self, prompt: Prompt, rng: Random) -> str:
        """Write the right letter; there is no other wording."""
        return prompt.key

    def answers(self, prompt: Prompt) -> Mapping[str, str]:
        """Give, for each letter, the whole completion."""
        return {letter: letter for letter in prompt.choices}

    def opening(self) -> str:
        """Return nothing: the answer comes directly."""
        return ""

    def _asked(self, sample: Sample) -> Asked:
        if sample.question is not None:
            asked = own(sample.question, sample.anomalous)
        else:
            question, anomalous, normal = self._detection
            asked = Asked(
                text=question.format(category=sample.category),
                options={"A": anomalous, "B": normal},
                choices={"A": True, "B": False},
                key="A" if sample.anomalous else "B",
            )
        order = list(asked.options)
        if self._shuffle_seed is not None:
            Random(f"{self._shuffle_seed} {sample.id}").shuffle(order)
        return asked.reordered(order)


def _text(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}
