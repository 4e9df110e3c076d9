"""The surfaces of the synthetic data: real ones bundled with scikit-image and drawn ones, each in one part only.

A `Texture` belongs to a category ("woven cloth"); a category belongs to one part, so validation and test show
surfaces that training never saw.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import skimage.data
from jaxtyping import Float
from numpy.random import Generator
from scipy.ndimage import affine_transform

from adfm.data import patterns

CANVAS = 320
"""Side of a drawn texture in pixels, at zoom 1."""

DRAWN: dict[str, dict[str, Callable[[Generator, int], np.ndarray]]] = {
    "train": {
        "woven cloth": patterns.woven,
        "knitwear": patterns.knit,
        "brushed metal": patterns.brushed,
        "marble": patterns.marble,
        "perforated sheet": patterns.perforated,
        "wood": patterns.wood,
        "concrete": patterns.concrete,
        "terrazzo": patterns.terrazzo,
        "corrugated sheet": patterns.corrugated,
        "leather": patterns.leather,
        "sandpaper": patterns.sandpaper,
        "wire mesh": patterns.wire_mesh,
        "knurled metal": patterns.knurled,
        "ceramic tiles": patterns.tiles,
        "foam": patterns.foam,
        "moulded plastic": patterns.moulded,
    },
    "val": {
        "twill": patterns.twill,
        "honeycomb": patterns.hex_mesh,
        "cork": patterns.cork,
        "corduroy": patterns.corduroy,
        "chipboard": patterns.chipboard,
    },
    "test": {
        "tread plate": patterns.tread_plate,
        "paper": patterns.paper,
        "parquet": patterns.parquet,
        "granite": patterns.granite,
        "quilted cover": patterns.quilted,
    },
}
REAL: dict[str, dict[str, Callable[[], np.ndarray]]] = {
    "train": {"brick": skimage.data.brick},
    "val": {"gravel": skimage.data.gravel},
    "test": {"grass": skimage.data.grass},
}
VARIANTS = {"train": 6, "val": 2, "test": 2}
"""Textures per drawn category. Real surfaces are one photograph each, tinted differently per variant."""


@dataclass(frozen=True, slots=True)
class Texture:
    """One surface: where it comes from and its colours."""

    name: str
    category: str
    part: str
    base: tuple[float, float, float]
    """Mean colour, 0 to 1."""
    direction: tuple[float, float, float]
    """Colour change for one deviation of tone."""


def _texture(category: str, variant: int, part: str) -> Texture:
    name = f"{category} {variant + 1}"
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    grey = rng.uniform(0.3, 0.7)
    tint = rng.normal(0, 1, 3) * rng.choice([0.0, 0.05, 0.09])
    base = np.clip(grey + tint - tint.mean(), 0.2, 0.8)
    direction = rng.uniform(0.04, 0.11) * (1 + rng.normal(0, 0.15, 3))
    return Texture(name, category, part, tuple(base.tolist()), tuple(direction.tolist()))


@cache
def textures(part: str) -> tuple[Texture, ...]:
    """Return the textures of a part, always in the same order."""
    categories = [*DRAWN[part], *REAL[part]]
    return tuple(_texture(category, variant, part) for category in categories for variant in range(VARIANTS[part]))


@cache
def tone_map(texture: Texture) -> Float[np.ndarray, "size size"]:
    """Return the texture's tone, standardised and clipped to 3 deviations; about 20 ms the first time."""
    if texture.category in REAL[texture.part]:
        tone = REAL[texture.part][texture.category]().astype(float)
    else:
        rng = np.random.default_rng(zlib.crc32(f"tone of {texture.name}".encode()))
        tone = DRAWN[texture.part][texture.category](rng, CANVAS)
    tone = (tone - tone.mean()) / tone.std()
    return np.clip(tone, -3, 3).astype(np.float32)


def crop(texture: Texture, rng: Generator, size: int, turn: float) -> Float[np.ndarray, "size size 3"]:
    """Cut a random square view: flipped, zoomed by 0.8 to 1.25, turned by up to `turn` radians, slightly recoloured."""
    tone = tone_map(texture)
    scale = 112 / size * rng.uniform(0.8, 1.25)
    angle = rng.uniform(-turn, turn)
    matrix = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix[:, 0] *= rng.choice([-1, 1])
    reach = scale * size * (abs(np.cos(angle)) + abs(np.sin(angle))) / 2 + 1
    centre = rng.uniform(reach, tone.shape[0] - 1 - reach, 2)
    shift = centre - matrix @ np.full(2, (size - 1) / 2)
    view = affine_transform(tone, np.column_stack([matrix, shift]), output_shape=(size, size), order=1)
    gain, offset = rng.uniform(0.75, 1.25), rng.uniform(-0.05, 0.05)
    base, direction = np.array(texture.base, np.float32), np.array(texture.direction, np.float32)
    return base + np.float32(offset) + view[..., None] * (direction * np.float32(gain))
