"""Seven families of defects, drawn into an image with an exact mask and a contrast in units of the local deviation.

A family is a function `(image, material, rng) -> Change`. It says where the defect is (`cover`, 0 to 1), what it does
to the surface whatever the contrast (`fixed`), and what is scaled until the defect has the contrast asked for
(`tonal`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy.random import Generator
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

Picture = Float[np.ndarray, "height width 3"]
Plane = Float[np.ndarray, "height width"]
Material = Callable[[], Picture]
"""Gives a view of another surface."""

MASK_THRESHOLD = 0.3
"""A pixel belongs to the defect where its cover is above this."""
SMALLEST_DEVIATION = 0.02
"""Below this local deviation (of 1) the contrast unit stays constant: sensor noise and rounding hide less than that."""
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True, slots=True)
class Change:
    """What a defect does to an image, before its contrast is set."""

    cover: Plane
    """How much of each pixel the defect covers, 0 to 1."""
    fixed: Picture | float
    """Added whatever the contrast."""
    tonal: Picture
    """Scaled to the contrast; brighter where positive, and its sign may be turned unless `dark_only`."""
    words: str
    """What it looks like, without its tone."""
    dark_only: bool = False


@dataclass(frozen=True, slots=True)
class Defect:
    """A defect that was drawn."""

    image: Picture
    mask: Bool[np.ndarray, "height width"]
    contrast: float
    """Root mean square of the grey difference to the untouched image over the mask, in local deviations."""
    words: str


def draw(kind: str, image: Picture, material: Material, contrast: float, rng: Generator) -> Defect:
    """Draw one defect of a kind into a copy of `image` (0 to 1); `material` gives a view of another surface.

    `contrast` is met up to what the range of grey leaves; the reached value is in the result.
    """
    change = FAMILIES[kind](image, material, rng)
    mask = change.cover > MASK_THRESHOLD
    grey = image @ LUMA
    deviation = _local_deviation(grey, mask)
    fixed = change.fixed @ LUMA if isinstance(change.fixed, np.ndarray) else np.zeros_like(grey)
    wanted = contrast * deviation
    amplitude = np.sqrt(max(wanted**2 - _rms(fixed[mask]) ** 2, (0.4 * wanted) ** 2))
    sign = -1 if change.dark_only else _sign(float(grey[mask].mean()), amplitude, rng)
    scale = sign * amplitude / max(_rms((change.tonal @ LUMA)[mask]), 1e-3)
    result = np.clip(image + (change.fixed + change.tonal * scale).astype(image.dtype), 0.02, 0.98)
    reached = _rms(((result - image) @ LUMA)[mask]) / deviation
    return Defect(result, mask, float(reached), f"{'bright' if sign > 0 else 'dark'} {change.words}")


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values)))) if values.size else 0.0


def _local_deviation(grey: Plane, mask: Bool[np.ndarray, "height width"]) -> float:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    margin = max(4, grey.shape[0] // 14)
    window = grey[
        max(rows[0] - margin, 0) : rows[-1] + margin + 1, max(columns[0] - margin, 0) : columns[-1] + margin + 1
    ]
    return max(float(window.std()), SMALLEST_DEVIATION)


def _sign(level: float, amplitude: float, rng: Generator) -> int:
    """Choose dark or bright at random among what the range of grey leaves room for."""
    room = [side for side, left in ((-1, level - 0.02), (1, 0.98 - level)) if left >= amplitude]
    return int(rng.choice(room)) if room else (1 if level < 0.5 else -1)


def _tint(rng: Generator, strength: float) -> np.ndarray:
    """Return a colour of mean about 1."""
    return (1 + strength * rng.normal(0, 1, 3)).clip(0.3, 2).astype(np.float32)


def _centre(rng: Generator, size: int, reach: float) -> np.ndarray:
    """Return x and y of a point at least `reach` away from the border."""
    return rng.uniform(reach, size - reach, 2)


def _strokes(size: int, lines: list[tuple[np.ndarray, float]]) -> Plane:
    """Return the cover of polylines (points x, y; width in pixels), smoothed by drawing at three times the size."""
    sheet = Image.new("L", (3 * size, 3 * size))
    pen = ImageDraw.Draw(sheet)
    for points, width in lines:
        pen.line([tuple(3 * point) for point in points], fill=255, width=max(2, round(3 * width)), joint="curve")
    return np.asarray(sheet.reduce(3), np.float32) / 255


def _polygon(size: int, points: np.ndarray) -> Plane:
    sheet = Image.new("L", (3 * size, 3 * size))
    ImageDraw.Draw(sheet).polygon([tuple(3 * point) for point in points], fill=255)
    return np.asarray(sheet.reduce(3), np.float32) / 255


def _blob(rng: Generator, size: int, radius: float, roughness: float) -> Plane:
    """Return the cover of a round shape with a wavy outline, stretched by up to 1.6."""
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    outline = np.ones(48)
    for order in range(2, 6):
        outline += roughness / order * rng.normal() * np.cos(order * angle + rng.uniform(0, 2 * np.pi))
    stretch, turn = np.sqrt(rng.uniform(1.0, 1.6)), rng.uniform(0, np.pi)
    x, y = radius * outline.clip(0.4, 1.7) * np.array([np.cos(angle) * stretch, np.sin(angle) / stretch])
    points = np.stack([np.cos(turn) * x - np.sin(turn) * y, np.sin(turn) * x + np.cos(turn) * y], 1)
    return _polygon(size, points + _centre(rng, size, min(1.3 * radius, 0.4 * size)))


def _curve(rng: Generator, size: int, length: float, bend: float) -> np.ndarray:
    """Return points of a smooth arc inside the image."""
    turn = rng.uniform(0, 2 * np.pi)
    along = np.array([np.cos(turn), np.sin(turn)])
    middle = _centre(rng, size, min(0.45 * length, 0.42 * size))
    bow = rng.uniform(-bend, bend) * length * np.array([-along[1], along[0]])
    position = np.linspace(-0.5, 0.5, 16)[:, None]
    return (middle + position * length * along + (1 - 4 * position**2) * bow).clip(1, size - 2)


def scratch(image: Picture, material: Material, rng: Generator) -> Change:
    """A thin arc with a lip of the opposite tone along one side."""
    size = image.shape[0]
    unit = size / 112
    points = _curve(rng, size, rng.uniform(26, 75) * unit, 0.2)
    width = rng.uniform(1.6, 3.6) * unit
    core = _strokes(size, [(points, width)])
    lip = _strokes(size, [(points + rng.choice([-1, 1], 2) * 0.5 * width, 0.6 * width)])
    cover = np.maximum(core, lip)
    tonal = (core - 0.7 * lip * (1 - core))[..., None] * _tint(rng, 0.05)
    return Change(cover, 0.0, tonal, "scratch")


def crack(image: Picture, material: Material, rng: Generator) -> Change:
    """A dark jagged line with branches that grows thinner."""
    size = image.shape[0]
    unit = size / 112
    heading, steps = rng.uniform(0, 2 * np.pi), int(rng.integers(9, 18))
    point = _centre(rng, size, 0.3 * size) - 1.6 * steps * unit * np.array([np.cos(heading), np.sin(heading)])
    lines, start_width = [], rng.uniform(2.0, 3.6) * unit
    trunk = [point]
    for step in range(steps):
        turn = heading + rng.normal(0, 0.55)
        point = point + rng.uniform(2, 5) * unit * np.array([np.cos(turn), np.sin(turn)])
        trunk.append(point)
        if rng.random() < 0.12 and step > 1:
            side = turn + rng.choice([-1, 1]) * rng.uniform(0.5, 1.1)
            ends = np.cumsum(rng.uniform(2, 4, 4))[:, None] * unit * np.array([np.cos(side), np.sin(side)])
            lines.append((np.vstack([point, point + ends + rng.normal(0, unit, (4, 2))]), 0.5 * start_width))
    path = np.array(trunk)
    widths = np.linspace(start_width, 0.5 * start_width, steps)
    lines += [(path[i : i + 2], float(widths[i])) for i in range(steps)]
    cover = _strokes(size, [(points.clip(1, size - 2), width) for points, width in lines])
    return Change(cover, 0.0, np.repeat(cover[..., None], 3, 2), "crack", dark_only=True)


def hole(image: Picture, material: Material, rng: Generator) -> Change:
    """A pit with a dark core that is lit along one edge."""
    size = image.shape[0]
    cover = _blob(rng, size, rng.uniform(4.5, 13) * size / 112, 0.25)
    flat = gaussian_filter(image, (3, 3, 0))
    lit = np.roll(cover, rng.integers(-2, 3, 2), (0, 1))
    tonal = (cover - 0.6 * cover * (1 - lit))[..., None] * np.ones(3, np.float32)
    return Change(cover, 0.7 * cover[..., None] * (flat - image), tonal, "hole", dark_only=True)


def stain(image: Picture, material: Material, rng: Generator) -> Change:
    """A discoloured area with a soft edge; the surface shows through."""
    size = image.shape[0]
    unit = size / 112
    sharp = _blob(rng, size, rng.uniform(8, 22) * unit, 0.3)
    cover = np.clip(1.2 * gaussian_filter(sharp, rng.uniform(0.8, 2.0) * unit) - 0.1, 0, 1)
    tonal = (cover * (0.4 + image @ LUMA))[..., None] * _tint(rng, 0.25)
    return Change(cover, 0.0, tonal, "stain")


def dent(image: Picture, material: Material, rng: Generator) -> Change:
    """A hollow: bright on the side that faces the light, dark on the other."""
    size = image.shape[0]
    unit = size / 112
    sharp = _blob(rng, size, rng.uniform(8, 18) * unit, 0.12)
    height = gaussian_filter(sharp, 2.5 * unit)
    turn = rng.uniform(0, 2 * np.pi)
    slope_y, slope_x = np.gradient(height)
    shade = np.cos(turn) * slope_x + np.sin(turn) * slope_y
    shade = shade / np.abs(shade).max() + 0.35 * height
    cover = np.clip(2.2 * height - 0.15, 0, 1)
    return Change(cover, 0.0, (cover * shade)[..., None] * np.ones(3, np.float32), "dent")


def missing_part(image: Picture, material: Material, rng: Generator) -> Change:
    """A piece broken off: an angular patch without the surface's structure."""
    size = image.shape[0]
    reach = rng.uniform(6.5, 17) * size / 112
    corners = int(rng.integers(4, 7))
    angle = np.sort(np.arange(corners) + rng.uniform(-0.3, 0.3, corners)) * 2 * np.pi / corners + rng.uniform(0, 6)
    around = reach * rng.uniform(0.75, 1.3, corners) * np.array([np.cos(angle), np.sin(angle)])
    cover = _polygon(size, around.T + _centre(rng, size, min(1.1 * reach, 0.4 * size)))
    weight = cover[..., None]
    middle = (image * weight).sum((0, 1)) / weight.sum()
    return Change(cover, weight * 0.9 * (middle - image), weight * _tint(rng, 0.08), "patch where a part is missing")


def foreign_material(image: Picture, material: Material, rng: Generator) -> Change:
    """A flake of another material or a fibre lying on the surface."""
    size = image.shape[0]
    unit = size / 112
    if rng.random() < 0.3:
        points = _curve(rng, size, rng.uniform(25, 55) * unit, 0.6)
        cover = _strokes(size, [(points, rng.uniform(2.2, 4.0) * unit)])
        return Change(cover, 0.0, cover[..., None] * _tint(rng, 0.3), "fibre of foreign material")
    cover = _blob(rng, size, rng.uniform(6, 15) * unit, 0.35)
    weight = cover[..., None]
    middle = (image * weight).sum((0, 1)) / weight.sum()
    other = material()
    other = 0.6 * (other - other.mean((0, 1)))
    return Change(cover, weight * (middle + other - image), weight * _tint(rng, 0.25), "flake of foreign material")


FAMILIES: dict[str, Callable[[Picture, Material, Generator], Change]] = {
    "scratch": scratch,
    "crack": crack,
    "hole": hole,
    "stain": stain,
    "dent": dent,
    "missing part": missing_part,
    "foreign material": foreign_material,
}
"""Defect type, in plain words, to the function that draws it."""
