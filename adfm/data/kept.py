"""What a run keeps of its data (`data/` in its folder), and its training samples found again."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adfm.data.manifest import PARTS, WHOLE, Manifest, export, write_rows
from adfm.data.row_files import rows
from adfm.errors import AdfmError, DataError
from adfm.files import write_whole
from adfm.types import Dataset, Sample

STORED_ROWS = 20_000
"""Samples up to which a run keeps whole rows of its split; of larger sets it keeps ids."""
ABOUT = "about.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """The samples that a checkpoint was trained on, as far as they can be found."""

    samples: list[Sample] | None = None
    """None where none are known."""
    gaps: tuple[str, ...] = ()
    """Why they are not known, or not surely all."""

    def __add__(self, other: Training) -> Training:
        """Put two trainings together."""
        unknown = self.samples is None and other.samples is None
        samples = None if unknown else [*(self.samples or ()), *(other.samples or ())]
        return Training(samples=samples, gaps=(*self.gaps, *other.gaps))


def store(dataset: Dataset, folder: Path) -> None:
    """Keep the split of a run: `manifest.jsonl` as `manifest.export` writes it, and `about.json` with its root.

    Of a data set with more than 20,000 samples, and of one that a manifest has no form for, rows hold `split` and `id`,
    and `about.json` the fingerprint. Of one that is `drawn`, there is `about.json` alone, with what its samples are
    drawn from.
    """
    if (drawn := getattr(dataset, "drawn", None)) is not None:
        write_whole(folder / ABOUT, json.dumps({"dataset": dataset.name, "drawn": drawn}, indent=2) + "\n")
        return
    parts = {part: dataset.split(part) for part in PARTS}
    about: dict[str, Any] = {"dataset": dataset.name, **{part: len(samples) for part, samples in parts.items()}}
    why = f"more than {STORED_ROWS} samples" if sum(map(len, parts.values())) > STORED_ROWS else None
    try:
        about["root"] = None if why else str(export(dataset, folder).absolute())
    except DataError as error:
        why = str(error)
    if why:
        about |= {"ids_only": why, "fingerprint": dataset.fingerprint()}
        ids = ({"split": part, "id": sample.id} for part, samples in parts.items() for sample in samples)
        write_rows(folder / f"{WHOLE}.jsonl", ids)
    write_whole(folder / ABOUT, json.dumps(about, indent=2) + "\n")


def training(folder: Path, rebuilt: Callable[[], Dataset]) -> Training:
    """Find the training samples of the split that `store` kept.

    Of a data set that is `drawn` there are none, as no other has them.

    Args:
        folder: Of the split.
        rebuilt: Makes the data set again; called where the split is kept as ids.
    """
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        if "drawn" in about:
            return Training(samples=[])
        if "ids_only" in about:
            return _by_ids(folder / f"{WHOLE}.jsonl", about.get("fingerprint"), rebuilt())
        return Training(samples=list(Manifest(about["root"], manifest=folder).split("train")))
    except (OSError, ValueError, KeyError) as error:
        reason = f"{folder} cannot be read, {error!r}"
    except AdfmError as error:
        reason = " ".join(str(error).split())
    return Training(gaps=(f"the training images of {folder.parent.name} are not known ({reason})",))


def _by_ids(kept: Path, fingerprint: str | None, dataset: Dataset) -> Training:
    known = {sample.id: sample for part in PARTS for sample in dataset.split(part)}
    ids = [str(row["id"]) for _, row in rows(kept) if row["split"] == "train"]
    found = [known[name] for name in ids if name in known]
    gaps = [] if _fingerprint(dataset) == fingerprint else [f"{dataset.name} has changed since the training"]
    if lost := len(ids) - len(found):
        gaps.append(f"{lost:,} of {len(ids):,} training samples are no longer in {dataset.name}")
    return Training(samples=found, gaps=tuple(gaps))


def _fingerprint(dataset: Dataset) -> str:
    """Return the fingerprint of a data set; an empty one where a file of it is gone."""
    try:
        return dataset.fingerprint()
    except DataError:
        return ""
