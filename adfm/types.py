"""The words of adfm, as types. Read this file first.

A run is one path through these words:

    Sample --Template.ask--> Prompt --Rollout--> Completion --Template.read--> Verdict --Reward--> Rewards

and the unit that travels is the `Group`: one prompt and its completions. Nothing here imports torch: tensors live in
`adfm.models` and `adfm.grpo`; token ids and log-probabilities cross the border as numpy arrays.

Frames: a `Box` is `(x0, y0, x1, y1)`, half-open, float, in pixels of the original image. The only exception is a
name that ends in `_written`: those are in the coordinates the model writes, and a `Frame` is the only thing that
converts them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int

from adfm.data.images import image_size

Box = tuple[float, float, float, float]
"""`(x0, y0, x1, y1)`, half-open."""

Span = tuple[int, int]
"""Characters of a text: first, and one behind the last."""

Message = dict[str, Any]
"""A chat message in the Hugging Face format; an image is `{"type": "image"}` and takes the next of `Prompt.images`."""


DETECTION = "detection"
"""The kind of question that decides normal against anomalous."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A multiple-choice question that a data set asks about one sample (MMAD's seven kinds, for example)."""

    text: str
    options: Mapping[str, str]
    """Letter to what it says."""
    answer: str
    """The right letter."""
    kind: str = DETECTION
    """`DETECTION`, or another of MMAD's question types."""


@runtime_checkable
class Mask(Protocol):
    """Where an image is defective, pixel by pixel. Small and hashable: files are opened when it is read."""

    @property
    def files(self) -> tuple[Path, ...]:
        """What it is read from."""
        ...

    def read(self, size: tuple[int, int]) -> Bool[np.ndarray, "height width"]:
        """Return the pixels of an image of `size` (width, height); DataError if a file is missing or does not fit."""
        ...

    def boxes(self, size: tuple[int, int]) -> tuple[Box, ...]:
        """Return one box per defect; none where the mask is empty."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One image with everything that is known about it.

    A sample opens no file before it is asked for something that only the file knows: a list of 150,000 is made in
    seconds.
    """

    id: str
    """Unique and stable within its data set; it names the sample in every table and error."""
    image: Path
    category: str
    anomalous: bool
    defect_type: str | None = None
    """In plain words ("scratch"); None for a normal sample."""
    mask: Mask | None = None
    stated_size: tuple[int, int] | None = None
    """Width and height where the data set states them."""
    stated_boxes: tuple[Box, ...] | None = None
    """Boxes where the data set states them."""
    references: tuple[Path, ...] = ()
    """Normal images of the same category."""
    knowledge: str = ""
    """What normal looks like and which defects occur in this category."""
    question: Question | None = None
    attributes: Mapping[str, str | float] = field(default_factory=dict)
    """What only this data set knows: severity, contrast bin, texture."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the original image in pixels: as stated, else as the image's header says."""
        return self.stated_size or image_size(self.image)

    @property
    def width(self) -> int:
        """Of the original image in pixels."""
        return self.size[0]

    @property
    def height(self) -> int:
        """Of the original image in pixels."""
        return self.size[1]

    @property
    def boxes(self) -> tuple[Box, ...]:
        """As stated, else those of the mask's defects; none for a sample that has neither."""
        if self.stated_boxes is not None:
            return self.stated_boxes
        return self.mask.boxes(self.size) if self.mask is not None else ()


@runtime_checkable
class Frame(Protocol):
    """The coordinate system of one image as one model family writes it."""

    @property
    def width(self) -> float:
        """Right end of the x axis in written coordinates."""
        ...

    @property
    def height(self) -> float:
        """Lower end of the y axis in written coordinates."""
        ...

    @property
    def image_size(self) -> tuple[int, int]:
        """Width and height of the image as the model sees it, in pixels."""
        ...

    def describe(self) -> str:
        """Say the coordinate system in the words a prompt uses."""
        ...

    def written(self, boxes: Sequence[Box]) -> tuple[Box, ...]:
        """Take boxes from original pixels to written coordinates, rounded as the model writes them."""
        ...

    def original(self, boxes_written: Sequence[Box]) -> tuple[Box, ...]:
        """Take boxes from written coordinates to original pixels, unrounded and unclipped."""
        ...


@runtime_checkable
class Frames(Protocol):
    """What makes the frame of an image from its original size; one per model family and pixel limits."""

    def __call__(self, width: int, height: int) -> Frame:
        """Return the frame of an image of `width` x `height` original pixels."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What the model is asked about one sample."""

    id: str
    """Unique among the prompts of a run; equals the sample's id unless a sample is asked more than once."""
    sample: Sample
    messages: tuple[Message, ...]
    images: tuple[Path, ...]
    """In the order in which the messages show them; the sample's own image is the last."""
    frame: Frame
    """Of the sample's own image."""
    choices: Mapping[str, bool | None]
    """Each letter of the prompt: True if it means anomalous, False if normal, None if it decides neither."""
    key: str
    """The right letter."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Each letter of the prompt: what it says there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """The text that the model wrote, as tokens and as text."""

    token_ids: Int[np.ndarray, " token"]
    """Ends with the end-of-turn token if, and only if, the model stopped by itself."""
    sampler_logprob: Float[np.ndarray, " token"]
    """Of each token under the distribution it was drawn from; of a greedy completion under that of temperature 1."""
    text: str
    """Special tokens of the chat format removed, everything else kept."""
    truncated: bool
    """The token limit ended it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A completion as its template reads it; what could not be read is None and has a reason code."""

    text: str
    """The completion, untouched."""
    stages: Mapping[str, str | None]
    """Stage name (`think`, `rethink`, `answer`) to its text; None where the stage is missing."""
    reasoning_letter: str | None
    """The letter that the reasoning concludes with."""
    answer_letter: str | None
    anomalous: bool | None
    """What the answer's letter means for this prompt."""
    boxes_written: tuple[Box, ...]
    boxes: tuple[Box, ...]
    """In original pixels."""
    box_spans: tuple[tuple[Span, Span, Span, Span], ...] = ()
    """Where the four numbers of each written box stand in `text`; empty for a verdict that was not read from a text."""
    settled: Mapping[str, int] = field(default_factory=dict)
    """What a template `provides`, to the length of the beginning of `text` that settles it, whatever follows. What is
    not here may hang on the whole text."""
    reasons: tuple[str, ...] = ()
    """Codes of what could not be read: `no_answer`, `bad_box`, ... Empty when everything was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """A term's part of a group's total, and from where on nothing changes it."""

    weighted: Float[np.ndarray, " completion"]
    characters: tuple[int, ...]
    """How much of each completion settles it, whatever follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewards:
    """What a group earned: every named term before its weight, and the weighted total."""

    terms: Mapping[str, Float[np.ndarray, " completion"]]
    total: Float[np.ndarray, " completion"]
    settled: Mapping[str, Settled] = field(default_factory=dict)
    """Terms that hang on a beginning of each completion only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One prompt and its completions, as read and rewarded: the unit of work."""

    prompt: Prompt
    completions: tuple[Completion, ...]
    verdicts: tuple[Verdict, ...]
    rewards: Rewards

    @property
    def has_spread(self) -> bool:
        """Whether its rewards differ, so that it can teach anything."""
        return bool(np.ptp(self.rewards.total) > 0)


@runtime_checkable
class Dataset(Protocol):
    """Samples in three parts that share no image and no near-duplicate."""

    name: str

    def split(self, name: str) -> Sequence[Sample]:
        """Return the samples of `train`, `val` or `test`, always in the same order."""
        ...

    def fingerprint(self) -> str:
        """Return a hash that changes whenever any sample, image, mask or part changes."""
        ...


@runtime_checkable
class Template(Protocol):
    """How to ask and how to read. It owns every word of the prompt and all parsing; it judges nothing."""

    name: str
    provides: frozenset[str]
    """What can vary under this template: stages, `reasoning_letter`, `explanation`, `boxes`."""

    def ask(self, sample: Sample, frames: Frames) -> Prompt:
        """Make the prompt for a sample; the same sample gives the same prompt."""
        ...

    def read(self, text: str, prompt: Prompt) -> Verdict:
        """Read a completion. Never raises, whatever the text is."""
        ...

    def reference(self, prompt: Prompt, rng: Random) -> str:
        """Write a completion that is right by the sample's labels, in wording that varies with `rng`."""
        ...

    def answers(self, prompt: Prompt) -> Mapping[str, str]:
        """Give, for each letter, the whole answer stage as text (opening tag to closing tag)."""
        ...

    def opening(self) -> str:
        """Text that goes between the prompt and the answer stage when the answer is forced without reasoning."""
        ...


@runtime_checkable
class Term(Protocol):
    """One named reward. `needs` names all of a verdict that it judges; it must be in the template's `provides`."""

    needs: frozenset[str]

    def __call__(self, verdict: Verdict, prompt: Prompt) -> float:
        """Judge one verdict. Pure: the same verdict and prompt give the same number."""
        ...


@runtime_checkable
class Reward(Protocol):
    """Named terms and their weights."""

    def __call__(self, verdicts: Sequence[Verdict], prompt: Prompt) -> Rewards:
        """Judge the verdicts of one group."""
        ...

    def best(self, prompt: Prompt) -> float:
        """Return the total that a completion which is right by the labels can earn."""
        ...


@runtime_checkable
class Rollout(Protocol):
    """How completions are made."""

    group_size: int
    temperature: float
    resample: int
    """How often at most a group without spread is drawn again."""

    def sample(self, prompts: Sequence[Prompt], *, seed: int) -> list[tuple[Completion, ...]]:
        """Draw `group_size` completions for each prompt; equal seed, prompts and weights give equal completions."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """What one step of the loop leaves behind for loggers and callbacks."""

    step: int
    """Counted from 1: the number of optimizer steps made so far."""
    groups: Sequence[Group]
    """Of this rank."""
    metrics: Mapping[str, float]
    """Over all ranks; names as in `metrics.jsonl`."""


@runtime_checkable
class Callback(Protocol):
    """What listens to a run: loggers, validation, checkpoints, the sample gallery."""

    def before_run(self, run: Any) -> None:
        """Prepare, once, when everything is built and restored; `run` is the `adfm.run.Run`."""
        ...

    def after_step(self, record: StepRecord) -> None:
        """Take one step's record."""
        ...

    def after_run(self) -> None:
        """Finish, once."""
        ...
