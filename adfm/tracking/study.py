"""The cells of a study: which ones its sweep has, where each one's run is, and what it measured."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from adfm.config.compose import COMPOSITION_ERRORS, build, conf_folder, explain
from adfm.config.run_folder import RunFolder, checkpoint_hash, identity
from adfm.errors import ConfigError

MISSING = "—"

Estimate = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One combination of a study's swept choices on one data set."""

    choices: Mapping[str, str]
    folder: RunFolder
    """Of the run, whether or not it is there."""
    dataset: str
    """Empty where the run is missing or has not been evaluated."""
    metrics: Mapping[str, Estimate]
    """Metric to estimate over all samples; empty where missing."""
    trained: str = ""
    """Whether the checkpoint knows the domain of the data set; see `adfm.data.leaks.training_label`."""

    @property
    def run(self) -> str:
        """Name of the run folder."""
        return self.folder.path.name


def sweep_file(study: Path) -> Path:
    """Return the sweep that a path names: itself, or the `sweep.yaml` of a folder.

    Raises:
        ConfigError: there is none.
    """
    file = study / "sweep.yaml" if study.is_dir() else study
    if file.suffix != ".yaml" or not file.is_file():
        raise ConfigError(
            f"{study} is not a study: it has no sweep.yaml; give its folder as study=experiments/<study>, or a sweep "
            "in it as study=experiments/<study>/<sweep>.yaml"
        )
    return file


def cells(study: Path) -> list[Cell]:
    """Compose every cell of a sweep again and read what its run has measured; see `sweep_file`.

    Raises:
        ConfigError: there is no such sweep, it sweeps nothing, or a cell does not compose.
    """
    sweep = sweep_file(study)
    fingerprints: dict[str, str] = {}
    found = []
    for choices in _combinations(sweep):
        folder = _run_folder(composed(sweep, [f"{key}={value}" for key, value in choices.items()]), fingerprints)
        for dataset, measured in list(_measured(folder)) or [("", {"overall": {}})]:
            found.append(
                Cell(
                    choices=choices,
                    folder=folder,
                    dataset=dataset,
                    metrics=measured["overall"],
                    trained=measured.get("trained", ""),
                )
            )
    return found


def composed(config: Path, overrides: Sequence[str] = (), *, hydra_config: bool = False) -> DictConfig:
    """Compose a primary config of a study, which extends one of conf/.

    Raises:
        ConfigError: it does not compose.
    """
    search = f"hydra.searchpath=[file://{conf_folder()}]"
    GlobalHydra.instance().clear()  # of the command that asks, whose own config is composed by now
    with hydra.initialize_config_dir(str(config.parent.resolve()), version_base="1.3"):
        try:
            return hydra.compose(config.stem, [search, *overrides], return_hydra_config=hydra_config)
        except COMPOSITION_ERRORS as error:
            raise ConfigError(f"{config}: {explain(error)}") from error


def write_csv(path: Path, found: Sequence[Cell]) -> None:
    """Write one line a cell: its choices, its run, what it trained on, each metric with the ends of its interval."""
    metrics = list(dict.fromkeys(metric for cell in found for metric in cell.metrics))
    columns = [f"{metric}{end}" for metric in metrics for end in ("", "_low", "_high")]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*found[0].choices, "run", "dataset", "trained", *columns], restval="")
        writer.writeheader()
        for cell in found:
            about = {"run": cell.run, "dataset": cell.dataset, "trained": cell.trained}
            writer.writerow({**cell.choices, **about, **_numbers(cell.metrics)})


def markdown(found: Sequence[Cell], metrics: Sequence[str]) -> str:
    """Write the table for a README: the named metrics with their intervals, — where a run is missing."""
    header = [*found[0].choices, "run", "dataset", "trained", *metrics]
    rows = []
    for cell in found:
        numbers = [_written(cell.metrics.get(metric)) for metric in metrics]
        rows.append([*cell.choices.values(), cell.run, cell.dataset or MISSING, cell.trained or MISSING, *numbers])
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _combinations(sweep: Path) -> Iterator[dict[str, str]]:
    """Give every cell's overrides as Hydra's own sweeper would, in its order."""
    params = composed(sweep, hydra_config=True).hydra.sweeper.params or {}
    overrides = OverridesParser.create().parse_overrides([f"{key}={value}" for key, value in params.items()])
    if not overrides:
        raise ConfigError(f"{sweep} sweeps nothing; name the choices under hydra.sweeper.params")
    for values in product(*(_values(override) for override in overrides)):
        yield dict(zip((override.get_key_element() for override in overrides), values, strict=True))


def _values(override: Override) -> list[str]:
    if override.is_sweep_override():
        return list(override.sweep_string_iterator())
    return [override.get_value_element_as_str()]


def _run_folder(config: DictConfig, fingerprints: dict[str, str]) -> RunFolder:
    """Name the folder that `adfm.train` makes for a config; the fingerprint of each data set is computed once."""
    plain: Any = OmegaConf.to_container(config, resolve=True)
    dataset = json.dumps(plain["dataset"], sort_keys=True)
    if dataset not in fingerprints:
        fingerprints[dataset] = build(config.dataset).fingerprint()
    start = checkpoint_hash(plain["model"]["path"], plain["model"]["revision"])
    return RunFolder(Path(plain["runs"]) / f"{plain['name']}-{identity(plain, start, fingerprints[dataset])}")


def _measured(folder: RunFolder) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for path in sorted(folder.path.glob("eval/*/metrics.json")):
        yield path.parent.name, json.loads(path.read_text(encoding="utf-8"))


def _numbers(metrics: Mapping[str, Estimate]) -> dict[str, float]:
    ends = {"": "value", "_low": "low", "_high": "high"}
    return {
        f"{metric}{end}": estimate[key]
        for metric, estimate in metrics.items()
        for end, key in ends.items()
        if estimate.get(key) is not None
    }


def _written(estimate: Estimate | None) -> str:
    if estimate is None or estimate["value"] is None:
        return MISSING
    interval = f" ({estimate['low']:.3f}–{estimate['high']:.3f})" if "low" in estimate else ""
    return f"{estimate['value']:.3f}{interval}"
