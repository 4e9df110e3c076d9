"""Load a model once, inspect many images: what `python -m adfm.predict` runs, as a class.

inspector = Inspector("runs/adfm-1a2b3c4d/export/last", references="good", masks="classical")
for found in inspector.inspect(["part 1.png", "part 2.png"]):
    print(found.name, found.verdict, found.score, found.boxes, found.explanation)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from adfm.config.compose import build, compose
from adfm.config.run_folder import checkpoint_hash
from adfm.data.images import read_image, read_size
from adfm.errors import ConfigError, DataError
from adfm.evaluation import runner
from adfm.evaluation.decoding import Decoding, Draws, Greedy
from adfm.evaluation.inspection import Inspection
from adfm.evaluation.plan import model_config
from adfm.evaluation.score import SCORES
from adfm.inspection import calibration
from adfm.inspection.checkpoints import files_of, folder_of, nodes_of, plain, settings_of, showing
from adfm.inspection.inspected import Inspected
from adfm.inspection.joining import merged
from adfm.inspection.references import References
from adfm.inspection.sources import Source
from adfm.inspection.spool import Picture, spooled
from adfm.inspection.tiles import Tiling
from adfm.masks.segmenter import Segmenter
from adfm.models.card import Card
from adfm.models.vlm import VLM
from adfm.types import Sample, Template

AUTO = "auto"
"""The threshold and the probability that `python -m adfm.calibrate` stored with the model, if it did."""
CATEGORY = "object"
"""What an image shows if nobody says."""
_LONGEST_PATH = 255
"""Characters; a longer text is none."""


class Inspector:
    """A loaded model with everything that decides what it says about an image.

    Args:
        model: A checkpoint folder, a hub id, `tiny`, or a `model` config node. A folder with a card (`adfm.json`) is
            asked as the card says, every other one with the settings of `model=tiny`.
        reasoning: The name of a template's option, or its config node; by default the card's, else `three_stage`.
        score: `answer` (after the reasoning) or `direct` (without).
        samples: Completions for each image: 1 is greedy; of several the consensus counts.
        temperature: Of several samples.
        seed: Of several samples, and of random references.
        threshold: A score above it is anomalous. `auto` takes what calibration stored with the model, if it did; None
            is the verdict as the model writes it.
        tiles: Images larger than this are asked about in overlapping tiles of so many pixels a side.
        references: A folder or files of normal images to show beside each image, as many as the template shows, or one.
        reference_choice: `random` or `similar`.
        category: What the images show.
        knowledge: What is known of it: what normal looks like, which defects occur.
        defect_types: Types that a text may name; by default the card's.
        masks: The name of an option, or its config node; a template that asks for no boxes gives no masks.
        batch: Images, or tiles, that are asked about at once; it changes speed, not results.

    Raises:
        ConfigError: the checkpoint cannot be had, the settings contradict each other, or the model's calibration is for
            another way of scoring.
        DataError: a reference cannot be read.
    """

    def __init__(
        self,
        model: str | Path | DictConfig = "tiny",
        *,
        reasoning: str | DictConfig | None = None,
        score: str = "answer",
        samples: int = 1,
        temperature: float = 1.0,
        seed: int = 0,
        threshold: float | str | None = AUTO,
        tiles: int | None = None,
        references: str | Path | Sequence[str | Path] | None = None,
        reference_choice: str = "random",
        category: str = CATEGORY,
        knowledge: str = "",
        defect_types: Sequence[str] | None = None,
        masks: str | DictConfig = "none",
        batch: int = runner.BATCH,
    ) -> None:
        node, template, types = nodes_of(model, reasoning, defect_types)
        self._node, self._reasoning = node, plain(template)
        self._wording = showing(self._reasoning, references=references is not None, knowledge=bool(knowledge))
        self.template: Template = build(OmegaConf.create(self._wording))
        self.defect_types = tuple(types)
        self.batch = batch
        if score not in SCORES:
            raise ConfigError(f"score={score!r}: must be one of {', '.join(SCORES)}")
        self._score = SCORES[score]()
        self._decoding: Decoding = Greedy() if samples == 1 else Draws(samples, temperature, seed)
        self._segmenter: Segmenter | None = None
        if "boxes" in self.template.provides:
            self._segmenter = build(compose("predict", [f"masks={masks}"]).masks if isinstance(masks, str) else masks)
        self._tiling = None if tiles is None else Tiling(tiles)
        self.vlm = VLM.load(model_config(node), device="cuda" if torch.cuda.is_available() else "cpu", train=False)
        self._references = None
        if references is not None:
            files, shots = files_of(references), self._wording.get("references") or 1
            self._references = References(self.vlm, files, shots=shots, choice=reference_choice, seed=seed)
        self._category, self._knowledge = category, knowledge
        self.scoring = self._scoring()
        self._calibration = None
        if threshold == AUTO:
            self._calibration = calibration.find(self.folder, self.scoring)
            threshold = self._calibration and self._calibration.threshold.value
        self.threshold = None if threshold is None else float(threshold)

    @classmethod
    def of(cls, config: DictConfig, *, threshold: float | str | None, masks: DictConfig | str) -> Inspector:
        """Make the inspector of a command whose config has the fields of `InspectConfig`; raises what the class does.

        `knowledge` may be the path of a text file.
        """
        node, template, types = settings_of(config)
        knowledge = config.knowledge or ""
        if knowledge and len(knowledge) < _LONGEST_PATH and Path(knowledge).is_file():
            knowledge = Path(knowledge).read_text(encoding="utf-8").strip()
        names = ("score", "samples", "temperature", "seed", "tiles", "references", "reference_choice", "category")
        return cls(
            node,
            reasoning=template,
            threshold=threshold,
            knowledge=knowledge,
            defect_types=types,
            masks=masks,
            batch=config.batch,
            **{name: config[name] for name in names},
        )

    @property
    def folder(self) -> Path:
        """Of its checkpoint, where calibrations are stored; one that does not exist for a model from the hub."""
        return folder_of(self._node.path)

    @property
    def about(self) -> dict[str, Any]:
        """Which model it is: `model` (its path), `revision` and `weights` (16 hex digits)."""
        return {
            "model": self._node.path,
            "revision": self._node.revision,
            "weights": self.scoring["weights"],
        }

    @property
    def card(self) -> Card:
        """What goes with its weights: the card of its checkpoint, or what one would say."""
        return Card.of(plain(self._node), self._reasoning, self.defect_types)

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides what is said about an image, beside the image, as JSON values."""
        segmenter = self._segmenter
        curve = self._calibration and self._calibration.probability
        return {
            **self.scoring,
            "threshold": self.threshold,
            "probability": [curve.slope, curve.intercept] if curve else None,
            "masks": segmenter and [segmenter.name, dict(segmenter.settings)],
            "defect_types": list(self.defect_types),
        }

    def inspect(self, images: Picture | Sequence[Picture]) -> list[Inspected]:
        """Inspect one image or several: paths, PIL images or arrays of 8-bit pixels, `[height, width]` or with colours.

        An image that cannot be read has its `error` said. Images in memory are taken as their pixels lie; they are
        shown to the model by way of a temporary PNG file.

        Raises:
            TypeError: an array is no 8-bit image.
        """
        pictures = [images] if isinstance(images, Picture) else list(images)
        with spooled(pictures) as sources:
            said = [
                one
                for first in range(0, len(sources), self.batch)
                for one in self.inspect_sources(sources[first : first + self.batch])
            ]
        return [
            one if isinstance(picture, str | Path) else replace(one, path=None, sha256=None)
            for one, picture in zip(said, pictures, strict=True)
        ]

    def inspect_sources(self, batch: Sequence[Source]) -> list[Inspected]:
        """Inspect one batch, in order. One broken image does not touch the others.

        Raises:
            ConfigError: an image lacks the references that the template shows, a prompt does not fit the model, or the
                calibration of the model is for another prompt than a row of a manifest asks for.
        """
        self.check(batch)
        done: dict[int, Inspected] = {}
        samples: dict[int, Sample] = {}
        for place, source in enumerate(batch):
            try:
                samples[place] = self._sample(source)
            except DataError as error:
                done[place] = self._failed(source, error)
        try:
            said = self._ask(samples)
        except DataError:
            said = self._ask(self._readable(batch, samples, done))
        done |= {place: self._said(batch[place], samples[place], one) for place, one in said.items()}
        return [done[place] for place in range(len(batch))]

    def check(self, sources: Sequence[Source]) -> None:
        """Raise ConfigError for rows of a manifest that change the prompt, where a stored calibration judges scores."""
        if self._calibration is not None:
            advice = "inspect each category by itself with category=..., or set threshold=<number> or threshold=null"
            calibration.refuse_other_prompts(self.scoring, sources, advice=advice)

    def _ask(self, samples: Mapping[int, Sample]) -> dict[int, Inspection]:
        """Ask about images of one tile together, and about every other one by itself."""
        tiling = self._tiling
        large = {} if tiling is None else {at: one for at, one in samples.items() if len(tiling.places(one.size)) > 1}
        small = {at: one for at, one in samples.items() if at not in large}
        said = dict(zip(small, self._run(list(small.values())), strict=True)) if small else {}
        for place, sample in large.items():
            assert tiling is not None  # else none is large
            with tiling.cut(sample) as parts:
                said[place] = merged(parts, self._run([part.sample for part in parts]), sample.size)
        return said

    def _run(self, samples: Sequence[Sample]) -> list[Inspection]:
        return [
            inspection
            for first in range(0, len(samples), self.batch)
            for inspection in runner.inspect(
                self.vlm,
                self.template,
                samples[first : first + self.batch],
                decoding=self._decoding,
                score=self._score,
                types=self.defect_types,
                segmenter=self._segmenter,
            )
        ]

    def _readable(
        self, batch: Sequence[Source], samples: Mapping[int, Sample], done: dict[int, Inspected]
    ) -> dict[int, Sample]:
        """Return the samples whose image and references can be decoded; say of the others what cannot."""
        readable = {}
        for place, sample in samples.items():
            try:
                for file in (sample.image, *sample.references):
                    read_image(file)
            except DataError as error:
                done[place] = self._failed(batch[place], error)
            else:
                readable[place] = sample
        return readable

    def _sample(self, source: Source) -> Sample:
        """Make the sample that asks about an image. Its label plays no part: no prompt shows it."""
        size = read_size(source.path)
        references = source.references
        if self._references is not None and not references:
            references = self._references.of(source.path)
        if len(references) < (wanted := self._wording.get("references", 0)):
            raise ConfigError(
                f"{source.name}: the template shows {wanted} normal images beside each image, and there are "
                f"{len(references)}; give references=<folder of normal images>, or set reasoning.references"
            )
        return Sample(
            id=source.name,
            image=source.path,
            category=source.category or self._category,
            anomalous=False,
            stated_size=size,
            references=references,
            knowledge=source.knowledge or self._knowledge,
        )

    def _said(self, source: Source, sample: Sample, said: Inspection) -> Inspected:
        """Judge the score and put the file beside what is said of it."""
        values = {entry.name: getattr(said, entry.name) for entry in fields(Inspection)}
        if said.score is not None:
            if self.threshold is not None:
                values["predicted"] = said.score > self.threshold
            if self._calibration is not None and self._calibration.probability is not None:
                values["probability"] = self._calibration.probability(said.score)
        shown = [self._wording, sample.category, sample.knowledge, [self._digest(path) for path in sample.references]]
        return Inspected(
            **values,
            name=source.name,
            path=source.path,
            sha256=self._digest(source.path),
            size=sample.size,
            category=sample.category,
            references=sample.references,
            prompt=hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()[:16],
        )

    def _failed(self, source: Source, error: DataError) -> Inspected:
        try:
            digest = hashlib.sha256(source.path.read_bytes()).hexdigest()
        except OSError:
            digest = None
        known = {"name": source.name, "path": source.path, "sha256": digest, "category": source.category or ""}
        return Inspected(predicted=None, score=None, error=str(error), **known)

    def _digest(self, path: Path) -> str:
        return self.vlm.tower.reader.key(path).digest

    def _scoring(self) -> dict[str, Any]:
        """Give all that decides a score, beside the image."""
        node = plain(self._node)
        names = ("dtype", "min_pixels", "max_pixels", "completion_tokens", "frames")
        return {
            "weights": checkpoint_hash(node["path"], node["revision"])[:16],
            "model": {name: node[name] for name in names},
            "reasoning": self._wording,
            "decoding": dict(self._decoding.settings),
            "score": self._score.name,
            "tiles": self._tiling and {"size": self._tiling.size, "overlap": self._tiling.overlap},
            "references": self._references and self._references.settings,
            "category": self._category,
            "knowledge": self._knowledge,
        }
