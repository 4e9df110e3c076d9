"""Annotations in the format of COCO (Lin et al., ECCV 2014): boxes, polygons and run lengths in one JSON file per part.

`images: [{id, file_name, width, height}]`, `annotations: [{image_id, category_id, bbox: [x, y, width, height],
segmentation}]`, `categories: [{id, name}]`, where a category is a type of defect.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adfm.data.benchmark import Listing, Source
from adfm.data.coco_masks import CocoMask, segments_of
from adfm.data.layouts.annotations import at, box_in, main_type, number, read_json, tally, value_of
from adfm.data.layouts.files import Names, inside
from adfm.errors import DataError
from adfm.types import Sample

PARTS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
"""Part to what its file or folder may be called."""
PLACES = ("{}.json", "annotations/{}.json", "annotations/instances_{}.json", "{}/_annotations.coco.json")
"""Where the file of a part is looked for; the last is Roboflow's export."""


@dataclass(slots=True)
class _Reader:
    source: Source
    product: str
    images: Path
    file: Path
    names: Names


def coco(
    source: Source,
    *,
    annotations: Mapping[str, str] | str | None = None,
    images: Mapping[str, str] | str | None = None,
    product: str = "product",
) -> Listing:
    """List COCO annotations; an image without any is good.

    An image's defect type is its most frequent one (of equals, the first), and the attribute `defects` counts all.
    Its boxes are those stated, cut at the image's edge; where an annotation has none, they come from the mask. It has a
    mask if all its annotations have a segmentation, for a mask that lacks a defect would be wrong.

    Args:
        source: Where.
        annotations: One JSON file, all in `test`, or part to file, relative to the root; None looks for
            `train.json`, `annotations/train.json`, `annotations/instances_train.json` and
            `train/_annotations.coco.json`, for `val` and `test` likewise.
        images: Folder of the images, or part to folder, relative to the root; None tries, for the first image, the
            JSON file's folder, `images/<part>`, `<part>` and `images`.
        product: Category of all samples, in plain words.

    Raises:
        DataError: A file or image is missing, or an entry is wrong; the message names file and entry.
    """
    source.chosen([product])
    listing = Listing()
    names = Names()
    seen: dict[str, str] = {}
    for part, file in _files(source.root, annotations).items():
        content = read_json(file)
        folder = _folder(source.root, file, part, content, images, names)
        for place, sample in _samples(_Reader(source, product, folder, file, names), content):
            first = seen.setdefault(sample.id, place)
            if first != place:
                raise DataError(f"{place}: image {sample.id} was already listed: {first}")
            listing.parts[part].append(sample)
    return listing


def _files(root: Path, annotations: Mapping[str, str] | str | None) -> dict[str, Path]:
    if isinstance(annotations, str):
        return {"test": inside(root, annotations)}
    if annotations is not None:
        unknown = sorted(set(annotations) - set(PARTS))
        if unknown:
            raise DataError(f"dataset.layout.annotations: no part {', '.join(unknown)}; there are train, val and test")
        return {part: inside(root, file) for part, file in annotations.items()}
    found = {}
    for part, words in PARTS.items():
        tried = [root / place.format(word) for word in words for place in PLACES]
        there = next((file for file in tried if file.is_file()), None)
        if there is not None:
            found[part] = there
    if not found:
        raise DataError(f"{root}: has no train.json, val.json or test.json; set dataset.layout.annotations")
    return found


def _folder(
    root: Path, file: Path, part: str, content: Any, images: Mapping[str, str] | str | None, names: Names
) -> Path:
    """Find the folder that the names in a file start from."""
    stated = images if isinstance(images, str) else (images or {}).get(part)
    if stated is not None:
        return root if stated == "." else inside(root, stated)
    with at(str(file)):
        entries = value_of(content, "images", list)
    if not entries:
        return root
    with at(f"{file}, images[0]"):
        first = value_of(entries[0], "file_name", str)
        tried = [file.parent, *(root / "images" / word for word in PARTS[part])]
        tried += [*(root / word for word in PARTS[part]), root / "images", root]
        for folder in tried:
            if names.has(inside(folder, first)):
                return folder
        where = ", ".join(str(folder) for folder in dict.fromkeys(tried))
        raise DataError(f"{first} is in none of {where}; set dataset.layout.images")


def _samples(reader: _Reader, content: Any) -> list[tuple[str, Sample]]:
    """Return each image's sample with its place in the file."""
    with at(str(reader.file)):
        entries, notes = (value_of(content, key, list) for key in ("images", "annotations"))
        types = _types(value_of(content, "categories", list), reader.file)
    found: dict[int | str, list[tuple[int, dict[str, Any]]]] = {}
    for place, entry in enumerate(entries):
        with at(f"{reader.file}, images[{place}]"):
            key = _key(entry, "id")
            if key in found:
                raise DataError(f"id {key!r} was already used")
            found[key] = []
    for place, note in enumerate(notes):
        with at(f"{reader.file}, annotations[{place}]"):
            key = _key(note, "image_id")
            if key not in found:
                raise DataError(f"there is no image of id {key!r}")
            if _key(note, "category_id") not in types:
                raise DataError(f"there is no category of id {note['category_id']!r}")
            found[key].append((place, note))
    samples = []
    for place, entry in enumerate(entries):
        where = f"{reader.file}, images[{place}]"
        with at(where):
            image, size = _image(reader, entry)
        samples.append((where, _sample(reader, image, size, found[entry["id"]], types, where)))
    return samples


def _types(categories: list[Any], file: Path) -> dict[int | str, str]:
    types = {}
    for place, category in enumerate(categories):
        with at(f"{file}, categories[{place}]"):
            types[_key(category, "id")] = value_of(category, "name", str).replace("_", " ")
    return types


def _key(entry: Any, key: str) -> int | str:
    value = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(value, int | str) or isinstance(value, bool):
        raise DataError(f"{key!r} must be a number or a text")
    return value


def _image(reader: _Reader, entry: dict[str, Any]) -> tuple[Path, tuple[int, int] | None]:
    image = inside(reader.images, value_of(entry, "file_name", str))
    if not reader.names.has(image):
        raise DataError(f"{image}: no such image")
    if "width" not in entry or "height" not in entry:
        return image, None
    width, height = (number(entry[side]) for side in ("width", "height"))
    if min(width, height) < 1 or width % 1 or height % 1:
        raise DataError(f"size {width:g} x {height:g} is not that of an image")
    return image, (int(width), int(height))


def _sample(
    reader: _Reader,
    image: Path,
    size: tuple[int, int] | None,
    notes: list[tuple[int, dict[str, Any]]],
    types: Mapping[int | str, str],
    where: str,
) -> Sample:
    boxes, segments = [], []
    for place, note in notes:
        with at(f"{reader.file}, annotations[{place}]"):
            box = _box(note["bbox"], size) if note.get("bbox") else None
            drawn = segments_of(note["segmentation"]) if note.get("segmentation") else ()
            if box is None and not drawn:
                raise DataError("has neither bbox nor segmentation")
        boxes.append(box)
        segments.append(drawn)
    masked = bool(notes) and all(segments)
    stated = tuple(box for box in boxes if box is not None)
    if notes and len(stated) < len(notes) and not masked:
        raise DataError(f"{where}: some of its annotations lack the bbox, and some the segmentation")
    found = [types[note["category_id"]] for _, note in notes]
    return Sample(
        id=image.relative_to(reader.source.root).with_suffix("").as_posix(),
        image=image,
        category=reader.product,
        anomalous=bool(notes),
        defect_type=main_type(found) if found else None,
        stated_size=size,
        stated_boxes=stated if notes and len(stated) == len(notes) else None,
        mask=CocoMask(
            tuple(segment for drawn in segments for segment in drawn),
            dilation=reader.source.dilation,
            min_area=reader.source.min_area,
            place=where,
        )
        if masked
        else None,
        attributes={"defects": tally(found)} if found else {},
    )


def _box(bbox: Any, size: tuple[int, int] | None) -> tuple[float, float, float, float]:
    if not isinstance(bbox, list) or len(bbox) != 4:
        raise DataError("bbox must be [x, y, width, height]")
    x, y, width, height = (number(value) for value in bbox)
    return box_in((x, y, x + width, y + height), size)
