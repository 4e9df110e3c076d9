"""KolektorSDD2 (Bozic, Tabernik and Skocaj, Computers in Industry, 2021): 3,335 images of a production item.

`{train,test}/<id>.png` and `{train,test}/<id>_GT.png`, all zero where the item is good. Both parts have defects.
"""

from __future__ import annotations

from adfm.data.benchmark import UNNAMED, Listing, Source
from adfm.data.layouts.files import by_stem, images
from adfm.data.layouts.mask_labels import labelled
from adfm.data.masks import MaskFiles
from adfm.errors import DataError
from adfm.types import Sample

CATEGORY = "production item"


def kolektor_sdd2(source: Source) -> Listing:
    """List KolektorSDD2 as published; opens all masks, since only they know the label.

    The published split files name images without their labels, and are pickles, which run code when read. The
    published archive has two copies of files (`... (copy).png`); they are left out.

    Raises:
        DataError: A mask is missing or cannot be decoded; the message names it.
    """
    source.chosen([CATEGORY])
    listing = Listing()
    for part in ("train", "test"):
        samples, masks = [], []
        found = by_stem(images(source.root / part))
        for stem, image in found.items():
            if "(copy)" in stem:
                listing.excluded[f"{part}/{stem}"] = "a copy in the published archive"
            elif not stem.endswith("_GT"):
                mask = found.get(f"{stem}_GT")
                if mask is None:
                    raise DataError(f"{image}: has no mask {stem}_GT.png beside it")
                masks.append(MaskFiles((mask,), above=0, dilation=source.dilation, min_area=source.min_area))
                samples.append(Sample(id=f"{part}/{stem}", image=image, category=CATEGORY, anomalous=False))
        listing.parts[part] = labelled(samples, masks, UNNAMED)
    return listing
