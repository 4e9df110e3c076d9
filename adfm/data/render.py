"""One synthetic image from its number, and shards of them on disk.

Sample i of a part depends on the seed, the part and i alone, so the first N samples are the same whatever the number
asked for. Started as `python -m adfm.data.render RECIPE PART FOLDER SHARD...` it renders shards; `Synthetic` starts
one such process per core.
"""

from __future__ import annotations

import json
import shutil
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy.random import Generator
from PIL import Image
from scipy.ndimage import gaussian_filter

from adfm.data.defects import FAMILIES, Defect, draw
from adfm.data.manifest import write_manifest
from adfm.data.masks import MaskFiles, boxes_from_mask
from adfm.data.textures import Texture, crop, textures
from adfm.types import Sample

VERSION = 4
"""Of the images: raise it with every change that alters a byte, so that no stale cache is read."""
SHARD = 100
"""Samples per folder."""
REFERENCES = 6
"""Reference crops per texture and part; a sample shows one of them."""
NUISANCES = ("none", "lighting", "blur", "dust", "rotation")
NUISANCE_SHARES = (0.5, 0.14, 0.11, 0.14, 0.11)
BINS = {"easy": (4.5, 7.5), "medium": (2.3, 4.0), "hard": (1.2, 2.0)}
"""Contrast, in local deviations, of each difficulty."""
COUNT_SHARES = (0.78, 0.16, 0.06)
"""Of one, two and three defects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that the bytes of the images depend on, with the generator's version."""

    seed: int
    image_size: int
    easy: float
    medium: float
    hard: float
    dilation: float
    min_area: int
    version: int = VERSION


@dataclass(frozen=True, slots=True)
class Scene:
    """What one number became, before it is written."""

    image: Float[np.ndarray, "height width 3"]
    twin: Float[np.ndarray, "height width 3"]
    """The same without the defect."""
    mask: np.ndarray
    texture: Texture
    nuisance: str
    defect_type: str | None
    bin: str
    defects: tuple[Defect, ...]


def generator(recipe: Recipe, *path: str | int) -> Generator:
    """Return the random numbers of one place in the data set."""
    return np.random.default_rng([recipe.seed, *(zlib.crc32(str(step).encode()) for step in path)])


def scene(recipe: Recipe, part: str, index: int) -> Scene:
    """Draw sample `index` of a part. Of samples 2k and 2k + 1 exactly one is anomalous."""
    rng = generator(recipe, part, index)
    anomalous = bool(generator(recipe, part, "pair", index // 2).integers(2)) == bool(index % 2)
    texture = textures(part)[rng.integers(len(textures(part)))]
    nuisance = str(rng.choice(NUISANCES, p=NUISANCE_SHARES))
    base = crop(texture, rng, recipe.image_size, 0.6 if nuisance == "rotation" else 0.12).clip(0.03, 0.97)
    defect_type, difficulty, defects, surface = None, "", [], base
    if anomalous:
        defect_type = str(rng.choice(list(FAMILIES)))
        difficulty = str(rng.choice(list(BINS), p=(recipe.easy, recipe.medium, recipe.hard)))
        others = [other for other in textures(part) if other.category != texture.category]

        def material() -> np.ndarray:
            return crop(others[rng.integers(len(others))], rng, recipe.image_size, 3.0)

        for _ in range(1 + int(rng.choice(3, p=COUNT_SHARES))):
            defects.append(draw(defect_type, surface, material, rng.uniform(*BINS[difficulty]), rng))
            surface = defects[-1].image
    mask = np.any([defect.mask for defect in defects], axis=0) if defects else np.zeros(base.shape[:2], bool)
    image, *twin = _finish([surface, base] if defects else [base], nuisance, rng)
    return Scene(
        image=image,
        twin=twin[0] if twin else image,
        mask=mask,
        texture=texture,
        nuisance=nuisance,
        defect_type=defect_type,
        bin=difficulty,
        defects=tuple(defects),
    )


def _finish(surfaces: Sequence[np.ndarray], nuisance: str, rng: Generator) -> list[np.ndarray]:
    """Apply what happens in front of and in the camera, the same to an image and its twin."""
    size = surfaces[0].shape[0]
    specks = _specks(size, rng) if nuisance == "dust" else 0.0
    strength = rng.uniform(0.25, 0.45) if nuisance == "lighting" else rng.uniform(0.0, 0.08)
    turn, ramp = rng.uniform(0, 2 * np.pi), np.linspace(-0.5, 0.5, size, dtype=np.float32)
    light = 1 + np.float32(strength) * (np.float32(np.cos(turn)) * ramp[:, None] + np.float32(np.sin(turn)) * ramp)
    grain = np.float32(rng.uniform(0.006, 0.015)) * rng.standard_normal((size, size), dtype=np.float32)
    deviation = rng.uniform(0.6, 1.1) * size / 112 if nuisance == "blur" else 0.0
    finished = []
    for surface in surfaces:
        image = (surface + specks) * light[..., None]
        if deviation:
            image = gaussian_filter(image, (deviation, deviation, 0), truncate=2.5)
        finished.append((image + grain[..., None]).clip(0, 1))
    return finished


def _specks(size: int, rng: Generator) -> np.ndarray:
    """Return dust: specks of one or two pixels, too small to be a defect."""
    dust = np.zeros((size, size, 1), np.float32)
    for y, x in rng.integers(2, size - 2, (int(rng.integers(2, 7)), 2)):
        amount = rng.choice([-1, 1]) * rng.uniform(0.15, 0.4)
        dust[y, x] += amount
        dust[y + rng.integers(-1, 2), x + rng.integers(-1, 2)] += 0.6 * amount
    return dust


def reference(recipe: Recipe, part: str, texture: Texture, number: int) -> np.ndarray:
    """Draw a normal view of a texture that no sample shows."""
    rng = generator(recipe, part, "reference", texture.name, number)
    view = crop(texture, rng, recipe.image_size, 0.12).clip(0.03, 0.97)
    return _finish([view], "none", rng)[0]


def severity(covered: float) -> str:
    """Say how severe a defect is by the share of the image that it covers."""
    return "slight" if covered < 0.012 else "moderate" if covered < 0.04 else "severe"


def describe(view: Scene) -> str:
    """Say in words what is wrong with a scene."""
    if not view.defects:
        return ""
    words = [defect.words for defect in view.defects]
    count = {1: "a", 2: "two times a", 3: "three times a"}[len(words)]
    return f"{count} {severity(float(view.mask.mean()))} {words[0]}"


def render(recipe: Recipe, part: str, index: int, folder: Path) -> Sample:
    """Draw a sample and write its image, mask and twin into `folder`; the sample's paths say where they will lie."""
    view = scene(recipe, part, index)
    name = f"{part}-{index:06d}"
    home = folder.with_suffix("")
    _save(folder / f"{name}.png", view.image)
    attributes: dict[str, str | float] = {"texture": view.texture.name, "nuisance": view.nuisance}
    if view.defects:
        Image.fromarray(view.mask.astype(np.uint8) * 255).save(folder / f"{name}_mask.png", compress_level=1)
        _save(folder / f"{name}_twin.png", view.twin)
        attributes |= {
            "bin": view.bin,
            "severity": severity(float(view.mask.mean())),
            "contrast": round(min(defect.contrast for defect in view.defects), 3),
            "description": describe(view),
            "twin": f"{name}_twin.png",
        }
    shown = int(generator(recipe, part, index, "reference").integers(REFERENCES))
    return Sample(
        id=name,
        image=home / f"{name}.png",
        stated_size=(recipe.image_size, recipe.image_size),
        category=view.texture.category,
        anomalous=bool(view.defects),
        defect_type=view.defect_type,
        stated_boxes=boxes_from_mask(view.mask, dilation=recipe.dilation, min_area=recipe.min_area),
        mask=MaskFiles((home / f"{name}_mask.png",)) if view.defects else None,
        references=(folder.parent / "references" / reference_name(view.texture, shown),),
        attributes=attributes,
    )


def reference_name(texture: Texture, number: int) -> str:
    """Return the file name of a reference crop."""
    return f"{texture.name.replace(' ', '_')}-{number:02d}.png"


def _save(path: Path, image: np.ndarray) -> None:
    Image.fromarray((image * 255 + 0.5).astype(np.uint8)).save(path, compress_level=1)


def shard_manifest(folder: Path, shard: int) -> Path:
    """Return the manifest of a shard; it exists when, and only when, the shard is complete."""
    return folder / f"{shard:05d}.jsonl"


def render_references(recipe: Recipe, part: str, folder: Path) -> None:
    """Write all reference crops of a part into `folder / "references"`, unless they are there."""
    home = folder / "references"
    if home.is_dir():
        return
    with _draft(home) as draft:
        for texture in textures(part):
            for number in range(REFERENCES):
                _save(draft / reference_name(texture, number), reference(recipe, part, texture, number))


def render_shard(recipe: Recipe, part: str, folder: Path, shard: int) -> None:
    """Write the samples of one shard, then their manifest."""
    with _draft(folder / f"{shard:05d}") as draft:
        samples = [render(recipe, part, index, draft) for index in range(shard * SHARD, (shard + 1) * SHARD)]
    manifest = shard_manifest(folder, shard)
    write_manifest(manifest.with_suffix(".draft"), samples)
    manifest.with_suffix(".draft").replace(manifest)


@contextmanager
def _draft(home: Path) -> Iterator[Path]:
    """Give an empty folder that becomes `home` when all went well."""
    draft = home.with_suffix(".draft")
    for old in (draft, home):
        shutil.rmtree(old, ignore_errors=True)
    draft.mkdir(parents=True)
    yield draft
    draft.replace(home)


def main(arguments: list[str]) -> None:
    """Render shards and print the number of each when it is complete."""
    recipe, part, folder, *shards = arguments
    for shard in shards:
        render_shard(Recipe(**json.loads(recipe)), part, Path(folder), int(shard))
        print(shard, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
