"""The tree of MVTec AD (Bergmann et al., CVPR 2019), and the walker of the many sets that copy it.

`<category>/train/good/*`, `<category>/test/{good,<type>}/*`, and a mask
`<category>/ground_truth/<type>/<name>_mask.png` for every defect image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from adfm.data.benchmark import Listing, Source
from adfm.data.layouts.files import by_stem, folders, images
from adfm.data.masks import MaskFiles
from adfm.types import Sample

Masks = Callable[[Path, Sequence[Path]], Sequence[tuple[Path, ...]]]
"""Finds, in the folder of a type's masks, the mask files of each of its images; none for an image without."""


def mvtec(source: Source) -> Listing:
    """List MVTec AD as published: normals in train, normals and anomalies in test.

    Raises:
        DataError: A folder that every category has is missing, or has no images; the message names it.
    """
    return tree(source, masks=masks_named("_mask"))


def masks_named(ending: str) -> Masks:
    """Find masks that have the image's name and an ending, whatever their suffix.

    A mask that is not there is expected as PNG: reading it says that it is missing.
    """

    def find(folder: Path, found: Sequence[Path]) -> list[tuple[Path, ...]]:
        listed = by_stem(images(folder))
        names = [image.stem + ending for image in found]
        return [(listed.get(name, folder / f"{name}.png"),) for name in names]

    return find


def tree(
    source: Source,
    *,
    masks: Masks,
    above: int | None = None,
    parts: Mapping[str, str] | None = None,
    ground_truth: str = "ground_truth",
    good: str = "good",
    types: Mapping[str, str] | None = None,
) -> Listing:
    """List folders `<category>/<part>/<type>` of images beside folders `<category>/<ground truth>/<type>` of masks.

    An id is the image's path in the root without its suffix.

    Args:
        source: Where.
        masks: Which masks belong to which images.
        above: See `adfm.data.masks.MaskFiles`.
        parts: Part to the name of its folder; as they are called, train and test, by default.
        ground_truth: Where a category keeps its masks; `{part}` in it stands for the part's folder.
        good: The folder of normal images, which every part has.
        types: Folder to type where the folder's own name, in plain words, does not say it.

    Raises:
        DataError: A folder of images or masks is missing or has none, or two images of one folder have one name.
    """
    listing = Listing()
    for category in source.chosen([name for name in folders(source.root) if (source.root / name / "train").is_dir()]):
        home = source.root / category
        for part, folder in (parts or {"train": "train", "test": "test"}).items():
            truth = home / ground_truth.format(part=folder)
            kinds = [kind for kind in folders(home / folder) if kind != good and home / folder / kind != truth]
            for kind in [good, *kinds]:
                found = list(by_stem(images(home / folder / kind)).values())
                defect_type = None if kind == good else (types or {}).get(kind, plain(kind))
                files = [()] * len(found) if kind == good else masks(truth / kind, found)
                listing.parts[part] += [
                    masked_sample(source, image, plain(category), defect_type, own, above)
                    for image, own in zip(found, files, strict=True)
                ]
    return listing


def masked_sample(
    source: Source, image: Path, category: str, defect_type: str | None, files: tuple[Path, ...], above: int | None
) -> Sample:
    """Make the sample of an image whose id is its path in the root without its suffix, and whose masks are files."""
    mask = MaskFiles(files, above=above, dilation=source.dilation, min_area=source.min_area)
    return Sample(
        id=image.relative_to(source.root).with_suffix("").as_posix(),
        image=image,
        category=category,
        anomalous=defect_type is not None,
        defect_type=defect_type,
        mask=mask if files else None,
    )


def plain(name: str) -> str:
    """Return a folder's name in plain words.

    >>> plain("broken_large"), plain("PCB_A"), plain("Woven_001")
    ('broken large', 'pcb a', 'Woven 001')
    """
    words = name.replace("_", " ")
    return words.lower() if words.isupper() else words
