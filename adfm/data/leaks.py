"""Leaks between parts: one file, the same bytes, or the same picture under different names."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

from adfm.data.cache import Digests, Hashes
from adfm.data.images import read_image
from adfm.data.kept import Training
from adfm.data.likeness import as_vectors, close, perceptual_hash, same_picture
from adfm.data.order import DATASET
from adfm.errors import DataError
from adfm.types import Dataset, Sample

AT_START = 2000
"""A run compares pictures before it starts only if at most so many have no kept hash: 10 ms each."""
SHOWN = 3
"""Leaks that are told in full."""
KINDS = ("same file", "same bytes", "near-duplicate")
"""Surest first."""
UNKNOWN = "not known what it was trained on"
"""What a table says where neither a card nor a run names a data set."""
_MMAD = frozenset(("mmad", "ds_mvtec", "mvtec", "mvtec_loco", "visa", "goodsad"))
_SOURCES: Mapping[str, frozenset[str]] = {
    **{name: frozenset((name, "mmad")) for name in _MMAD},
    "mmad": _MMAD,
    "ds_mvtec": frozenset(("ds_mvtec", "mvtec", "mmad")),
    "mvtec": frozenset(("mvtec", "ds_mvtec", "mmad")),
}
"""Data set to those whose test images are, or come from the same source as, its training images: MMAD asks about test
images of MVTec AD (as DS-MVTec), MVTec LOCO, VisA and GoodsAD, and shows their training images as templates."""
_SAME = {"mvtec_ad": "mvtec", "loco": "mvtec_loco", "visa_raw": "visa", "visa_prepared": "visa", "goods_ad": "goodsad"}
"""Other names of the same set."""


def in_domain(train_name: str, test_name: str) -> bool:
    """Return whether a model trained on one data set has seen the domain of the other, by their names.

    So for a set and itself, and for MMAD with each of its four sources, either way. Case, `-` and spaces do not count.

    >>> in_domain("mmad", "VisA"), in_domain("visa", "mvtec")
    (True, False)
    """
    train, test = _plain_name(train_name), _plain_name(test_name)
    return train == test or test in _SOURCES.get(train, ())


def _plain_name(name: str) -> str:
    plain = name.lower().replace("-", "_").replace(" ", "_")
    return _SAME.get(plain, plain)


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """Two images of different parts that are, or show, the same."""

    kind: str
    """One of `KINDS`."""
    first: Sample
    second: Sample
    parts: tuple[str, str]

    def __str__(self) -> str:
        """Say it in one line."""
        return f"{self.kind}: {self.first.id} ({self.parts[0]}) and {self.second.id} ({self.parts[1]})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaks:
    """What a leak check found."""

    found: list[Leak]
    unseen: int = 0
    """Images that were compared by path and bytes alone; 0 where the pictures were compared too."""
    place: str = "training"
    """In what the evaluated images were looked for."""
    gaps: tuple[str, ...] = ()
    """Why this may not be all that a checkpoint was trained on."""

    @property
    def counts(self) -> str:
        """How many of each kind there are; empty for none."""
        kinds = [leak.kind for leak in self.found]
        return ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))

    def told(self) -> str:
        """Say how many of each kind there are, and the first of them."""
        lines = [f"leaks between parts: {self.counts or 'none'}", *(f"  {leak}" for leak in self.found[:SHOWN])]
        lines += [f"  {gap}" for gap in self.gaps]
        if self.unseen:
            lines.append(f"  by path and bytes alone; python -m adfm.data also compares the {self.unseen:,} pictures")
        return "\n".join(lines)


def leaks(
    parts: Mapping[str, Sequence[Sample]], *, most_unseen: int | None = None, seen: Mapping[Path, str] | None = None
) -> Leaks:
    """Compare the images of each two parts by path, then by bytes, then as pictures; a pair is told once.

    Digests and hashes are kept in the cache folder, so that only what changed is read again. Where more than
    `most_unseen` images have no kept hash, the pictures are not compared; None compares them always. `seen` gives the
    hashes of images that were read just now.

    Raises:
        DataError: An image cannot be read.
    """
    known = seen or {}
    images = {
        part: list({sample.image: sample for sample in reversed(samples)}.values())[::-1]
        for part, samples in parts.items()
    }
    with Digests() as digests, Hashes() as hashes:
        keys = {part: [digests.of(sample.image) for sample in samples] for part, samples in images.items()}
        new = {
            digest: sample.image
            for part, samples in images.items()
            for sample, digest in zip(samples, keys[part], strict=True)
            if digest not in hashes
        }
        compared = most_unseen is None or len(new) <= most_unseen
        if compared:
            hashes.update(
                {digest: known.get(path) or perceptual_hash(read_image(path)) for digest, path in new.items()}
            )
        vectors = {part: as_vectors([hashes[key] for key in found]) for part, found in keys.items()} if compared else {}
    found: list[Leak] = []
    for first, second in combinations([part for part in images if images[part]], 2):
        kinds: dict[tuple[int, int], str] = {}
        if compared:
            kinds |= dict.fromkeys(close(vectors[first], vectors[second], same_picture()), KINDS[2])
        kinds |= dict.fromkeys(_equal(keys[first], keys[second]), KINDS[1])
        kinds |= dict.fromkeys(_equal(_resolved(images[first]), _resolved(images[second])), KINDS[0])
        found += [
            Leak(kind=kind, first=images[first][i], second=images[second][j], parts=(first, second))
            for (i, j), kind in kinds.items()
        ]
    found.sort(key=lambda leak: KINDS.index(leak.kind))
    return Leaks(found=found, unseen=0 if compared else sum(map(len, images.values())))


def guard(parts: Mapping[str, Sequence[Sample]], mode: str) -> None:
    """Check for leaks before a run: stop with them, tell them, or look for none, as `leaks=` says.

    Raises:
        DataError: There are leaks and the mode is `error`.
    """
    if mode == "off":
        return
    result = leaks(parts, most_unseen=AT_START)
    if result.found and mode == "error":
        raise DataError(f"{result.told()}\nuse leaks=warn to go on, or a split that keeps them together")
    if result.found:
        print(result.told(), file=sys.stderr)


def guard_evaluation(
    dataset: Dataset, part: str, samples: Sequence[Sample], *, training: Training, mode: str
) -> Leaks | None:
    """Check what is evaluated, samples of a part of a data set, for images that a checkpoint was trained on.

    Args:
        dataset: That is evaluated.
        part: Of it.
        samples: Of the part.
        training: Of the checkpoint. Where its samples are not known, the training part of the evaluated data set stands
            for them.
        mode: `error` stops with leaks, `warn` tells them, `off` looks for none and returns None.

    Raises:
        DataError: There are leaks and the mode is `error`.
    """
    if mode == "off":
        return None
    place, trained, gaps = _looked_through(dataset, part, training)
    present = [sample for sample in trained if sample.image.is_file()]
    if gone := len(trained) - len(present):
        gaps += (f"{gone:,} of {len(trained):,} images of {place} are gone and were not compared",)
    result = replace(leaks({place: present, part: samples}, most_unseen=AT_START), place=place, gaps=gaps)
    if result.found and mode == "error":
        raise DataError(f"{result.told()}\nuse leaks=warn to go on, or evaluate what it was not trained on")
    if result.found or result.gaps:
        print(result.told(), file=sys.stderr)
    return result


def _looked_through(dataset: Dataset, part: str, training: Training) -> tuple[str, Sequence[Sample], tuple[str, ...]]:
    """Choose what evaluated images are looked for in: its name, its samples, and what it lacks."""
    if training.samples is not None:
        return "training", training.samples, training.gaps
    if getattr(dataset, "disjoint", False):
        return "training", [], ()
    place = f"the train part of {dataset.name}"
    own = [] if part == "train" else dataset.split("train")
    reasons = training.gaps or ("its training images are not known",)
    return place, own, (*reasons, f"{place} was compared instead" if own else "none were compared")


def training_label(names: Sequence[str] | None, evaluated: Sequence[str], found: Leaks | None = None) -> str:
    """Say in a table whether a checkpoint trained on the data sets `names` knows the domain of those `evaluated`.

    Returns:
        `in-domain: <names>`, `no: <names>`, or that it is not known for None; then the leaks that were found, and what
        was not compared.
    """
    known = [name for name in names or () if any(in_domain(name, other) for other in evaluated)]
    text = [f"in-domain: {', '.join(known)}" if known else f"no: {', '.join(names)}" if names else UNKNOWN]
    if found is not None:
        text += [f"shown in {found.place}: {found.counts}"] if found.found else []
        text += found.gaps
    return "; ".join(text)


def evaluated_names(dataset: Dataset, samples: Sequence[Sample]) -> list[str]:
    """Return the name of a data set, or the names of those data sets of a mixture that samples are of."""
    mixed: Mapping[str, Dataset] = getattr(dataset, "datasets", {})
    keys = {sample.attributes.get(DATASET) for sample in samples}
    return [name for key, child in mixed.items() if key in keys for name in leaf_names(child)] or [dataset.name]


def leaf_names(dataset: Dataset) -> list[str]:
    """Return the name of a data set, or those of the data sets that it mixes."""
    mixed = [name for child in getattr(dataset, "datasets", {}).values() for name in leaf_names(child)]
    return mixed or [dataset.name]


def guard_run(dataset: Dataset, mode: str) -> None:
    """Check the parts of the data set of a run; one whose parts cannot share an image says so by `disjoint`."""
    if not getattr(dataset, "disjoint", False):
        guard({part: dataset.split(part) for part in ("train", "val", "test")}, mode)


def _resolved(samples: Iterable[Sample]) -> list[Path]:
    return [sample.image.resolve() for sample in samples]


def _equal(first: Sequence[object], second: Sequence[object]) -> Iterator[tuple[int, int]]:
    places: dict[object, list[int]] = {}
    for j, value in enumerate(second):
        places.setdefault(value, []).append(j)
    for i, value in enumerate(first):
        yield from ((i, j) for j in places.get(value, ()))
