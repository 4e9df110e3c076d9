"""What is evaluated and how: the plan, its parts, and its key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from omegaconf import DictConfig, OmegaConf

from adfm.config.compose import build
from adfm.config.run_folder import checkpoint_hash
from adfm.config.schema import ModelConfig
from adfm.data.leaks import evaluated_names
from adfm.data.mmad import is_mmad
from adfm.errors import ConfigError, DataError
from adfm.evaluation import runner
from adfm.evaluation.decoding import Decoding, Draws, Greedy
from adfm.evaluation.score import SCORES, Score
from adfm.masks.segmenter import Segmenter
from adfm.reasoning.defect_types import defect_types
from adfm.rewards.composite import knowing
from adfm.types import Dataset, Reward, Sample, Template

CHOOSING_SAMPLES = 512
"""Samples on which a threshold is chosen, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """On what checkpoints are evaluated, and how."""

    dataset: Dataset
    template: Template
    score: Score
    decoding: Decoding
    types: tuple[str, ...]
    """The defect types of all parts, which a text may name."""
    segmenter: Segmenter | None
    reward: Reward | None
    content: str
    """What of the configs decides about a prediction, beside the model: part of the key."""
    split: str = "test"
    count: int | None = None
    """Samples at most; None takes all."""
    batch: int = 32
    nproc: int = 1
    """Processes that divide the samples."""
    resamples: int = 1000
    """Of the bootstrap; 0 gives no intervals."""
    calibrate: bool = False
    """Whether to show also what the score decides at the threshold that is best on val."""
    baselines: Sequence[str] = ("always_normal", "always_anomalous", "trivial_detector")
    """Rows of detectors without a model on the same samples: names of `baselines.BASELINES`."""
    answering: str = "text"
    """`text`, or `logits` for the most likely letter without a word written."""
    asks_mmad: bool | None = None
    """Whether only MMAD's questions are evaluated, or only other samples; None takes both."""
    suffix: str = ""
    """Of the folder's name, where a data set has both."""

    @classmethod
    def of(
        cls,
        nodes: Mapping[str, Any],
        *,
        score: str = "answer",
        draws: int = 1,
        temperature: float = 1.0,
        seed: int = 0,
        **settings: Any,
    ) -> Plan:
        """Build `dataset`, `reasoning` and, where there are, `reward` and `masks` from their config nodes.

        One draw is greedy: `temperature` and `seed` count for several.

        Raises:
            ConfigError: There is nothing to draw, or there are no boxes to make masks of.
        """
        decoding: Decoding = Greedy() if draws == 1 else Draws(draws, temperature, seed)
        scored = SCORES[score]()
        reward, masks = nodes.get("reward"), nodes.get("masks")
        segmenter: Segmenter | None = None if masks is None else build(masks)
        template: Template = build(nodes["reasoning"])
        answering = settings.get("answering", "text")
        if answering != "text" and draws > 1:
            raise ConfigError(f"answering={answering} writes nothing that draws={draws} could draw; use draws=1")
        if segmenter is not None and (answering != "text" or "boxes" not in template.provides):
            raise ConfigError(
                f"masks={segmenter.name} needs boxes, which reasoning={template.name} with answering={answering} "
                "does not write; use masks=none"
            )
        dataset: Dataset = build(nodes["dataset"])
        types = defect_types(dataset)
        content = {
            "reasoning": _plain(nodes["reasoning"]),
            "reward": _plain(reward),
            "data": dataset.fingerprint(),
            "decoding": decoding.settings,
            "masks": None if segmenter is None else [segmenter.name, dict(segmenter.settings)],
            "answering": answering,
        }
        return cls(
            dataset=dataset,
            template=template,
            score=scored,
            decoding=decoding,
            types=types,
            segmenter=segmenter,
            reward=None if reward is None else knowing(build(reward), types),
            content=json.dumps({score: content}, sort_keys=True),
            **settings,
        )

    def parts(self) -> list[Plan]:
        """Part the plan into what has tables of its own, MMAD's questions, and what has the ordinary ones.

        Raises:
            DataError: There is no sample.
        """
        kinds = sorted({is_mmad(sample) for sample in self.samples()})
        if not kinds:
            raise DataError(f"{self.dataset.name} has no sample in its {self.split} part; choose another with split=")
        both = len(kinds) == 2
        return [replace(self, asks_mmad=kind, suffix="-mmad" if both and kind else "") for kind in kinds]

    def samples(self) -> list[Sample]:
        """The samples that are evaluated."""
        return self._own(runner.subset(self.dataset.split(self.split), self.count))

    def choosing_samples(self) -> list[Sample]:
        """Samples to choose a threshold on: of val, or of train where val is what is evaluated."""
        return runner.subset(self._own(self.dataset.split("train" if self.split == "val" else "val")), CHOOSING_SAMPLES)

    def normal_samples(self) -> list[Sample]:
        """Normal samples that a baseline may remember: of train, or of val where train is what is evaluated."""
        known = self._own(self.dataset.split("val" if self.split == "train" else "train"))
        return runner.subset([sample for sample in known if not sample.anomalous], CHOOSING_SAMPLES)

    def _own(self, samples: Sequence[Sample]) -> list[Sample]:
        return [sample for sample in samples if self.asks_mmad in (None, is_mmad(sample))]

    @property
    def data_sets(self) -> list[str]:
        """Names of the data sets that the samples are of."""
        return ["mmad"] if self.asks_mmad else evaluated_names(self.dataset, self.samples())

    @property
    def asks_boxes(self) -> bool:
        """Whether the template asks for boxes."""
        return "boxes" in self.template.provides

    @property
    def folder_name(self) -> str:
        """Of the folder for this data set: its name, with the part if it is not test."""
        name = f"{self.dataset.name}{self.suffix}"
        return name if self.split == "test" else f"{name}-{self.split}"


def model_config(node: DictConfig, *, path: str | None = None) -> ModelConfig:
    """Make what `VLM.load` takes from a `model` node, with another checkpoint in its place if `path` is given."""
    config: Any = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(ModelConfig), node))
    config.frames = build(node.frames)
    if path is not None:
        config.path, config.revision = path, None
    return config


def key_of(plan: Plan, node: DictConfig) -> str:
    """Hash all that decides the predictions of the checkpoint of a `model` node."""
    ids = [sample.id for sample in plan.samples()]
    settings = {name: node[name] for name in ("dtype", "min_pixels", "max_pixels", "completion_tokens")}
    weights = checkpoint_hash(node.path, node.revision)
    content = [weights, settings, _plain(node.frames), plan.content, plan.split, ids, plan.calibrate]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _plain(node: Any) -> Any:
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
