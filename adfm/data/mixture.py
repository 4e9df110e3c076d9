"""Several data sets as one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from adfm.data.manifest import PARTS, part_of
from adfm.data.order import DATASET
from adfm.errors import ConfigError
from adfm.types import Dataset, Sample


class Mixture:
    """Data sets whose parts are joined, one after the other.

    The id of a sample has the name of its data set in front, and its attribute `dataset` says it, so tables have a row
    for each. `sampling=weighted` gives the data sets shares of the training; otherwise every epoch has all samples.

    Args:
        datasets: Name to data set.
        name: What tables call all of them together.

    Raises:
        ConfigError: There is no data set.
    """

    def __init__(self, datasets: Mapping[str, Dataset], *, name: str = "mixture") -> None:
        if not datasets:
            raise ConfigError("dataset.datasets is empty; add some, as in +dataset@dataset.datasets.NAME=mvtec")
        self.name = name
        self.datasets = datasets
        self._parts: dict[str, list[Sample]] = {}

    def split(self, name: str) -> Sequence[Sample]:
        """Return the samples of `train`, `val` or `test` of all data sets, in their order."""
        if name in PARTS and name not in self._parts:
            self._parts[name] = [
                replace(sample, id=f"{part}/{sample.id}", attributes={**sample.attributes, DATASET: part})
                for part, dataset in self.datasets.items()
                for sample in dataset.split(name)
            ]
        return part_of(self._parts, name)

    def fingerprint(self) -> str:
        """Return a hash of the data sets' names and fingerprints."""
        found = [(name, dataset.fingerprint()) for name, dataset in self.datasets.items()]
        return hashlib.sha256(json.dumps(found).encode()).hexdigest()[:16]

    @property
    def drawn(self) -> Mapping[str, Any] | None:
        """What the samples of each data set are drawn from; None if any of them lie on disk."""
        found = {name: getattr(dataset, "drawn", None) for name, dataset in self.datasets.items()}
        return None if None in found.values() else found

    @property
    def excluded(self) -> Mapping[str, str]:
        """What the data sets left out, by name, with the reason."""
        return {
            f"{name}/{left_out}": reason
            for name, dataset in self.datasets.items()
            for left_out, reason in getattr(dataset, "excluded", {}).items()
        }
