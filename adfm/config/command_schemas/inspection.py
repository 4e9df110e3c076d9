"""Images without labels: what decides what is said about them, and the commands that say it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

from adfm.config.schema import CHECKPOINTS, SCORES, ModelConfig, at_least, one_of, require


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
