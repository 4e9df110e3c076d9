"""Two evaluated runs side by side: what was measured of each, the paired difference, the flips, and the configs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from adfm.errors import ConfigError, DataError
from adfm.evaluation import flips, metrics, prediction, tables, true_masks
from adfm.evaluation.estimates import NO_BOXES
from adfm.evaluation.flips import McNemar, Pair
from adfm.tracking.html.difference import flat

Estimates = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class OnDataset:
    """Two runs on one data set."""

    dataset: str
    first: Estimates
    second: Estimates
    difference: Estimates
    """Second minus first, paired by image, with 95% intervals."""
    test: McNemar
    pairs: Sequence[Pair]
    trained: tuple[str, str]
    """Whether each knows the domain of the data set; see `adfm.data.leaks.training_label`."""
    masks: Mapping[str, Mapping[str, Any]]
    """True masks of the second run's evaluation by sample id, as COCO RLE; empty where it has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two runs on the data sets that both were evaluated on."""

    first: str
    """Its name: that of the folder, with its parents' where both are called the same."""
    second: str
    datasets: Sequence[OnDataset]
    config: Mapping[str, tuple[str | None, str | None]] | None
    """Config path to both values as JSON where they differ; None if one has no config.yaml."""

    def to_json(self) -> str:
        """Write the numbers, the ids of the flipped samples and the configs' difference."""
        content = {
            "first": self.first,
            "second": self.second,
            "datasets": {
                one.dataset: {
                    "samples": len(one.pairs),
                    "trained": one.trained,
                    "first": one.first,
                    "second": one.second,
                    "difference": one.difference,
                    "mcnemar": asdict(one.test),
                    "flipped": {pair.first.id: pair.change for pair in one.pairs if pair.flipped},
                }
                for one in self.datasets
            },
            "config": self.config,
        }
        return json.dumps(content, indent=2, ensure_ascii=False)

    def text(self) -> str:
        """Lay out the tables for a terminal."""
        parts = []
        for one in self.datasets:
            columns = {self.first: one.first, self.second: one.second, "difference": one.difference}
            title = f"# {one.dataset}, {len(one.pairs)} samples{labels(one, (self.first, self.second))}"
            parts += [title, tables.comparison(columns), verdict(one.test)]
        if self.config:
            rows = [[path, *(value or "-" for value in both)] for path, both in self.config.items()]
            parts.append(tables.markdown(["config", self.first, self.second], rows))
        return "\n\n".join(parts)


def compare(first: Path, second: Path, dataset: str | None = None, *, resamples: int = 1000) -> Comparison:
    """Compare two run folders (or two folders that hold evaluations, as `RUN/eval/before` does).

    Args:
        first: The run that is the old one, if any is.
        second: The run that is measured against it.
        dataset: One of those that both were evaluated on; None takes them all.
        resamples: Of the bootstrap behind the intervals.

    Raises:
        ConfigError: A folder holds no evaluation, or `dataset` is not in both.
        DataError: The two were not evaluated on the same samples.
    """
    sides = [evaluations(first), evaluations(second)]
    shared = [name for name in sides[0] if name in sides[1]]
    known = "; ".join(f"{path}: {', '.join(side)}" for path, side in zip((first, second), sides, strict=True))
    if dataset is not None and dataset not in shared:
        raise ConfigError(f"dataset={dataset} was not evaluated in both runs ({known})")
    if not shared:
        raise ConfigError(
            f"the runs were evaluated on no common data set ({known}); use python -m adfm.evaluate run=... dataset=..."
        )
    chosen = shared if dataset is None else [dataset]
    names = _names(first, second)
    return Comparison(
        first=names[0],
        second=names[1],
        datasets=[_on_dataset(name, sides[0][name], sides[1][name], resamples) for name in chosen],
        config=config_difference(first, second),
    )


def evaluations(folder: Path) -> dict[str, Path]:
    """Find the evaluations of a run by data set; raises ConfigError if there is none."""
    root = folder / "eval" if (folder / "eval").is_dir() else folder
    found = {file.parent.name: file.parent for file in sorted(root.glob("*/metrics.json"))}
    if not found:
        raise ConfigError(
            f"{folder} holds no evaluation ({root}/<dataset>/metrics.json); use python -m adfm.evaluate run={folder}"
        )
    return found


def config_difference(first: Path, second: Path) -> dict[str, tuple[str | None, str | None]] | None:
    """Give the config paths whose values differ, with both values as JSON; None if one of the folders has no config."""
    files = [folder / "config.yaml" for folder in (first, second)]
    if not all(file.is_file() for file in files):
        return None
    one, other = (dict(flat(OmegaConf.to_container(OmegaConf.load(file)))) for file in files)
    return {path: (one.get(path), other.get(path)) for path in one | other if one.get(path) != other.get(path)}


def labels(one: OnDataset, names: tuple[str, str]) -> str:
    """Say of each run, by its name, what `OnDataset.trained` does, behind a title or a note."""
    return "".join(f"; {name}: {label}" for name, label in zip(names, one.trained, strict=True) if label)


def verdict(test: McNemar) -> str:
    """Say McNemar's test in a sentence.

    >>> verdict(McNemar(right_in_both=5, only_first=1, only_second=8, wrong_in_both=2, p_value=0.0390625))
    'Verdicts: 8 fixed, 1 broken, 5 right in both, 2 wrong in both; exact McNemar test: p = 0.039'
    """
    return (
        f"Verdicts: {test.only_second} fixed, {test.only_first} broken, {test.right_in_both} right in both, "
        f"{test.wrong_in_both} wrong in both; exact McNemar test: p = {test.p_value:.2g}"
    )


def _on_dataset(name: str, first: Path, second: Path, resamples: int) -> OnDataset:
    measured = [json.loads((folder / "metrics.json").read_text(encoding="utf-8")) for folder in (first, second)]
    sides = [
        [one for one in prediction.read(folder / "predictions.jsonl") if one.decides] for folder in (first, second)
    ]
    try:
        paired = flips.pairs(*sides)
    except DataError as error:
        raise DataError(f"{first} and {second} cannot be compared: {error}") from error
    boxes = all(found["overall"].get("box_iou", {}).get("reason") != NO_BOXES for found in measured)
    return OnDataset(
        dataset=name,
        first=measured[0]["overall"],
        second=measured[1]["overall"],
        difference=metrics.difference(*sides, boxes=boxes, resamples=resamples),
        test=flips.mcnemar(paired),
        pairs=paired,
        trained=(measured[0].get("trained", ""), measured[1].get("trained", "")),
        masks=true_masks.read(second / true_masks.NAME),
    )


def _names(first: Path, second: Path) -> tuple[str, str]:
    """Name two folders by as few of their last parts as tell them apart."""
    one, other = first.resolve().parts, second.resolve().parts
    for length in range(1, max(len(one), len(other)) + 1):
        if one[-length:] != other[-length:]:
            return "/".join(one[-length:]), "/".join(other[-length:])
    raise ConfigError(f"{first} is compared with itself; name two runs")
