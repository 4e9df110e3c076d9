"""DAGM 2007 (competition of the German Association for Pattern Recognition): ten synthetic textures with defects.

`Class<K>/{Train,Test}/<number>.PNG`, and `Label/<number>_label.PNG` beside the defective ones: a coarse ellipse.
"""

from __future__ import annotations

from pathlib import Path

from adfm.data.benchmark import UNNAMED, Listing, Source
from adfm.data.layouts.files import by_stem, folders, images
from adfm.data.masks import MaskFiles
from adfm.errors import DataError
from adfm.types import Sample

PARTS = {"train": "Train", "test": "Test"}


def dagm2007(source: Source) -> Listing:
    """List DAGM 2007 as published; an image without a label file is good. Each texture has one kind of defect, unnamed.

    Raises:
        DataError: A folder is missing or has no images, or a label has no image; the message names it.
    """
    listing = Listing()
    for name in source.chosen([name for name in folders(source.root) if (source.root / name / "Train").is_dir()]):
        for part, folder in PARTS.items():
            listing.parts[part] += _samples(source, source.root / name / folder, name.replace("Class", "texture "))
    return listing


def _samples(source: Source, folder: Path, category: str) -> list[Sample]:
    labels = {label.stem: label for label in images(folder / "Label")}
    found = by_stem(images(folder))
    for label in labels.values():
        if label.stem.removesuffix("_label") not in found:
            raise DataError(f"{label}: labels an image that is not there")
    samples = []
    for stem, image in found.items():
        label = labels.get(f"{stem}_label")
        samples.append(
            Sample(
                id=image.relative_to(source.root).with_suffix("").as_posix(),
                image=image,
                category=category,
                anomalous=label is not None,
                defect_type=UNNAMED if label else None,
                mask=MaskFiles((label,), above=0, dilation=source.dilation, min_area=source.min_area)
                if label
                else None,
            )
        )
    return samples
