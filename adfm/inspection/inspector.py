"""Load a model once, inspect many images: what `python -m adfm.predict` runs, as a class.

inspector = Inspector("runs/adfm-1a2b3c4d/export/last", references="good", masks="classical")
for found in inspector.inspect(["part 1.png", "part 2.png"]):
    print(found.name, found.verdict, found.score, found.boxes, found.explanation)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from adfm.config.compose import build, compose
from adfm.config.run_folder import checkpoint_hash
from adfm.errors import ConfigError, DataError
from adfm.evaluation.decoding import Draws, Greedy
from adfm.evaluation.inspection import Inspection
from adfm.evaluation.plan import model_config
from adfm.evaluation.runner import BATCH
from adfm.evaluation.score import SCORES
from adfm.inspection.asking import Asking, undecodable
from adfm.inspection.checkpoints import folder_of, nodes_of, plain, settings_of
from adfm.inspection.inspected import Inspected, unread
from adfm.inspection.judging import AUTO, Judge
from adfm.inspection.references import References
from adfm.inspection.showing import Showing, normal_images, wording_of
from adfm.inspection.sources import Source
from adfm.inspection.spool import Picture, spooled
from adfm.inspection.tiles import Tiling
from adfm.masks.segmenter import Segmenter
from adfm.models.card import Card
from adfm.models.vlm import VLM
from adfm.types import Sample, Template

CATEGORY = "object"
"""What an image shows if nobody says."""
SCORING_KEYS = ("dtype", "min_pixels", "max_pixels", "completion_tokens", "frames")
"""Keys of a `model` node that decide a score, beside the weights."""
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
        batch: int = BATCH,
    ) -> None:
        self._node, template, types = nodes_of(model, reasoning, defect_types)
        self._reasoning = plain(template)
        wording = wording_of(self._reasoning, references=references is not None, knowledge=bool(knowledge))
        self.template: Template = build(OmegaConf.create(wording))
        self.defect_types = tuple(types)
        self.batch = batch
        if score not in SCORES:
            raise ConfigError(f"score={score!r}: must be one of {', '.join(SCORES)}")
        segmenter: Segmenter | None = None
        if "boxes" in self.template.provides:
            segmenter = build(compose("predict", [f"masks={masks}"]).masks if isinstance(masks, str) else masks)
        decoding = Greedy() if samples == 1 else Draws(samples, temperature, seed)
        tiling = None if tiles is None else Tiling(tiles)
        self.vlm = VLM.load(
            model_config(self._node), device="cuda" if torch.cuda.is_available() else "cpu", train=False
        )
        normals = None
        if references is not None:
            shots = wording.get("references") or 1
            normals = References(self.vlm, normal_images(references), shots=shots, choice=reference_choice, seed=seed)
        self._showing = Showing(
            wording, category=category, knowledge=knowledge, references=normals, digest=self._digest
        )
        self._asking = Asking(
            vlm=self.vlm,
            template=self.template,
            decoding=decoding,
            score=SCORES[score](),
            types=self.defect_types,
            segmenter=segmenter,
            tiling=tiling,
            batch=batch,
        )
        self._judge = Judge(threshold, folder=self.folder, scoring=self.scoring)
        self.threshold = self._judge.threshold

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
        return {"model": self._node.path, "revision": self._node.revision, "weights": self.scoring["weights"]}

    @property
    def card(self) -> Card:
        """What goes with its weights: the card of its checkpoint, or what one would say."""
        return Card.of(plain(self._node), self._reasoning, self.defect_types)

    @cached_property
    def scoring(self) -> dict[str, Any]:
        """All that decides a score, beside the image, as JSON values."""
        node = plain(self._node)
        return {
            "weights": checkpoint_hash(node["path"], node["revision"])[:16],
            "model": {name: node[name] for name in SCORING_KEYS},
            **self._showing.settings,
            **self._asking.settings,
        }

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides what is said about an image, beside the image, as JSON values."""
        segmenter = self._asking.segmenter
        return {
            **self.scoring,
            **self._judge.settings,
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
                samples[place] = self._showing.sample(source)
            except DataError as error:
                done[place] = unread(source, error)
        try:
            said = self._asking(list(samples.values()))
        except DataError:
            broken = {place: error for place, sample in samples.items() if (error := undecodable(sample))}
            done |= {place: unread(batch[place], error) for place, error in broken.items()}
            samples = {place: sample for place, sample in samples.items() if place not in broken}
            said = self._asking(list(samples.values()))
        for (place, sample), one in zip(samples.items(), said, strict=True):
            done[place] = self._judged(batch[place], sample, one)
        return [done[place] for place in range(len(batch))]

    def check(self, sources: Sequence[Source]) -> None:
        """Raise ConfigError for rows of a manifest that change the prompt, where a stored calibration judges scores."""
        self._judge.check(sources)

    def _judged(self, source: Source, sample: Sample, said: Inspection) -> Inspected:
        """Judge what is said of an image, and put its file beside it."""
        judged = self._judge(said)
        return Inspected(
            **{entry.name: getattr(judged, entry.name) for entry in fields(Inspection)},
            name=source.name,
            path=source.path,
            sha256=self._digest(source.path),
            size=sample.size,
            category=sample.category,
            references=sample.references,
            prompt=self._showing.key(sample),
        )

    def _digest(self, path: Path) -> str:
        return self.vlm.tower.reader.key(path).digest
