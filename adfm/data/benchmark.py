"""A public data set as it lies on disk: a layout lists it, a split divides it, samples stay lazy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from adfm.data.cache import fingerprint_of
from adfm.data.knowledge import knowledge_of
from adfm.data.manifest import PARTS, part_of
from adfm.data.references import with_references
from adfm.data.splits import Split
from adfm.errors import ConfigError, DataError
from adfm.types import Sample

UNNAMED = "defect"
"""The type of a defect whose kind the set does not tell."""


@dataclass(slots=True)
class Listing:
    """What a layout found, each sample in the part where the data set publishes it."""

    parts: dict[str, list[Sample]] = field(default_factory=lambda: {part: [] for part in PARTS})
    """`train`, `val` and `test`; a set without a published split has all in `test`."""
    excluded: dict[str, str] = field(default_factory=dict)
    """What was left out, by name, with the reason."""
    has_knowledge: bool = False
    """Whether the samples have all the knowledge that they shall have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What a layout reads: a folder, and which of it."""

    root: Path
    categories: tuple[str, ...] | None = None
    """Names of categories as on disk; None for all."""
    dilation: float = 0.01
    """Of the boxes that come from masks: see `adfm.data.masks.boxes_from_mask`."""
    min_area: int = 5
    """Likewise."""

    def chosen(self, found: Sequence[str]) -> list[str]:
        """Return those of the categories on disk that are wanted, in the order found.

        Raises:
            DataError: There is none at all.
            ConfigError: A wanted one is not there; the message names those that are.
        """
        if not found:
            raise DataError(f"{self.root}: has no category of this layout; check dataset.root")
        missing = sorted(set(self.categories or ()) - set(found))
        if missing:
            raise ConfigError(f"dataset.category={','.join(missing)}: not in {self.root}, which has {', '.join(found)}")
        return [name for name in found if self.categories is None or name in self.categories]


Layout = Callable[[Source], Listing]


class Benchmark:
    """A data set that a layout knows how to list.

    Nothing is listed before a part is asked for, and no image is opened for it unless the split compares pixels. A
    sample of a category has `references` normal images of the training part as its references, never itself; its
    knowledge is the package's text for its category, else the list of the defect types that occur.

    Args:
        name: What tables call it, and the name of its texts in `knowledge_texts`.
        root: Folder of the data set.
        layout: Lists what lies there.
        split: Divides what was listed into train, val and test.
        category: One category as named on disk, or several; None for all.
        references: Normal images shown with a sample whose data set names none of its own; 0 for none.
        seed: Of the choice of references.
        dilation: See `adfm.data.masks.boxes_from_mask`.
        min_area: Likewise.

    Raises:
        DataError: On first use, what is missing or wrong on disk.
    """

    def __init__(
        self,
        *,
        name: str,
        root: str | Path,
        layout: Layout,
        split: Split,
        category: str | Sequence[str] | None = None,
        references: int = 1,
        seed: int = 0,
        dilation: float = 0.01,
        min_area: int = 5,
    ) -> None:
        if references < 0:
            raise ConfigError(f"dataset.references must not be negative, but is {references}")
        self.name = name
        self.layout = layout
        self.divide = split
        self.references, self.seed = references, seed
        categories = (category,) if isinstance(category, str) else None if category is None else tuple(category)
        self.source = Source(root=Path(root), categories=categories, dilation=dilation, min_area=min_area)

    def split(self, name: str) -> Sequence[Sample]:
        """Return the samples of `train`, `val` or `test`."""
        return part_of(self._parts, name)

    def fingerprint(self) -> str:
        """Return a hash of every sample's labels and of the bytes of its files."""
        return fingerprint_of(self._parts)

    @property
    def excluded(self) -> Mapping[str, str]:
        """What was left out, by name, with the reason."""
        return self._listing.excluded

    @cached_property
    def _listing(self) -> Listing:
        if not self.source.root.is_dir():
            raise DataError(f"{self.source.root}: no such folder; set dataset.root to where the data set lies")
        listing = self.layout(self.source)
        if not any(listing.parts.values()):
            raise DataError(f"{self.source.root}: has no image in the layout of {self.name}; check dataset.root")
        return listing

    @cached_property
    def _parts(self) -> dict[str, list[Sample]]:
        parts = self.divide(self._listing.parts)
        texts = self._knowledge()
        normals: dict[str, list[Path]] = {}
        for sample in parts["train"]:
            if not sample.anomalous:
                normals.setdefault(sample.category, []).append(sample.image)
        return {
            part: [
                replace(
                    with_references(sample, normals.get(sample.category, ()), self.references, self.seed),
                    knowledge=sample.knowledge or texts[sample.category],
                )
                for sample in samples
            ]
            for part, samples in parts.items()
        }

    def _knowledge(self) -> dict[str, str]:
        if self._listing.has_knowledge:
            return dict.fromkeys((one.category for part in self._listing.parts.values() for one in part), "")
        types: dict[str, set[str]] = {}
        for samples in self._listing.parts.values():
            for sample in samples:
                named = types.setdefault(sample.category, set())
                if sample.defect_type not in (None, UNNAMED):
                    named.add(sample.defect_type)
        listed = {name: f"Possible defects: {', '.join(sorted(found))}." for name, found in types.items() if found}
        return {category: knowledge_of(self.name, category) or listed.get(category, "") for category in types}
