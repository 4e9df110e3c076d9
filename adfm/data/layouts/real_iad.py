"""Real-IAD (Wang et al., CVPR 2024): 30 products from five views, 151,050 images, listed by its JSON files.

`<images>/<category>/{OK,NG/<code>}/S<n>/<name>.jpg` with `<images>` one of `realiad_256`, `_512`, `_1024`, `_raw`; the
mask's name is the JSON's to say. `<jsons>/<category>.json`, also one folder deeper (`realiad_jsons/<jsons>/`), holds
`meta: {prefix, normal_class}` and rows `{category, anomaly_class, image_path, mask_path}` under `train` and `test`.
"""

from __future__ import annotations

import re
from pathlib import Path

from adfm.data.benchmark import Listing, Source
from adfm.data.layouts.annotations import at, read_json, value_of
from adfm.data.layouts.files import Names, folders, inside
from adfm.data.masks import MaskFiles
from adfm.errors import DataError
from adfm.types import Sample

TYPES = {
    "AK": "pit",
    "BX": "deformation",
    "CH": "abrasion",
    "HS": "scratch",
    "PS": "damage",
    "QS": "missing part",
    "YW": "foreign object",
    "ZW": "contamination",
}
"""Code to plain words, as in the paper's figure 2 and many readers of the set; another code stays as it is."""
_VIEW = re.compile(r"_(C[1-5])_")
_OF_VIEW: dict[str, dict[str, str | float]] = {f"C{view}": {"view": f"C{view}"} for view in range(1, 6)}


def real_iad(source: Source, *, jsons: str = "realiad_jsons", images: str = "realiad_1024") -> Listing:
    """List Real-IAD as its JSON files divide it.

    A row without a mask is good even where its specimen has a defect, for this view does not show it: so the authors'
    reader (Tencent/AnomalyDetection_Real-IAD, datasets/explicit_dataset.py) and the paper's counts have it.

    Args:
        source: Where.
        jsons: Folder of the JSON files: `realiad_jsons` (five views), `realiad_jsons_sv` (one view),
            `realiad_jsons_fuiad_0.1` (some defects among the training images) and others.
        images: Folder of the images.

    Raises:
        DataError: A folder, file or image is missing, or a row is wrong; the message names file and row.
    """
    stated = _json_folder(source.root, jsons)
    pictures = source.root / images
    if not pictures.is_dir():
        there = [name for name in folders(source.root) if name.startswith("realiad_") and "jsons" not in name]
        raise DataError(
            f"{pictures}: no such folder; set dataset.layout.images to one of {', '.join(there) or 'yours'}"
        )
    listing = Listing()
    for category in source.chosen(sorted(file.stem for file in stated.glob("*.json"))):
        if source.categories is None and not (pictures / category).is_dir():
            listing.excluded[category] = f"{pictures / category}: no such folder"
        else:
            _list(listing, stated / f"{category}.json", pictures, category, source)
    return listing


def _json_folder(root: Path, jsons: str) -> Path:
    tried = (root / "realiad_jsons" / jsons, root / jsons)
    for folder in tried:
        if folder.is_dir():
            return folder
    raise DataError(f"{tried[1]}: no such folder; set dataset.layout.jsons to the folder of the JSON files")


def _list(listing: Listing, file: Path, pictures: Path, category: str, source: Source) -> None:
    content = read_json(file)
    with at(f"{file}, meta"):
        meta = value_of(content, "meta", dict)
        base = inside(pictures, value_of(meta, "prefix", str))
        normal = value_of(meta, "normal_class", str)
    names, seen = Names(), {}
    for part in ("train", "test"):
        with at(str(file)):
            rows = value_of(content, part, list)
        for place, row in enumerate(rows):
            with at(f"{file}, {part}[{place}]"):
                sample = _sample(row, normal, base, pictures, category, source)
                for needed in (sample.image, *(sample.mask.files if sample.mask else ())):
                    if not names.has(needed):
                        raise DataError(f"{needed}: no such file")
                first = seen.setdefault(sample.id, f"{part}[{place}]")
                if first != f"{part}[{place}]":
                    raise DataError(f"{sample.id} was already listed in {first}")
            listing.parts[part].append(sample)


def _sample(row: object, normal: str, base: Path, pictures: Path, category: str, source: Source) -> Sample:
    image = inside(base, value_of(row, "image_path", str))
    code = value_of(row, "anomaly_class", str)
    anomalous = code != normal and isinstance(row, dict) and row.get("mask_path") is not None
    mask = inside(base, value_of(row, "mask_path", str)) if anomalous else None
    view = _VIEW.search(image.name)
    return Sample(
        id=image.relative_to(pictures).with_suffix("").as_posix(),
        image=image,
        category=category.replace("_", " "),
        anomalous=anomalous,
        defect_type=TYPES.get(code, code) if anomalous else None,
        mask=MaskFiles((mask,), above=0, dilation=source.dilation, min_area=source.min_area) if mask else None,
        attributes=_OF_VIEW[view[1]] if view else {},
    )
