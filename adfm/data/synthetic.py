"""Seeded surfaces with drawn defects: images, masks and manifest are made on first use and kept in the cache folder."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from filelock import FileLock
from tqdm import tqdm

import adfm
from adfm.data.cache import cache_folder
from adfm.data.knowledge import knowledge_of
from adfm.data.manifest import PARTS, part_of, read_manifest
from adfm.data.render import SHARD, Recipe, render_references, render_shard, shard_manifest
from adfm.errors import ConfigError, DataError
from adfm.types import Sample


class Synthetic:
    """Surfaces with seven families of defects; half of the samples are normal, some hard (light, blur, dust, turned).

    Whole categories of surface belong to one part, so `val` and `test` show what `train` never did. A part is made
    when it is first read (about 3 ms an image and core), and the first N samples of a part do not depend on how many
    are asked for. The `attributes` of a sample are `texture` and `nuisance`, and for an anomalous one also `bin`
    (easy, medium, hard), `contrast` (in deviations of the surface around the defect), `severity`, `description` and
    `twin` (the file beside the image that shows it without the defect; for reports only, since a difference of the
    two would solve the task).

    Args:
        root: Where the images are kept; by default `$ADFM_CACHE` or `~/.cache/adfm`.
        seed: Of all images. The textures themselves are the same for every seed.
        train: Number of samples.
        train_from: The place of the first of them in the endless row of training samples.
        val: Number of samples.
        test: Number of samples.
        image_size: Side in pixels.
        easy: Share of easy defects among the anomalous: 4.5 to 7.5 local deviations.
        medium: Likewise: 2.3 to 4.
        hard: Likewise: 1.2 to 2.
        dilation: See `adfm.data.masks.boxes_from_mask`.
        min_area: Likewise.

    Raises:
        ConfigError: The shares do not add up to 1, or a number is negative.
    """

    disjoint = True
    """Its parts show different surfaces, so that a run need not draw all of them to look for leaks."""

    def __init__(
        self,
        root: str | Path | None = None,
        *,
        seed: int = 0,
        train: int = 4000,
        train_from: int = 0,
        val: int = 400,
        test: int = 1000,
        image_size: int = 112,
        easy: float = 0.4,
        medium: float = 0.4,
        hard: float = 0.2,
        dilation: float = 0.01,
        min_area: int = 5,
    ) -> None:
        self.name = "synthetic"
        self.counts = {"train": train, "val": val, "test": test}
        self.first = {"train": train_from, "val": 0, "test": 0}
        if abs(easy + medium + hard - 1) > 1e-6 or min(easy, medium, hard) < 0:
            raise ConfigError(f"dataset.easy + dataset.medium + dataset.hard must be 1, not {easy + medium + hard:g}")
        for key, value in {**self.counts, "train_from": train_from, "seed": seed}.items():
            if value < 0:
                raise ConfigError(f"dataset.{key} must not be negative, but is {value}")
        if image_size < 56:
            raise ConfigError(f"dataset.image_size must be at least 56 for defects to be visible, but is {image_size}")
        self.recipe = Recipe(
            seed=seed,
            image_size=image_size,
            easy=easy,
            medium=medium,
            hard=hard,
            dilation=dilation,
            min_area=min_area,
        )
        self.folder = (Path(root) if root else cache_folder() / "synthetic") / _hash(asdict(self.recipe))
        self._parts: dict[str, list[Sample]] = {}

    def split(self, name: str) -> Sequence[Sample]:
        """Return the samples of `train`, `val` or `test`, drawing those that the cache lacks."""
        if name not in self._parts and name in PARTS:
            folder, first = self.folder / name, self.first[name]
            end = first + self.counts[name]
            shards = range(first // SHARD, -(-end // SHARD))
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / "lock"):
                render_references(self.recipe, name, folder)
                _render_missing(self.recipe, name, folder, shards)
            samples = [sample for shard in shards for sample in read_manifest(shard_manifest(folder, shard))]
            drawn_before = first - shards.start * SHARD
            wanted = samples[drawn_before : drawn_before + self.counts[name]]
            self._parts[name] = [_with_knowledge(sample) for sample in wanted]
        return part_of(self._parts, name)

    @property
    def drawn(self) -> dict[str, Any]:
        """What all samples are drawn from, so that a run need keep nothing else of them."""
        return {**asdict(self.recipe), **self.counts, "train_from": self.first["train"]}

    def fingerprint(self) -> str:
        """Return a hash of what the images are drawn from; nothing is drawn for it."""
        return _hash(self.drawn)


def _hash(values: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def _with_knowledge(sample: Sample) -> Sample:
    return replace(sample, knowledge=knowledge_of("synthetic", sample.category))


def _render_missing(recipe: Recipe, part: str, folder: Path, shards: Sequence[int]) -> None:
    """Draw the shards that have no manifest, one process per core when there is more than one shard."""
    missing = [shard for shard in shards if not shard_manifest(folder, shard).is_file()]
    if len(missing) < 2:
        for shard in missing:
            render_shard(recipe, part, folder, shard)
        return
    cores = min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, len(missing))
    workers = [_worker(recipe, part, folder, missing[first::cores]) for first in range(cores)]
    with tqdm(total=len(missing) * SHARD, desc=f"drawing synthetic {part}", unit="image", leave=False) as bar:
        for worker in workers:
            for _ in worker.stdout or ():
                bar.update(SHARD)
    for worker in workers:
        if worker.wait():
            raise DataError(f"{folder}: drawing the synthetic images failed; the error stands above")


def _worker(recipe: Recipe, part: str, folder: Path, shards: Sequence[int]) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "adfm.data.render",
        json.dumps(asdict(recipe)),
        part,
        str(folder),
        *map(str, shards),
    ]
    package = str(Path(adfm.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([package, os.environ.get("PYTHONPATH", "")])}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
