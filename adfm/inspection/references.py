"""Which normal images of a folder are shown beside an image: drawn, or the most similar to the model's own eyes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from adfm.errors import ConfigError
from adfm.models.vlm import VLM

CHOICES = ("random", "similar")


class References:
    """Chooses among normal images, the same ones for an image every time, and never the image itself or a copy of it.

    Args:
        vlm: Its vision tower reads the images; it must be frozen.
        normals: Files of normal images of the same category.
        shots: How many are shown beside an image.
        choice: `random` (by `seed` and the image's bytes), or `similar`: the highest cosine between the images' mean
            features, as the language model gets them from the tower, the most similar first.
        seed: Of `random`.

    Raises:
        ConfigError: `shots` or `choice` cannot be, or there are too few normal images.
        DataError: A normal image cannot be read.
    """

    def __init__(
        self, vlm: VLM, normals: Sequence[Path], *, shots: int = 1, choice: str = "random", seed: int = 0
    ) -> None:
        if choice not in CHOICES:
            raise ConfigError(f"reference_choice is {choice!r}; it must be one of {', '.join(CHOICES)}")
        if shots < 1:
            raise ConfigError(f"reasoning.references is {shots}; it must be at least 1")
        self.shots = shots
        self.choice = choice
        self.seed = seed
        self._vlm = vlm
        by_digest: dict[str, Path] = {}
        for path in sorted(normals):
            by_digest.setdefault(self._digest(path), path)
        self.normals = tuple(by_digest.values())
        self._digests = tuple(by_digest)
        if len(self.normals) < shots:
            raise ConfigError(
                f"references: {len(self.normals)} different normal images cannot give reasoning.references={shots}; "
                "add normal images or lower it"
            )

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides the choice, as JSON values."""
        content = hashlib.sha256("".join(sorted(self._digests)).encode()).hexdigest()[:16]
        seed = {"seed": self.seed} if self.choice == "random" else {}
        return {"choice": self.choice, "shots": self.shots, "normals": content} | seed

    def of(self, image: Path) -> tuple[Path, ...]:
        """Return the `shots` references of an image.

        Raises:
            ConfigError: without the image itself there are too few.
            DataError: the image cannot be read.
        """
        digest = self._digest(image)
        order = self._drawn(digest) if self.choice == "random" else self._nearest(image)
        chosen = [self.normals[place] for place in order if self._digests[place] != digest][: self.shots]
        if len(chosen) < self.shots:
            raise ConfigError(
                f"{image}: is itself one of the {len(self.normals)} normal images, and the others do not give "
                f"reasoning.references={self.shots}; add normal images or lower it"
            )
        return tuple(chosen)

    def _digest(self, image: Path) -> str:
        return self._vlm.tower.reader.key(image).digest

    def _drawn(self, digest: str) -> list[int]:
        """Draw one more than is shown, in case the image is among them."""
        count = len(self.normals)
        return Random(f"{self.seed} {digest}").sample(range(count), min(self.shots + 1, count))

    def _nearest(self, image: Path) -> list[int]:
        """Sort by falling similarity; equal ones by path."""
        likeness = self._features @ self._feature(image)
        return torch.sort(likeness, descending=True, stable=True).indices.tolist()

    @cached_property
    def _features(self) -> Float[Tensor, "normal channel"]:
        return torch.stack([self._feature(path) for path in self.normals])

    @torch.no_grad()
    def _feature(self, image: Path) -> Float[Tensor, " channel"]:
        """Return the mean of an image's features at the language model's input, as a vector of length 1."""
        tower = self._vlm.tower
        (features,) = tower.features([tower.reader.key(image)])
        return functional.normalize(features[0].float().mean(dim=0), dim=0).cpu()
