"""The typed part of the configuration: every plain number of adfm, its meaning, its range and its only default.

Nodes of type `Any` pick code with a `_target_`; their defaults are in the signature of what they name. A misspelt key
or a wrong type stops when the config is composed, a number out of range when it is checked.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

SCORES = ("answer", "direct")
METRICS = {
    **dict.fromkeys(("balanced_accuracy", "f1", "auroc", "average_precision", "reward", "choice_accuracy"), 1),
    **dict.fromkeys(("box_iou", "mask_iou", "box_acc_0.1", "box_acc_0.3", "box_acc_0.5"), 1),
    **dict.fromkeys(("overkill", "miss", "unreadable", "parse_failure"), -1),
}
"""What can choose the best checkpoint; 1 where more is better, -1 where less is."""
CHECKPOINTS = ("last", "best")
"""What a run exports, as `optimizer.average` says: its last step, and the look with the best `evaluate.metric`."""
DTYPES = ("bfloat16", "float32")
LEAKS = ("error", "warn", "off")
"""What becomes of images that two parts of a data set share."""


class RangeError(ValueError):
    """Fields of one node that are out of range, one `name is value; it must be ...` each."""

    def __init__(self, findings: list[str]) -> None:
        super().__init__("\n".join(findings))
        self.findings = findings


def require(node: object, *rules: tuple[str, bool, str]) -> None:
    """Raise a `RangeError` that lists every broken rule: (field, whether it holds, what must hold)."""
    findings = [f"{name} is {getattr(node, name)!r}; it must be {rule}" for name, holds, rule in rules if not holds]
    if findings:
        raise RangeError(findings)


def at_least(node: object, least: int, *names: str) -> list[tuple[str, bool, str]]:
    """Make the rules that these fields are not below `least`."""
    return [(name, getattr(node, name) >= least, f"at least {least}") for name in names]


def one_of(node: object, name: str, allowed: tuple[str, ...]) -> tuple[str, bool, str]:
    """Make the rule that a field is one of these words."""
    return (name, getattr(node, name) in allowed, "one of " + ", ".join(allowed))


@dataclass
class LoraConfig:
    """Low-rank adapters on linear layers of the language model."""

    rank: int = 64
    alpha: int = 128
    dropout: float = 0.0
    targets: list[str] = field(
        default_factory=lambda: ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    )
    """Names of the linear layers that get an adapter."""

    def __post_init__(self) -> None:
        """Check ranges."""
        require(
            self,
            *at_least(self, 1, "rank", "alpha"),
            ("dropout", 0 <= self.dropout < 1, "in [0, 1)"),
            ("targets", len(self.targets) > 0, "a list with at least one layer name"),
        )


@dataclass
class FreezeConfig:
    """Which parts of the model keep their weights."""

    vision: bool = True
    """The vision tower; its features are then computed once per image and kept."""
    merger: bool = True
    """The layer between the tower and the language model."""
    language: bool = False
    """The language model, without what LoRA adds to it."""


@dataclass
class ModelConfig:
    """A checkpoint and everything that goes with its scale; optimizer, engine and rollout interpolate from here."""

    path: str = MISSING
    """A hub id, a local checkpoint folder, or `tiny` for the embedded model."""
    revision: str | None = None
    """Commit, tag or branch of the hub repository; None for a folder."""
    dtype: str = "bfloat16"
    """`bfloat16` or `float32`: of weights and activations."""
    frames: Any = MISSING
    """In which coordinates this model family writes boxes."""
    min_pixels: int = MISSING
    """Smaller images are enlarged to about this many pixels before the tower sees them."""
    max_pixels: int = MISSING
    """Larger images are reduced to at most this many pixels before the tower sees them."""
    freeze: FreezeConfig = field(default_factory=FreezeConfig)
    lora: LoraConfig | None = None
    """None trains the unfrozen weights themselves."""
    gradient_checkpointing: bool = False
    """Recompute the language layers in the backward pass: less memory, about a third more time."""
    feature_cache_mb: int = 1024
    """Megabytes of memory for image features of a frozen tower."""
    feature_cache_disk: bool = True
    """Whether these features are also kept on disk, for what does not fit and for later runs."""
    feature_cache_disk_gb: float = 100
    """Gigabytes on disk for all models and runs that share the cache folder; the least recently used go first."""
    learning_rate: float = MISSING
    warmup_steps: int = 0
    steps: int = MISSING
    """Optimizer steps of a run."""
    prompts_per_step: int = MISSING
    """Prompts of one optimizer step, over all ranks."""
    token_budget: int = MISSING
    """Most tokens of one packed micro-batch; a group is never split."""
    prompt_tokens: int = MISSING
    """A longer prompt is an error that names its sample; nothing is ever cut."""
    completion_tokens: int = MISSING
    """A completion is stopped here."""
    temperature: float = 1.0
    """Of the distribution that a rollout draws completions from, and that is trained."""
    zero_stage: int = 0
    """DeepSpeed ZeRO stage of `engine=preset`."""
    offload: bool = False
    """Whether `engine=preset` keeps the states of the optimizer in CPU memory."""

    def __post_init__(self) -> None:
        """Check ranges."""
        counts = ("min_pixels", "steps", "prompts_per_step", "token_budget", "prompt_tokens", "completion_tokens")
        require(
            self,
            one_of(self, "dtype", DTYPES),
            *at_least(self, 1, *counts),
            *at_least(self, 0, "feature_cache_mb", "warmup_steps"),
            ("max_pixels", self.max_pixels >= self.min_pixels, f"at least min_pixels = {self.min_pixels}"),
            ("feature_cache_disk_gb", self.feature_cache_disk_gb > 0, "above 0; feature_cache_disk=false keeps none"),
            ("learning_rate", self.learning_rate > 0, "above 0"),
            ("zero_stage", self.zero_stage in (0, 1, 2, 3), "0, 1, 2 or 3"),
        )


@dataclass
class OptimizerConfig:
    """How weights are updated."""

    algorithm: Any = MISSING
    """A partial of a torch optimizer."""
    schedule: Any = MISSING
    """The learning rate's course over the steps."""
    max_grad_norm: float = 1.0
    """The gradient's norm is clipped to this; 0 leaves it as it is."""
    average: Any = None
    """The mean of the weights that is looked at and exported; None: the newest weights."""

    def __post_init__(self) -> None:
        """Check ranges."""
        require(self, *at_least(self, 0, "max_grad_norm"))


@dataclass
class EngineConfig:
    """On what a run computes."""

    nproc: int = 1
    """Processes, one per GPU, on each machine."""
    nnodes: int = 1
    """Machines."""
    deepspeed: dict[str, Any] = field(default_factory=dict)
    """Goes to `deepspeed.initialize`; batch sizes, precision and clipping are filled in by the engine."""

    def __post_init__(self) -> None:
        """Check ranges."""
        require(self, *at_least(self, 1, "nproc", "nnodes"))


@dataclass
class EvaluateConfig:
    """When a training run is evaluated, on how much, and what decides which checkpoint is best."""

    every: int = 50
    """Steps between two looks at the validation part."""
    val_samples: int = 256
    """Validation samples of one look; the same ones every time."""
    metric: str = "reward"
    """A metric of the evaluation's table, on the validation part; the best checkpoint is chosen by it."""
    which: str = "last"
    """The checkpoint of the closing table: `last`, or `best`, which a small validation part chooses by chance."""
    test_samples: int | None = None
    """Test samples of the closing table; None takes all."""
    at_end: bool = True
    """Whether to evaluate on the test part before and after training."""
    score: str = "answer"
    """Where the anomaly score comes from: `answer` (after greedy reasoning) or `direct` (without)."""

    def __post_init__(self) -> None:
        """Check ranges."""
        require(
            self,
            *at_least(self, 1, "every", "val_samples"),
            ("test_samples", self.test_samples is None or self.test_samples >= 1, "at least 1, or null for all"),
            one_of(self, "metric", tuple(METRICS)),
            one_of(self, "which", CHECKPOINTS),
            one_of(self, "score", SCORES),
        )


@dataclass
class CheckpointConfig:
    """What a run saves so that it can go on."""

    every: int = 20
    """Steps between two checkpoints."""
    keep: int = 1
    """How many of the newest stay on disk, beside the best."""
    merged: bool = False
    """Whether the export of a LoRA run also gets a folder with the adapters merged into the weights."""

    def __post_init__(self) -> None:
        """Check ranges."""
        require(self, *at_least(self, 1, "every", "keep"))


@dataclass
class TrainConfig:
    """A training run."""

    model: ModelConfig = MISSING
    dataset: Any = MISSING
    sampling: Any = None
    """In what order training meets its samples; None: every epoch all of them."""
    reasoning: Any = MISSING
    reward: Any = MISSING
    objective: Any = MISSING
    optimizer: OptimizerConfig = MISSING
    engine: EngineConfig = MISSING
    rollout: Any = MISSING
    logger: dict[str, Any] = field(default_factory=dict)
    """Named callbacks that record the run."""
    callbacks: dict[str, Any] = field(default_factory=dict)
    """Further named callbacks."""
    name: str = "adfm"
    """Prefix of the run's folder."""
    seed: int = 0
    steps: int = MISSING
    """Optimizer steps; a larger number extends a finished run."""
    prompts_per_step: int = MISSING
    """Prompts of one optimizer step, over all ranks."""
    train_samples: int | None = None
    """Use only this many samples of the train part; None takes all."""
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    runs: str = "runs"
    """The folder in which run folders are made."""
    leaks: str = "warn"
    """`error`, `warn` or `off`: what becomes of images that two parts share, by path, bytes and, where that costs
    seconds, by what they show; looked for before weights are loaded."""
    fresh: bool = False
    """Move the existing folder of this run aside and start again."""
    study: str | None = None
    """The question that this run belongs to; groups runs in tables and in W&B."""

    def __post_init__(self) -> None:
        """Check ranges."""
        require(
            self,
            *at_least(self, 1, "steps", "prompts_per_step"),
            *at_least(self, 0, "seed"),
            one_of(self, "leaks", LEAKS),
            ("train_samples", self.train_samples is None or self.train_samples >= 1, "at least 1, or null for all"),
        )
