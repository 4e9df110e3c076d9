"""KolektorSDD (Tabernik et al., Journal of Intelligent Manufacturing, 2020): surfaces of 50 electrical commutators.

`kos<NN>/Part<N>.jpg` and `kos<NN>/Part<N>_label.bmp`, all zero where the surface is good.
"""

from __future__ import annotations

from adfm.data.benchmark import Listing, Source
from adfm.data.layouts.files import by_stem, folders, images
from adfm.data.layouts.mask_labels import labelled
from adfm.data.masks import MaskFiles
from adfm.errors import DataError
from adfm.types import Sample

CATEGORY = "electrical commutator"


def kolektor_sdd(source: Source) -> Listing:
    """List KolektorSDD, all in `test`, for no split is published; opens all masks, since only they know the label.

    A category on disk is a commutator (`kos01`), which is also the attribute `commutator`. Defects are cracks, the
    only kind in the set. The authors' own code leaves out `kos21/Part7` without saying why; here it is listed.

    Raises:
        DataError: A mask is missing or cannot be decoded; the message names it.
    """
    listing, samples, masks = Listing(), [], []
    for name in source.chosen([name for name in folders(source.root) if name.startswith("kos")]):
        found = by_stem(images(source.root / name))
        for stem, image in found.items():
            if stem.endswith("_label"):
                continue
            label = found.get(f"{stem}_label")
            if label is None:
                raise DataError(f"{image}: has no mask {stem}_label.bmp beside it")
            masks.append(MaskFiles((label,), above=0, dilation=source.dilation, min_area=source.min_area))
            samples.append(
                Sample(
                    id=f"{name}/{stem}",
                    image=image,
                    category=CATEGORY,
                    anomalous=False,
                    attributes={"commutator": name},
                )
            )
    listing.parts["test"] = labelled(samples, masks, "crack")
    return listing
