"""A user's own folders: one or many of good images, one per type of defect, masks if there are any.

`<good>/**` and `<type>/**`, in the root or in `train`, `val` and `test` below it, and `ground_truth/<type>/**` beside.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePath
from typing import NoReturn

from adfm.data.benchmark import UNNAMED, Listing, Source
from adfm.data.layouts.files import SUFFIXES, by_stem, folders
from adfm.data.layouts.mvtec import masked_sample
from adfm.errors import DataError

NORMAL = frozenset(("good", "ok", "normal", "defect_free", "defect-free", "no_defect", "non_defective"))
"""Names of folders of good images, in lower case, where none is given."""
GENERAL = frozenset(("bad", "ng", "nok", "ko", "defect", "defects", "defective", "anomaly", "anomalies", "abnormal"))
"""Names that say defect but no type: a folder inside may."""
MASKS = frozenset(("ground_truth", "groundtruth", "gt", "mask", "masks"))
"""Names of the folder of masks, where none is given."""
ENDINGS = ("", "_mask", "_label", "_gt", "_GT")
"""What a mask's name adds to its image's."""
PARTS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""Folder to part."""


def folder(
    source: Source,
    *,
    normal: Sequence[str] | None = None,
    defects: Sequence[str] | None = None,
    masks: str | None = None,
    above: int | None = None,
    product: str = "product",
) -> Listing:
    """List a user's folders: in the parts whose folders are there, else all in `test`.

    A folder counts with all folders inside it. A mask lies in `<masks>/<part>/<folder>`, `<masks>/<folder>` (a general
    first name may be left out) or `<masks>` itself, is called as its image or with `_mask`, `_label` or `_gt` behind,
    or is a folder of that name with several files. The images of one folder have masks all or none.

    Args:
        source: Where.
        normal: Folders of good images, `[good, line2/ok]`; None takes those called good, ok, normal and the like; `[]`
            says that there are none.
        defects: Folders of defects, whose last name is the type; None takes all others, whose first name is the type
            (the second where the first is general, as `defects/scratch`).
        masks: Folder of the masks; None takes one called ground_truth, masks, gt and the like, if there is one.
        above: A mask's pixel is defect above this grey value; None decides for each file (`adfm.data.masks.threshold`).
        product: Category of all samples, in plain words.

    Raises:
        DataError: A given folder is missing, no folder is of good images, images of one name cannot be told apart, or
            one of several images lacks its mask.
    """
    source.chosen([product])
    if masks is not None and not (source.root / masks).is_dir():
        raise DataError(f"{source.root / masks}: no such folder; check dataset.layout.masks")
    found = [(PARTS[name.lower()], name) for name in folders(source.root) if name.lower() in PARTS]
    places = [_Place(source.root, part, name, masks) for part, name in found] or [
        _Place(source.root, "test", "", masks)
    ]
    labels = _labels(source.root, places, normal, defects)
    listing = Listing()
    if found:
        beside = set(folders(source.root)) - {name for _, name in found} - {masks}
        listing.excluded = {name: "lies beside the parts" for name in sorted(beside) if name.lower() not in MASKS}
    for place in places:
        for name, images in place.groups.items():
            if not name or name not in labels:
                what = "lies in no folder that says what it is" if not name else "not in dataset.layout.defects"
                listing.excluded |= {image.relative_to(source.root).as_posix(): what for image in images}
                continue
            found_masks = place.masks_of(name, images) if labels[name] else [()] * len(images)
            for image, files in zip(images, found_masks, strict=True):
                listing.parts[place.part].append(masked_sample(source, image, product, labels[name], files, above))
    return listing


@dataclass
class _Place:
    """One part's folder, and the masks that belong to it."""

    root: Path
    part: str
    name: str
    """Empty where the images lie in the root itself."""
    masks: str | None
    _indices: dict[Path, dict[str, tuple[Path, ...]]] = field(default_factory=dict)

    @cached_property
    def groups(self) -> dict[str, list[Path]]:
        """Folder, relative to this one, to its images."""
        base = self.root / self.name
        found = {}
        for place, images in _walk(base):
            relative = place.relative_to(base)
            name = relative.as_posix() if relative.parts else ""
            if name.split("/")[0].lower() not in MASKS and not (self.masks and _within(name, self.masks)):
                found[name] = images
        return found

    def masks_of(self, name: str, images: Sequence[Path]) -> list[tuple[Path, ...]]:
        """Return the mask files of each image of a folder; none at all where there are none."""
        first, _, rest = name.partition("/")
        ends = (name, rest, "") if first.lower() in GENERAL else (name, "")
        places = [place / end for end in ends for place in self._mask_folders]
        found = [self._mask(places, image) for image in images]
        lacking = next((image for image, files in zip(images, found, strict=True) if not files), None)
        if lacking is not None and any(found):
            raise DataError(f"{lacking}: has no mask in {self._mask_folders[0]}, but others of its folder have")
        return found

    @cached_property
    def _mask_folders(self) -> list[Path]:
        bases = [self.root / self.name, self.root] if self.name else [self.root]
        if self.masks is not None:
            there = [self.root / self.masks]
        else:
            there = [base / name for base in bases for name in folders(base) if name.lower() in MASKS]
        of_part = [place / self.name for place in there] if self.name else []
        return [place for place in (*of_part, *there) if place.is_dir()]

    def _mask(self, places: Sequence[Path], image: Path) -> tuple[Path, ...]:
        for place in places:
            index = self._index(place)
            for ending in ENDINGS:
                if image.stem + ending in index:
                    return index[image.stem + ending]
        return ()

    def _index(self, place: Path) -> dict[str, tuple[Path, ...]]:
        """Return what a folder of masks has, by name: a file, or the files of a folder."""
        if place not in self._indices:
            index = {}
            for inner, images in _walk(place) if place.is_dir() else ():
                if inner == place:
                    index |= {stem: (file,) for stem, file in by_stem(images).items()}
                elif inner.parent == place:
                    index.setdefault(inner.name, tuple(images))
            self._indices[place] = index
        return self._indices[place]


def _walk(base: Path) -> Iterator[tuple[Path, list[Path]]]:
    """Go through the folders below that have images, links to folders too, each once."""
    seen = set()
    for place, inner, names in os.walk(base, followlinks=True, onerror=_refuse):
        real = os.path.realpath(place)
        inner[:] = sorted(name for name in inner if not name.startswith(".")) if real not in seen else []
        images = _pictures(Path(place), names) if real not in seen else []
        seen.add(real)
        by_stem(images)
        if images:
            yield Path(place), images


def _refuse(error: OSError) -> NoReturn:
    raise DataError(f"{error.filename}: cannot be listed ({error.strerror})") from error


def _pictures(place: Path, names: Iterable[str]) -> list[Path]:
    return [
        place / name for name in sorted(names) if PurePath(name).suffix.lower() in SUFFIXES and not name.startswith(".")
    ]


def _labels(
    root: Path, places: Sequence[_Place], normal: Sequence[str] | None, defects: Sequence[str] | None
) -> dict[str, str | None]:
    """Return each folder's defect type, None for good; folders that do not count are left out."""
    names = sorted({name for place in places for name in place.groups} - {""})
    given = {"normal": normal, "defects": defects}
    for option, wanted in given.items():
        for name in wanted or ():
            if not any(_within(found, name) for found in names):
                there = ", ".join(names) or "none"
                raise DataError(f"dataset.layout.{option}: {root} has no images in {name}; it has some in {there}")
    labels = {}
    for name in names:
        if any(_within(name, one) for one in normal) if normal is not None else name.split("/")[0].lower() in NORMAL:
            labels[name] = None
        elif defects is None:
            labels[name] = _type(name.split("/"))
        else:
            labels.update((name, _type(one.split("/")[-1:])) for one in defects if _within(name, one))
    if normal is None and None not in labels.values():
        raise DataError(
            f"{root}: no folder is called good, ok or normal; set dataset.layout.normal to one or several of "
            f"{', '.join(names) or 'none'}, or to [] if there are no good images"
        )
    return labels


def _within(name: str, other: str) -> bool:
    return name == other or name.startswith(f"{other}/")


def _type(names: Sequence[str]) -> str:
    telling = names[1:2] if names[0].lower() in GENERAL else names[:1]
    return telling[0].replace("_", " ") if telling else UNNAMED
