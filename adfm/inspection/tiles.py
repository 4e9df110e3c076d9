"""Large images in overlapping tiles: each tile is asked about by itself, and what is found is put together.

A tile is a sample of its own, from a PNG file of its own that exists while it is inspected; so it takes the same path
through the model as any image. Only the decoded image and one tile are in memory at a time while it is cut.

The score of an image is the highest of its tiles. More tiles are more chances for a false alarm, so a threshold holds
only for images of the same size cut in the same way: calibrate with the same tiles.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from adfm.data.images import read_image
from adfm.errors import ConfigError
from adfm.types import Sample

Place = tuple[int, int, int, int]
"""A tile's `(x0, y0, x1, y1)` in pixels of the image, half-open."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A part of an image as a sample of its own."""

    sample: Sample
    place: Place


@dataclass(frozen=True, slots=True)
class Tiling:
    """How images are cut; one that is no larger than a tile stays whole.

    Args:
        size: Of a tile's sides, in pixels of the image. The model sees a tile within its own pixel limits.
        overlap: The least share of a side that neighbours have in common. A defect no larger than that is whole in one.
    """

    size: int
    overlap: float = 0.2

    def __post_init__(self) -> None:
        """Raise ConfigError for numbers that give no tiles."""
        if self.size < 1:
            raise ConfigError(f"tiles is {self.size}; it must be at least 1")
        if not 0 <= self.overlap <= 0.5:
            raise ConfigError(f"the overlap of tiles is {self.overlap}; it must be in [0, 0.5]")

    def places(self, size: tuple[int, int]) -> list[Place]:
        """Return the tiles of an image of `size` (width, height), row by row, spread evenly.

        >>> Tiling(size=100, overlap=0.2).places((260, 80))
        [(0, 0, 100, 80), (80, 0, 180, 80), (160, 0, 260, 80)]
        """
        width, height = (min(self.size, side) for side in size)
        return [(x, y, x + width, y + height) for y in self._starts(size[1]) for x in self._starts(size[0])]

    @contextmanager
    def cut(self, sample: Sample) -> Iterator[list[Tile]]:
        """Give the tiles of a sample; their files are gone afterwards. A sample of one tile is given as it is.

        A reference is cut at the same places, in proportion to its own size, so that a tile is compared with the same
        part of a normal image. A tile has no labels.

        Raises:
            DataError: the image or a reference cannot be read.
        """
        places = self.places(sample.size)
        if len(places) == 1:
            yield [Tile(sample, places[0])]
            return
        with TemporaryDirectory(prefix="adfm-tiles-") as folder:
            spool = Path(folder)
            files = _spool(sample.image, places, sample.size, spool / "image")
            shown = [
                _spool(reference, places, sample.size, spool / f"reference-{number}")
                for number, reference in enumerate(sample.references)
            ]
            yield [
                Tile(_part(sample, place, files[at], tuple(of_reference[at] for of_reference in shown)), place)
                for at, place in enumerate(places)
            ]

    def _starts(self, side: int) -> list[int]:
        if side <= self.size:
            return [0]
        step = self.size - math.ceil(self.overlap * self.size)
        steps = math.ceil((side - self.size) / step)
        return [round(number * (side - self.size) / steps) for number in range(steps + 1)]


def _spool(image: Path, places: Sequence[Place], size: tuple[int, int], folder: Path) -> list[Path]:
    """Write the places of an image of `size` as files; those of an image of another size in proportion."""
    folder.mkdir()
    pixels = read_image(image)
    across, down = pixels.width / size[0], pixels.height / size[1]
    files = []
    for number, (x0, y0, x1, y1) in enumerate(places):
        file = folder / f"{number}.png"
        part = (round(x0 * across), round(y0 * down), round(x1 * across), round(y1 * down))
        pixels.crop(part).save(file, compress_level=1)
        files.append(file)
    return files


def _part(sample: Sample, place: Place, image: Path, references: tuple[Path, ...]) -> Sample:
    x0, y0, x1, y1 = place
    return replace(
        sample,
        id=f"{sample.id} at {x0},{y0}",
        image=image,
        references=references,
        stated_size=(x1 - x0, y1 - y0),
        stated_boxes=None,
        mask=None,
    )
