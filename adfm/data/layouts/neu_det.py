"""NEU-DET (Song and Yan, Applied Surface Science, 2013): 1,800 patches of hot-rolled steel strip, six kinds of defect.

The copy on Kaggle has `{train,validation}/images/<type>/<type>_<n>.jpg` and `{train,validation}/annotations/*.xml`, the
original `IMAGES/*.jpg` and `ANNOTATIONS/*.xml`; the annotations are those of Pascal VOC. No image is good.
"""

from __future__ import annotations

from pathlib import Path

from adfm.data.benchmark import Listing, Source
from adfm.data.layouts.annotations import main_type, tally
from adfm.data.layouts.files import SUFFIXES, by_stem
from adfm.data.layouts.voc import read_voc
from adfm.errors import DataError
from adfm.types import Sample

CATEGORY = "hot-rolled steel strip"
WORDS = {"pitted_surface": "pitted surface", "rolled-in_scale": "rolled-in scale"}


def neu_det(source: Source) -> Listing:
    """List NEU-DET: `train` as in the copy, its `validation` in `test`, since it has no other; all in `test` otherwise.

    Images and annotations belong together by name wherever they lie, for the copy has the image of `crazing_240` in
    `train` and its annotation in `validation`. An image's type is its most frequent one (of equals, the first), and
    the attribute `defects` counts all.

    Raises:
        DataError: An image has no annotation, an annotation no image or no box, or is wrong; the message names it.
    """
    source.chosen([CATEGORY])
    root = source.root / "NEU-DET" if (source.root / "NEU-DET").is_dir() else source.root
    files = sorted(path for path in root.rglob("*") if path.is_file() and not path.name.startswith("."))
    images = by_stem(path for path in files if path.suffix.lower() in SUFFIXES)
    annotations = by_stem(path for path in files if path.suffix.lower() == ".xml")
    for there, lacking, what in ((images, annotations, "annotation"), (annotations, images, "image")):
        for stem in sorted(there.keys() - lacking.keys()):
            raise DataError(f"{there[stem]}: there is no {what} of this name in {root}")
    listing = Listing()
    for stem, image in images.items():
        part = "train" if image.relative_to(root).parts[0] == "train" else "test"
        listing.parts[part].append(_sample(root, image, annotations[stem]))
    return listing


def _sample(root: Path, image: Path, annotation: Path) -> Sample:
    stated = read_voc(annotation)
    if not stated.boxes:
        raise DataError(f"{annotation}: has no object")
    types = [WORDS.get(name, name) for name in stated.types]
    return Sample(
        id=image.relative_to(root).with_suffix("").as_posix(),
        image=image,
        category=CATEGORY,
        anomalous=True,
        defect_type=main_type(types),
        stated_size=stated.size,
        stated_boxes=stated.boxes,
        attributes={"defects": tally(types)},
    )
