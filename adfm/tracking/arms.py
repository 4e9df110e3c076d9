"""The arms of a study: its cells without their seed, each pooled over its seeds.

An arm is told by its choices. On the test part it is compared with the checkpoint that it started from (`before`), and
with a control where its runs have one (`eval/control/<dataset>`); on the validation part, where no images are kept, its
looks while it trained are averaged.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from adfm.config.run_folder import RunFolder
from adfm.config.schema import METRICS
from adfm.evaluation import metrics, prediction
from adfm.evaluation.pooled import TERM, Pool, Pooled, of_values
from adfm.tracking import jsonl
from adfm.tracking.study import Cell

SEED = "seed"
SIDES = {"before": "eval/before", "control": "eval/control", "after": "eval"}
"""Side to its folder in a run."""
VALIDATION = "validation"
MOMENTS = ("start", "best", "last")
BETWEEN = "after - "
"""Before the name of the arm that another one is compared with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """The cells of a study that differ by their seed only."""

    choices: Mapping[str, str]
    """Without the seed."""
    folders: Mapping[str, RunFolder]
    """Seed to its run, whether or not it is there; a study that sweeps no seed has one, named by a dash."""

    @property
    def name(self) -> str:
        """The values of its choices."""
        return ", ".join(self.choices.values()) or "all"

    def datasets(self) -> list[str]:
        """Name the data sets on which a run of the arm was evaluated."""
        found = [path.parent.name for run in self.folders.values() for path in run.path.glob("eval/*/metrics.json")]
        return list(dict.fromkeys(sorted(found)))

    def trained(self, data: str, side: str) -> str:
        """Say whether a side of its runs knows the domain of a data set, as `Row.trained` does."""
        files = [run.path / SIDES[side] / data / "metrics.json" for run in self.folders.values()]
        return _joined([_read(file).get("trained", "") for file in files if file.is_file()])

    def records(self) -> dict[str, list[dict[str, Any]]]:
        """Read the steps that each run has logged; seeds whose run has logged none are left out."""
        paths = {seed: run.metrics_path for seed, run in self.folders.items() if run.metrics_path.is_file()}
        return {seed: found for seed, path in paths.items() if (found := jsonl.read(path))}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One number of a comparison."""

    arm: str
    data: str
    """A data set, or `validation`."""
    quantity: str
    """`before`, `control`, `after`, `after - before`, ...; of the validation part `start`, `best - start`, ..."""
    metric: str
    pooled: Pooled
    trained: str = ""
    """Whether the checkpoints of the quantity know the domain of the data; see `adfm.data.leaks.training_label`."""


def arms(cells: Sequence[Cell]) -> list[Arm]:
    """Put the cells together that differ by their seed only, in the order of the sweep."""
    found: dict[tuple[tuple[str, str], ...], dict[str, RunFolder]] = {}
    for cell in cells:
        choices = tuple((key, value) for key, value in cell.choices.items() if key != SEED)
        found.setdefault(choices, {})[cell.choices.get(SEED, "-")] = cell.folder
    return [Arm(choices=dict(choices), folders=folders) for choices, folders in found.items()]


def evaluated(found: Sequence[Arm], *, resamples: int = 1000) -> list[Row]:
    """Compare every arm with its start and its control, then each arm with the first, on every data set.

    Between arms rewards are not compared, as they may pay for other things, nor are arms about other samples.

    Raises:
        DataError: predictions cannot be read, or the runs were not evaluated on the same samples.
    """
    rows: list[Row] = []
    for data in dict.fromkeys(name for arm in found for name in arm.datasets()):
        pools = {arm.name: _pools(arm, data, resamples) for arm in found}
        for arm in found:
            rows += _of_sides(arm, data, pools[arm.name])
        trained = {arm.name: arm.trained(data, "after") for arm in found}
        rows += _between({name: sides["after"] for name, sides in pools.items() if "after" in sides}, data, trained)
    return rows


def validated(found: Sequence[Arm]) -> list[Row]:
    """Average every arm's looks at the validation part: the first, the one that its run chose, and the last.

    The chosen one is the best of many looks and so flatters; the last does not. There is no interval, as the looks keep
    no predictions.
    """
    rows = []
    for arm in found:
        looks = {seed: looks for seed, records in arm.records().items() if (looks := _looks(records))}
        if not looks:
            continue
        chosen = {seed: _moments(arm.folders[seed], seen) for seed, seen in looks.items()}
        for metric in _common(look for moments in chosen.values() for look in moments.values()):
            values = {moment: {seed: moments[moment][metric] for seed, moments in chosen.items()} for moment in MOMENTS}
            values |= {
                f"{moment} - start": {seed: values[moment][seed] - values["start"][seed] for seed in chosen}
                for moment in MOMENTS[1:]
            }
            rows += [
                Row(
                    arm=arm.name,
                    data=VALIDATION,
                    quantity=quantity,
                    metric=metric.removeprefix("val/"),
                    pooled=of_values(seeds),
                )
                for quantity, seeds in values.items()
            ]
    return rows


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write one line a number, with its interval over images, its spread over seeds and every seed's own value."""
    header = ["arm", "data", "trained", "quantity", "metric", "value", "low", "high", "seed_deviation", "seeds"]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for row in rows:
            pooled = row.pooled
            numbers = [_round(number) for number in (pooled.value, pooled.low, pooled.high, pooled.spread)]
            own = " ".join(f"{seed}:{_round(value)}" for seed, value in pooled.seeds.items())
            writer.writerow([row.arm, row.data, row.trained, row.quantity, row.metric, *numbers, own])


def _pools(arm: Arm, data: str, resamples: int) -> dict[str, Pool]:
    """Pool each side of an arm over the seeds that have it."""
    pools = {}
    for side, place in SIDES.items():
        folders = {seed: run.path / place / data for seed, run in arm.folders.items()}
        runs = {seed: folder for seed, folder in folders.items() if (folder / "metrics.json").is_file()}
        if runs:
            boxes = all(_asked_boxes(folder) for folder in runs.values())
            read = {seed: prediction.read(folder / "predictions.jsonl") for seed, folder in runs.items()}
            pools[side] = Pool(read, boxes=boxes, resamples=resamples)
    return pools


def _of_sides(arm: Arm, data: str, sides: Mapping[str, Pool]) -> Iterator[Row]:
    for side, pool in sides.items():
        row = partial(Row, arm=arm.name, data=data, quantity=side, trained=arm.trained(data, side))
        for metric in pool.metrics:
            if (value := pool.estimate(metric)) is not None:
                yield row(metric=metric, pooled=value)
    for side in ("before", "control"):
        if side in sides and "after" in sides:
            seeds = [seed for seed in sides[side].runs if seed in sides["after"].runs]
            old, new = sides[side].take(seeds), sides["after"].take(seeds)
            row = partial(Row, arm=arm.name, data=data, quantity=f"after - {side}", trained=arm.trained(data, "after"))
            for metric in new.metrics:
                if (change := new.minus(old, metric)) is not None:
                    yield row(metric=metric, pooled=change)


def _between(pools: Mapping[str, Pool], data: str, trained: Mapping[str, str]) -> Iterator[Row]:
    (first, reference), *others = pools.items()
    for other, pool in others:
        row = partial(Row, arm=other, data=data, trained=_joined([trained[other], trained[first]]))
        for metric in pool.metrics if pool.ids == reference.ids else ():
            of_reward = metric == "reward" or metric.startswith(TERM)
            if not of_reward and (change := pool.minus(reference, metric)) is not None:
                yield row(quantity=f"{BETWEEN}{first}", metric=metric, pooled=change)


def _asked_boxes(folder: Path) -> bool:
    return _read(folder / "metrics.json")["overall"]["box_iou"].get("reason") != metrics.NO_BOXES


def _read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8"))


def _joined(labels: Sequence[str]) -> str:
    """Say once what is equal."""
    return " / ".join(dict.fromkeys(filter(None, labels)))


def _looks(records: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    looks = [{name: value for name, value in record.items() if name.startswith("val/")} for record in records]
    return [look for look in looks if look]


def _moments(run: RunFolder, looks: Sequence[dict[str, float]]) -> dict[str, dict[str, float]]:
    metric = run.config.evaluate.metric
    best = max(looks, key=lambda look: METRICS[metric] * look[f"val/{metric}"])
    return {"start": looks[0], "best": best, "last": looks[-1]}


def _common(looks: Iterator[dict[str, float]]) -> list[str]:
    """Name what all looks measured, in the order of the first."""
    first, *others = list(looks)
    return [
        name
        for name, value in first.items()
        if all(other.get(name) is not None for other in others) and value is not None
    ]


def _round(number: float | None) -> float | str:
    return "" if number is None else round(number, 6)
