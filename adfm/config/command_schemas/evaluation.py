"""What is said of a run against the truth: an evaluation, its report, and answers to MMAD."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from adfm.config.schema import CHECKPOINTS, LEAKS, SCORES, ModelConfig, at_least, one_of, require

BASELINES = ("always_normal", "always_anomalous", "trivial_detector", "image_deviation", "patch_neighbours")
"""What an evaluation may set beside a model."""


@dataclass
class EvaluationConfig:
    """An evaluation of a run, or of a checkpoint folder."""

    model: ModelConfig | None = None
    dataset: Any = None
    reasoning: Any = None
    """Like `model` and `dataset`: None takes the run's own."""
    run: str | None = None
    """A run's folder; None takes the newest of `runs`."""
    runs: str = "runs"
    which: str = "last"
    """`last` or `best`: which export of the run."""
    checkpoint: str | None = None
    """A plain checkpoint folder or hub id in place of a run; it needs model, dataset and reasoning."""
    split: str = "test"
    samples: int | None = None
    """At most so many, always the same; None takes all."""
    score: str = "answer"
    """`answer` (after the reasoning; the mean over several) or `direct` (without reasoning)."""
    draws: int = 1
    """Completions of each image: 1 is greedy; of several the majority's verdict, mean score and boxes count."""
    temperature: float = 1.0
    """Of several draws."""
    seed: int = 0
    """Of several draws; those of another seed are never taken for these."""
    masks: Any = None
    """What makes masks of boxes; None makes none."""
    answering: str = "text"
    """`text`, or `logits`: the most likely letter, in one pass and without reasoning."""
    calibrate: bool = False
    """Show also what the score decides at the threshold that is best on val."""
    before: bool = True
    """Evaluate also what the run started from."""
    baselines: list[str] = field(default_factory=lambda: list(BASELINES))
    """Detectors without a model on the same images: `always_normal`, `always_anomalous`, `trivial_detector` (sharpest
    grey edge), `image_deviation` (of grey values), `patch_neighbours` (distance to patches of normal images)."""
    leaks: str = "warn"
    """`error`, `warn` or `off`: what becomes of images that the checkpoint and its starts trained on, or that the
    training part of the evaluated data set has where that is not known."""
    resamples: int = 1000
    """Of the bootstrap behind the 95% intervals; 0 gives none."""
    batch: int = 32
    """Images at once; changes speed, not results."""
    nproc: int = 1
    """Processes that divide the images, each with the model, on a GPU of its own or a share of the cores."""

    def __post_init__(self) -> None:
        """Check ranges."""
        require(
            self,
            one_of(self, "leaks", LEAKS),
            one_of(self, "which", CHECKPOINTS),
            one_of(self, "split", ("train", "val", "test")),
            one_of(self, "score", SCORES),
            one_of(self, "answering", ("text", "logits")),
            ("baselines", set(self.baselines) <= set(BASELINES), f"a list of {', '.join(BASELINES)}"),
            ("samples", self.samples is None or self.samples >= 1, "at least 1, or null for all"),
            ("temperature", self.temperature > 0, "above 0; draws=1 is greedy"),
            *at_least(self, 1, "draws", "batch", "nproc"),
            *at_least(self, 0, "resamples", "seed"),
        )


@dataclass
class ReportConfig:
    """The page of a run, the table of a study, or two runs side by side."""

    run: str | None = None
    """A run's folder; None takes the newest of `runs`."""
    runs: str = "runs"
    against: str | None = None
    """Another run's folder: the page says also what the two were asked to do differently."""
    study: str | None = None
    """A folder with a sweep.yaml, or one of its sweeps: tables and curves are written beside it; see `adfm.report`."""
    metrics: list[str] = field(
        default_factory=lambda: [
            *("balanced_accuracy", "auroc", "overkill", "miss", "box_iou", "box_acc_0.5", "parse_failure"),
        ]
    )
    """Columns of that table."""
    compare: list[str] | None = None
    """Two folders of evaluated runs; `compare RUN_A RUN_B` says the same."""
    on: str | None = None
    """The data set of that comparison, also as `dataset=`; None takes every one that both were evaluated on."""
    out: str | None = None
    """The folder for compare.html and compare.json; None takes `compare/<first run>` in the second run's folder."""


@dataclass
class MmadScoreConfig:
    """A finished file of answers to MMAD, scored without a model."""

    answers: str | None = None
    """A JSON list as MMAD's released evaluation writes: `image`, `question_type`, `correct_answer`, `gpt_answer`."""
    reading: str | None = None
    """`strict`, `official` or `anomalyr1`: how `gpt_answer` is read where it is what a model wrote; None takes it
    as the letter that released evaluations put there. See `adfm.reasoning.readers`."""
    scoring: str = "strict"
    """`official` or `strict`: which table `out` gets; both are printed. See `adfm.evaluation.mmad.rules`."""
    out: str | None = None
    """The JSON file to write: data set to column to percent; None writes none."""
    published: str | None = None
    """A folder of CSV files as in `all_result` of MMAD's repository, to show beside the shipped rows."""
    resamples: int = 1000
    """Of the bootstrap behind the 95% intervals; 0 gives none."""

    def __post_init__(self) -> None:
        """Check ranges."""
        readings = ("strict", "official", "anomalyr1")
        require(
            self,
            ("reading", self.reading in (None, *readings), f"one of {', '.join(readings)}, or null"),
            one_of(self, "scoring", ("official", "strict")),
            *at_least(self, 0, "resamples"),
        )
