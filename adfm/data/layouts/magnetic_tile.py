"""The magnetic tile data set of Huang, Qiu and Yuan (The Visual Computer, 2018), as published.

`MT_<Type>/Imgs/<name>.jpg` with the mask in `<name>.png` beside it; `MT_Free` holds the good tiles. Masks carry
JPEG-like noise (threshold 127), some are empty, and near-identical views of one tile recur under different names.
"""

from __future__ import annotations

from pathlib import Path

from adfm.data.benchmark import Listing, Source
from adfm.data.layouts.files import images
from adfm.data.masks import MaskFiles
from adfm.types import Sample

CATEGORY = "magnetic tile"
FOLDERS = {
    "MT_Free": None,
    "MT_Blowhole": "blowhole",
    "MT_Break": "break",
    "MT_Crack": "crack",
    "MT_Fray": "fray",
    "MT_Uneven": "uneven",
}
"""Folder to defect type; None for the good tiles."""


def magnetic_tile(source: Source) -> Listing:
    """List the tiles, all in `test`, for no split is published; opens the 392 masks.

    A defect image whose mask gives no box is left out, not guessed.

    Raises:
        DataError: A folder or a mask is missing or unreadable; the message names it.
    """
    listing = Listing()
    for folder, defect_type in FOLDERS.items():
        for image in images(source.root / folder / "Imgs"):
            if image.suffix.lower() == ".jpg":
                sample = _sample(image, f"{folder}/{image.stem}", defect_type, source)
                reason = _useless(sample)
                if reason:
                    listing.excluded[sample.id] = reason
                else:
                    listing.parts["test"].append(sample)
    return listing


def _sample(image: Path, name: str, defect_type: str | None, source: Source) -> Sample:
    mask = MaskFiles((image.with_suffix(".png"),), dilation=source.dilation, min_area=source.min_area)
    return Sample(
        id=name,
        image=image,
        category=CATEGORY,
        anomalous=defect_type is not None,
        defect_type=defect_type,
        mask=mask if defect_type is not None else None,
    )


def _useless(sample: Sample) -> str | None:
    if sample.mask is None or sample.boxes:
        return None
    area = int(sample.mask.read(sample.size).sum())
    few = f"mask has {area} pixels, none in a component of dataset.min_area"
    return few if area else "mask is empty"
