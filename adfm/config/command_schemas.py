"""The typed part of the configuration of every command but training; see `adfm.config.schema`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from adfm.config.schema import (
    CHECKPOINTS,
    DTYPES,
    LEAKS,
    SCORES,
    EngineConfig,
    ModelConfig,
    OptimizerConfig,
    TrainConfig,
    at_least,
    one_of,
    require,
)

BASELINES = ("always_normal", "always_anomalous", "trivial_detector", "image_deviation", "patch_neighbours")
"""What an evaluation may set beside a model."""


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
    """`error`, `warn` or `off`: what becomes of images that the run trained on, or that the training part of the
    evaluated data set has where that is not known."""
    resamples: int = 1000
    """Of the bootstrap behind the 95% intervals; 0 gives none."""
    batch: int = 32
    """Images at once; changes speed, not results."""

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
            *at_least(self, 1, "draws", "batch"),
            *at_least(self, 0, "resamples", "seed"),
        )


@dataclass
class InspectConfig:
    """What decides what a model says about an image without labels; see `adfm.inspection.inspector.Inspector`."""

    model: ModelConfig = MISSING
    """Its path says which checkpoint; the rest counts where the checkpoint has no card, or where it is set by hand."""
    reasoning: Any = MISSING
    """Likewise."""
    run: str | None = None
    """A run's folder, or `newest` of `runs`: its export takes the place of model.path."""
    runs: str = "runs"
    which: str = "last"
    """`last` or `best`: which export of the run."""
    score: str = "answer"
    """`answer` (after the reasoning; the mean over several) or `direct` (without reasoning)."""
    samples: int = 1
    """Completions of each image: 1 is greedy; of several the majority's verdict, mean score and boxes count."""
    temperature: float = 1.0
    """Of several samples."""
    seed: int = 0
    """Of several samples, and of random references."""
    tiles: int | None = None
    """Larger images are asked about in overlapping tiles of so many pixels a side; None shows every image whole."""
    references: str | None = None
    """A folder of normal images: reasoning.references of them, or one, are shown beside each image."""
    reference_choice: str = "random"
    """`random`, or `similar`: the nearest by the model's own vision features."""
    category: str = "object"
    """What the images show, where a manifest does not say it."""
    knowledge: str | None = None
    """What is known of the category, or a text file that says it."""
    defect_types: list[str] | None = None
    """Types that a text may name; None takes those of the checkpoint's card."""
    batch: int = 32
    """Images, or tiles, at once; changes speed, not results."""

    def __post_init__(self) -> None:
        """Check ranges."""
        require(
            self,
            one_of(self, "which", CHECKPOINTS),
            one_of(self, "score", SCORES),
            one_of(self, "reference_choice", ("random", "similar")),
            ("temperature", self.temperature > 0, "above 0; samples=1 is greedy"),
            ("tiles", self.tiles is None or self.tiles >= 1, "at least 1, or null for whole images"),
            *at_least(self, 1, "samples", "batch"),
            *at_least(self, 0, "seed"),
        )


@dataclass
class PredictConfig(InspectConfig):
    """Images without labels to inspect."""

    images: Any = MISSING
    """A file, folder, glob or manifest (.jsonl, .csv, .parquet), or a list of them."""
    out: str = MISSING
    """The folder for the results."""
    threshold: Any = "auto"
    """A score above it is anomalous. `auto`: what calibration stored with the model, if it did; null: as written."""
    masks: Any = MISSING
    """What makes masks of boxes."""
    fresh: bool = False
    """Drop what an inspection left in `out` and start again."""
    nproc: int = 1
    """Processes that inspect side by side, each with the model, on a GPU of its own or a share of the cores."""

    def __post_init__(self) -> None:
        """Check ranges."""
        InspectConfig.__post_init__(self)
        number = isinstance(self.threshold, int | float) and not isinstance(self.threshold, bool)
        allowed = ("threshold", number or self.threshold in ("auto", None), "a number, auto or null")
        require(self, allowed, *at_least(self, 1, "nproc"))


@dataclass
class CalibrateConfig(InspectConfig):
    """Normal images that say from which score on a model is to give an alarm."""

    normals: str = MISSING
    """Normal images of the kind that will come: a file, folder, glob or manifest."""
    anomalous: str | None = None
    """Likewise anomalous ones; with them the score becomes a probability too."""
    max_false_alarm: float | None = 0.05
    """Share of normal images that may be called anomalous; None promises the best that so many normal images allow."""
    confidence: float = 0.95
    """With which the promise holds."""
    similarity: float | None = 0.98
    """Images count as one if their thumbnails correlate by this or more, or their hashes agree; None counts each."""

    def __post_init__(self) -> None:
        """Check ranges."""
        InspectConfig.__post_init__(self)
        rate, alike = self.max_false_alarm, self.similarity
        require(
            self,
            ("max_false_alarm", rate is None or 0 < rate < 1, "between 0 and 1, or null for the best that is possible"),
            ("confidence", 0 < self.confidence < 1, "between 0 and 1"),
            ("similarity", alike is None or 0 < alike <= 1, "in (0, 1], or null to count every image"),
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


COMMANDS: dict[str, type] = {
    "train": TrainConfig,
    "coldstart": ColdStartConfig,
    "evaluate": EvaluationConfig,
    "predict": PredictConfig,
    "calibrate": CalibrateConfig,
    "report": ReportConfig,
    "rewards": RewardsConfig,
    "data": DataConfig,
    "mmad_score": MmadScoreConfig,
}
"""Command, which is also the name of its primary config, to its schema."""
