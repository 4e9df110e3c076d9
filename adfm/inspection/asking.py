"""Asking a loaded model about samples: in batches, large images in tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from adfm.data.images import read_image
from adfm.errors import DataError
from adfm.evaluation import runner
from adfm.evaluation.decoding import Decoding
from adfm.evaluation.inspection import Inspection
from adfm.evaluation.score import Score
from adfm.inspection.joining import merged
from adfm.inspection.tiles import Tiling
from adfm.masks.segmenter import Segmenter
from adfm.models.vlm import VLM
from adfm.types import Sample, Template


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """The way in which a model is asked; see `adfm.evaluation.runner.inspect`."""

    vlm: VLM
    template: Template
    decoding: Decoding
    score: Score
    types: tuple[str, ...]
    segmenter: Segmenter | None
    tiling: Tiling | None
    """None shows every image whole."""
    batch: int
    """Samples, or tiles, at once."""

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides a score beside the model and what it is shown, as JSON values."""
        return {
            "decoding": dict(self.decoding.settings),
            "score": self.score.name,
            "tiles": self.tiling and {"size": self.tiling.size, "overlap": self.tiling.overlap},
        }

    def __call__(self, samples: Sequence[Sample]) -> list[Inspection]:
        """Ask about images of one tile together, and about every other one by itself.

        Raises:
            ConfigError: a prompt does not fit the model.
            DataError: an image or a reference cannot be decoded; see `undecodable`.
        """
        if self.tiling is None:
            return self._inspect(samples)
        whole = [len(self.tiling.places(sample.size)) == 1 for sample in samples]
        together = iter(self._inspect([sample for sample, one in zip(samples, whole, strict=True) if one]))
        return [
            next(together) if one else self._in_tiles(self.tiling, sample)
            for sample, one in zip(samples, whole, strict=True)
        ]

    def _in_tiles(self, tiling: Tiling, sample: Sample) -> Inspection:
        with tiling.cut(sample) as tiles:
            return merged(tiles, self._inspect([tile.sample for tile in tiles]), sample.size)

    def _inspect(self, samples: Sequence[Sample]) -> list[Inspection]:
        return [
            inspection
            for first in range(0, len(samples), self.batch)
            for inspection in runner.inspect(
                self.vlm,
                self.template,
                samples[first : first + self.batch],
                decoding=self.decoding,
                score=self.score,
                types=self.types,
                segmenter=self.segmenter,
            )
        ]


def undecodable(sample: Sample) -> DataError | None:
    """Say why the image of a sample, or a reference, cannot be decoded; None if all can be."""
    try:
        for file in (sample.image, *sample.references):
            read_image(file)
    except DataError as error:
        return error
    return None
