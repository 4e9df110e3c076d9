"""What comes before GRPO: rewards of a file, a data set to check, and the cold start."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from adfm.config.schema import DTYPES, LEAKS, EngineConfig, ModelConfig, OptimizerConfig, at_least, one_of, require


@dataclass
class RewardsConfig:
    """Rewards of a file of completions, without a model."""

    reward: Any = MISSING
    reasoning: Any = None
    """The template that reads; None takes the one that the reward was released with, reading as released."""
    input: str = MISSING
    """A JSONL file: `id`, `completion`, `answer` (letter), `boxes` per line."""
    output: str = MISSING
    """The JSONL file to write: `id`, `terms`, `total` per line."""


@dataclass
class DataConfig:
    """A data set to check and to count."""

    dataset: Any = MISSING
    model: ModelConfig = MISSING
    """Whose image tokens are counted."""
    leaks: str = "warn"
    """`error`, `warn` or `off`: what images are that two parts share; `error` makes them problems."""
    out: str | None = None
    """A folder for the manifest (`manifest.jsonl`) and the gallery page; None writes none."""
    processes: int | None = None
    """That read images; None takes one for each core."""

    def __post_init__(self) -> None:
        """Check ranges."""
        require(
            self,
            one_of(self, "leaks", LEAKS),
            ("processes", self.processes is None or self.processes >= 1, "at least 1, or null for one for each core"),
        )


@dataclass
class ColdStartConfig:
    """Supervised fine-tuning before GRPO."""

    model: ModelConfig = MISSING
    dataset: Any = MISSING
    reasoning: Any = MISSING
    optimizer: OptimizerConfig = MISSING
    engine: EngineConfig = MISSING
    templates: dict[str, Any] = field(default_factory=dict)
    """Name to a template and its share of the lessons."""
    scratch: Any = None
    """What writes the checkpoint of random weights to start from; None starts from model.path."""
    dense: Any = MISSING
    """Dense pre-training of tower and merger on mask labels."""
    supervised: Any = MISSING
    """Fine-tuning on the completions that the templates write."""
    balanced: bool = True
    """Repeat training samples of the rarer label until both labels are equally frequent."""
    seed: int = 0
    output: str = "runs/coldstart"
    """Metrics, what is needed to resume, and what each stage leaves."""
    checkpoint: str = "${output}/checkpoint"
    """Where the finished checkpoint goes; `tiny` puts it into the package."""
    checkpoint_dtype: str | None = None
    """Of the weights on disk; None keeps that of training."""
    merged: bool = False
    """Whether a LoRA cold start is saved as whole weights."""
    fresh: bool = False
    """Drop what `output` holds and start again."""
    command: str | None = None
    """Filled in: how this was called."""

    def __post_init__(self) -> None:
        """Check ranges."""
        require(
            self,
            *at_least(self, 0, "seed"),
            ("checkpoint_dtype", self.checkpoint_dtype in (None, *DTYPES), f"one of {', '.join(DTYPES)}, or null"),
        )
