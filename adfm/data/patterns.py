"""Surfaces drawn by formula: each function takes a seeded generator and a size and returns a tone map, size x size.

A tone map has no unit: `adfm.data.textures` standardises it (mean 0, deviation 1) and gives it colour. Every function
draws its own parameters (period, angle, grain), so that one function gives as many different textures as it is given
seeds.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy.random import Generator
from scipy.ndimage import gaussian_filter
from scipy.spatial import KDTree

Tone = Float[np.ndarray, "size size"]


def noise(rng: Generator, size: int, slope: float, stretch: tuple[float, float] = (1.0, 1.0)) -> Tone:
    """Return coloured noise with amplitude proportional to frequency ** -slope; `stretch` (y, x) draws it out."""
    fy = np.fft.fftfreq(size)[:, None] * stretch[0]
    fx = np.fft.rfftfreq(size)[None, :] * stretch[1]
    amplitude = (fy**2 + fx**2 + (2 / size) ** 2) ** (-slope / 2)
    amplitude[0, 0] = 0.0
    field = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((size, size))) * amplitude, s=(size, size))
    return field / field.std()


def _grid(rng: Generator, size: int, tilt: float = 0.15) -> tuple[Tone, Tone]:
    """Return x and y of every pixel, turned by up to `tilt` radians and shifted at random."""
    angle = rng.uniform(-tilt, tilt)
    y, x = np.mgrid[0:size, 0:size].astype(float)
    shift_x, shift_y = rng.uniform(0, 100, 2)
    return np.cos(angle) * x + np.sin(angle) * y + shift_x, np.cos(angle) * y - np.sin(angle) * x + shift_y


def _fraction(value: Tone) -> Tone:
    return value - np.floor(value)


def _cells(rng: Generator, size: int, spacing: float) -> tuple[Tone, Tone, np.ndarray]:
    """Return the distance to the nearest and to the second seed point and the index of the nearest, on a torus."""
    count = max(4, int((size / spacing) ** 2))
    half = size // 2
    points = rng.uniform(0, size, (count, 2))
    y, x = np.mgrid[0:half, 0:half] * (size / half)
    found = KDTree(points, boxsize=size).query(np.stack([y, x], -1).reshape(-1, 2), k=2)
    distance, index = np.asarray(found[0]), np.asarray(found[1])
    near, second, owner = (np.kron(part.reshape(half, half), np.ones((2, 2))) for part in (*distance.T, index[:, 0]))
    return near, second, owner.astype(int)


def _threads(rng: Generator, size: int, float_length: int) -> Tone:
    """Return warp and weft: each thread passes over `float_length` others, then under as many."""
    period = rng.uniform(5, 11)
    x, y = _grid(rng, size)
    column, row = np.floor(x / period), np.floor(y / period)
    over = ((column + row) // float_length) % 2 == 0
    warp = np.cos(np.pi * (_fraction(x / period) - 0.5))
    weft = np.cos(np.pi * (_fraction(y / period) - 0.5)) * rng.uniform(0.6, 0.9)
    return np.where(over, warp, weft) + 0.15 * noise(rng, size, 0.3)


def woven(rng: Generator, size: int) -> Tone:
    """Plain weave."""
    return _threads(rng, size, 1)


def twill(rng: Generator, size: int) -> Tone:
    """Weave with diagonal ribs."""
    return _threads(rng, size, 2)


def knit(rng: Generator, size: int) -> Tone:
    """Columns of V-shaped stitches."""
    period = rng.uniform(9, 18)
    x, y = _grid(rng, size)
    across = np.abs(_fraction(x / period) - 0.5)
    stitch = np.sin(2 * np.pi * (y / (period * rng.uniform(0.5, 0.8)) + rng.uniform(0.8, 1.4) * across))
    return stitch - 2.5 * (across < 0.08) + 0.2 * noise(rng, size, 0.4)


def brushed(rng: Generator, size: int) -> Tone:
    """Fine parallel grinding marks."""
    return noise(rng, size, rng.uniform(0.4, 0.9), (1.0, rng.uniform(12, 40)))


def marble(rng: Generator, size: int) -> Tone:
    """Soft clouds with broad veins."""
    x, _ = _grid(rng, size, 1.5)
    bend = noise(rng, size, 1.8)
    vein = np.sin(2 * np.pi * (x / rng.uniform(50, 110)) + rng.uniform(1.0, 2.2) * bend)
    return vein + 0.5 * noise(rng, size, rng.uniform(1.2, 1.6))


def perforated(rng: Generator, size: int) -> Tone:
    """A sheet with a lattice of round holes."""
    period, radius = rng.uniform(12, 24), rng.uniform(0.2, 0.34)
    x, y = _grid(rng, size, 0.7)
    row = np.floor(y / period)
    stagger = rng.choice([0.0, 0.5])
    distance = np.hypot(_fraction(x / period + stagger * (row % 2)) - 0.5, _fraction(y / period) - 0.5)
    return np.clip((distance - radius) * period / 1.5, -1, 1) + 0.12 * noise(rng, size, 0.8)


def wood(rng: Generator, size: int) -> Tone:
    """Long wavy grain."""
    _, y = _grid(rng, size, 0.3)
    bend = noise(rng, size, 1.9, (1.0, 4.0))
    rings = np.sin(2 * np.pi * y / rng.uniform(12, 34) + rng.uniform(1.0, 2.5) * bend)
    return rings + rng.uniform(0.3, 0.7) * noise(rng, size, 0.6, (1.0, 18.0))


def concrete(rng: Generator, size: int) -> Tone:
    """Cloudy cement with many small pores."""
    pores = gaussian_filter(rng.standard_normal((size, size)), rng.uniform(1.0, 1.8))
    pores = np.minimum(pores / pores.std() + rng.uniform(1.6, 2.0), 0)
    return noise(rng, size, rng.uniform(0.8, 1.3)) + 1.5 * pores


def terrazzo(rng: Generator, size: int) -> Tone:
    """Chips of stone in a binder."""
    near, second, index = _cells(rng, size, rng.uniform(9, 18))
    chips = rng.standard_normal(int(index.max()) + 1)[index]
    return gaussian_filter(np.where(second - near < 2.0, 0.0, chips), 0.7)


def corrugated(rng: Generator, size: int) -> Tone:
    """Parallel rounded ribs."""
    x, _ = _grid(rng, size, 1.5)
    wave = np.sin(2 * np.pi * x / rng.uniform(9, 30))
    return np.sign(wave) * np.abs(wave) ** rng.uniform(0.5, 1.5) + 0.15 * noise(rng, size, 0.6)


def leather(rng: Generator, size: int) -> Tone:
    """Grain of small cushions parted by creases."""
    near, second, _ = _cells(rng, size, rng.uniform(6, 11))
    return gaussian_filter(np.minimum(second - near, rng.uniform(2, 4)), 0.8) + 0.25 * noise(rng, size, 1.2)


def sandpaper(rng: Generator, size: int) -> Tone:
    """Even fine grit."""
    return noise(rng, size, rng.uniform(-0.1, 0.5))


def wire_mesh(rng: Generator, size: int) -> Tone:
    """Crossing wires over a dark ground."""
    period, half_width = rng.uniform(9, 18), rng.uniform(0.12, 0.2)
    x, y = _grid(rng, size, 0.8)
    across, along = np.abs(_fraction(x / period) - 0.5), np.abs(_fraction(y / period) - 0.5)
    wire = np.clip((half_width - np.minimum(across, along)) * period, -1, 1)
    return wire + 0.15 * noise(rng, size, 0.5)


def knurled(rng: Generator, size: int) -> Tone:
    """Small pyramids cut by two crossing sets of grooves."""
    period, slant = rng.uniform(8, 16), rng.uniform(0.5, 1.0)
    x, y = _grid(rng, size, 0.3)
    first, second = _fraction((x + slant * y) / period), _fraction((x - slant * y) / period)
    return np.minimum(np.abs(first - 0.5), np.abs(second - 0.5)) * 4 + 0.15 * noise(rng, size, 0.5)


def tiles(rng: Generator, size: int) -> Tone:
    """Square tiles with joints, each of a slightly different tone."""
    period = rng.uniform(18, 38)
    x, y = _grid(rng, size, 0.4)
    tone = rng.standard_normal((64, 64))[np.floor(x / period).astype(int) % 64, np.floor(y / period).astype(int) % 64]
    joint = np.maximum(np.abs(_fraction(x / period) - 0.5), np.abs(_fraction(y / period) - 0.5)) > 0.5 - 1.2 / period
    return np.where(joint, -2.5, 0.5 * tone) + 0.3 * noise(rng, size, 0.9)


def foam(rng: Generator, size: int) -> Tone:
    """Round pores side by side."""
    near, _, _ = _cells(rng, size, rng.uniform(7, 14))
    return gaussian_filter(near, 0.8) + 0.15 * noise(rng, size, 0.5)


def moulded(rng: Generator, size: int) -> Tone:
    """Plastic with a soft orange-peel surface."""
    fine = gaussian_filter(rng.standard_normal((size, size)), rng.uniform(1.2, 2.5), mode="wrap")
    return fine / fine.std() + 0.5 * noise(rng, size, 1.5)


def hex_mesh(rng: Generator, size: int) -> Tone:
    """Honeycomb."""
    period = rng.uniform(11, 20)
    x, y = _grid(rng, size, 0.5)
    waves = [np.cos(2 * np.pi * (np.cos(a) * x + np.sin(a) * y) / period) for a in (0, np.pi / 3, 2 * np.pi / 3)]
    return np.clip(np.sum(waves, axis=0), -1.5, rng.uniform(0.0, 1.0)) + 0.12 * noise(rng, size, 0.6)


def cork(rng: Generator, size: int) -> Tone:
    """Pressed granules with dark gaps."""
    near, second, index = _cells(rng, size, rng.uniform(6, 9))
    chips = 0.5 * rng.standard_normal(int(index.max()) + 1)[index]
    gaps = np.minimum(noise(rng, size, 0.9) + 1.2, 0)
    return gaussian_filter(chips + 0.3 * np.minimum(second - near, 2), 0.8) + gaps


def corduroy(rng: Generator, size: int) -> Tone:
    """Velvet ribs with a nap."""
    x, _ = _grid(rng, size, 0.4)
    rib = np.abs(np.sin(np.pi * x / rng.uniform(8, 14)))
    return 2 * rib + 0.5 * noise(rng, size, 0.7, (4.0, 1.0))


def chipboard(rng: Generator, size: int) -> Tone:
    """Pressed flakes lying in a few directions."""
    layers = [noise(rng, size, 1.0, s) for s in ((1.0, 5.0), (5.0, 1.0))]
    return np.where(noise(rng, size, 1.3) > 0, *layers) + 0.3 * noise(rng, size, 0.3)


def tread_plate(rng: Generator, size: int) -> Tone:
    """Raised lozenges in alternating directions."""
    period = rng.uniform(16, 26)
    x, y = _grid(rng, size, 0.4)
    flip = np.where((np.floor(x / period) + np.floor(y / period)) % 2 == 0, 1, -1)
    u, v = _fraction(x / period) - 0.5, _fraction(y / period) - 0.5
    along, across = (u + flip * v) / np.sqrt(2), (u - flip * v) / np.sqrt(2)
    bar = 1 - (along / 0.42) ** 2 - (across / 0.14) ** 2
    return np.clip(bar * 2, -0.5, 1) * np.where(across > 0, 1.0, 0.7) + 0.12 * noise(rng, size, 0.7)


def paper(rng: Generator, size: int) -> Tone:
    """Matted fibres."""
    layers = [noise(rng, size, 0.8, (1.0, 10.0)), noise(rng, size, 0.8, (10.0, 1.0)), noise(rng, size, 1.2)]
    return np.maximum(layers[0], layers[1]) + rng.uniform(0.2, 0.6) * layers[2]


def parquet(rng: Generator, size: int) -> Tone:
    """Small blocks of strips in a basket pattern."""
    period = rng.uniform(24, 38)
    x, y = _grid(rng, size, 0.3)
    upright = (np.floor(x / period) + np.floor(y / period)) % 2 == 0
    strip = _fraction(np.where(upright, x, y) / (period / 4))
    grain = np.where(upright, noise(rng, size, 0.6, (12.0, 1.0)), noise(rng, size, 0.6, (1.0, 12.0)))
    return np.where(np.abs(strip - 0.5) > 0.42, -2.0, 0.3) + 0.5 * grain


def granite(rng: Generator, size: int) -> Tone:
    """Grains of three tones."""
    first, second = (gaussian_filter(rng.standard_normal((size, size)), rng.uniform(1.2, 2.2)) for _ in range(2))
    grains = 1.5 * (first > first.std()) - 1.5 * (second > 0.8 * second.std())
    return gaussian_filter(grains, 0.6) + 0.4 * noise(rng, size, 0.5)


def quilted(rng: Generator, size: int) -> Tone:
    """Padded diamonds with seams."""
    period = rng.uniform(20, 34)
    x, y = _grid(rng, size, 0.2)
    puff = np.abs(np.sin(np.pi * (x + y) / period)) * np.abs(np.sin(np.pi * (x - y) / period))
    return 3 * np.sqrt(puff) + 0.3 * noise(rng, size, 0.6)
