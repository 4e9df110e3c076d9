"""Which of the known defect types a text names."""

from __future__ import annotations

import re
from collections.abc import Collection

from adfm.types import Dataset

PARTS = ("train", "val", "test")


def defect_types(dataset: Dataset) -> tuple[str, ...]:
    """Return the defect types of all parts of a data set, sorted."""
    samples = (sample for part in PARTS for sample in dataset.split(part))
    return tuple(sorted({sample.defect_type for sample in samples if sample.defect_type is not None}))


def named_type(text: str, types: Collection[str]) -> str | None:
    """Return the one known type that a text names as whole words; None where it names none, or several.

    A type inside a longer one does not count as named. Case does not matter, nor the plural, nor whether words are
    parted by a space, a hyphen or an underscore.

    >>> types = ("scratch", "deep scratch", "bent_wire")
    >>> [named_type(text, types) for text in ("Two scratches.", "A deep scratch", "a Bent wire", "unscratched")]
    ['scratch', 'deep scratch', 'bent_wire', None]
    >>> named_type("no scratch, but a bent wire", types) is None
    True
    """
    known = {_plain(name): name for name in types if _plain(name)}
    words = "|".join(
        re.escape(plain).replace(r"\ ", r"[\s_-]+") for plain in sorted(known, key=lambda plain: (-len(plain), plain))
    )
    if not words:
        return None
    found = re.finditer(rf"(?<![^\W_])({words})(?:e?s)?(?![^\W_])", text, re.IGNORECASE)
    named = {_plain(match[1]) for match in found}
    return known[named.pop()] if len(named) == 1 else None


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().lower()
