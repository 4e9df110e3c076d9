"""DeepPCB (Tang et al., 2019): 1,500 pairs of a printed circuit board and its defect-free template, black and white.

`PCBData/group<g>/<g>/<id>_test.jpg` and `<id>_temp.jpg`; `PCBData/group<g>/<g>_not/<id>.txt` with a line
`x1 y1 x2 y2 type` for each defect. `trainval.txt` and `test.txt` name `group<g>/<g>/<id>.jpg` and the text file,
although the image on disk ends in `_test.jpg`.
"""

from __future__ import annotations

from pathlib import Path

from adfm.data.benchmark import Listing, Source
from adfm.data.layouts.annotations import at, box_in, main_type, number, read_text, tally
from adfm.data.layouts.files import Names, inside
from adfm.errors import DataError
from adfm.types import Box, Sample

CATEGORY = "printed circuit board"
TYPES = {"1": "open", "2": "short", "3": "mousebite", "4": "spur", "5": "spurious copper", "6": "pin hole"}
"""Number to the name that the set's README gives it."""
SPLITS = {"train": "trainval.txt", "test": "test.txt"}


def deeppcb(source: Source) -> Listing:
    """List DeepPCB as published; a category on disk is a group of boards (`group00041`).

    Each template is the reference of its board and a good sample of its own, in the same part. A board has 3 to 12
    defects of several types: its type is the most frequent one (of equals, the first in the file), and the attribute
    `defects` counts them all.

    Raises:
        DataError: A file is missing or a line is wrong; the message names file and line.
    """
    root = next((folder for folder in (source.root / "PCBData", source.root) if (folder / "test.txt").is_file()), None)
    if root is None:
        raise DataError(f"{source.root}: has no test.txt, nor has PCBData in it; check dataset.root")
    rows = {part: _rows(root, root / name) for part, name in SPLITS.items()}
    groups = sorted({image.relative_to(root).parts[0] for found in rows.values() for _, image, _ in found})
    chosen = set(source.chosen(groups))
    listing, names = Listing(), Names()
    for part, found in rows.items():
        for row, image, text in found:
            if image.relative_to(root).parts[0] in chosen:
                with at(row):
                    listing.parts[part] += _pair(root, image, text, names)
    return listing


def _rows(root: Path, file: Path) -> list[tuple[str, Path, Path]]:
    """Return, for each line, its place, the image as it names it, and the file of the defects."""
    rows = []
    for place, line in enumerate(read_text(file).splitlines(), start=1):
        if line.strip():
            with at(f"{file}, line {place}"):
                columns = line.split()
                if len(columns) != 2:
                    raise DataError(f"must name an image and a text file, not {line[:60]!r}")
                image, text = (inside(root, column) for column in columns)
            rows.append((f"{file}, line {place}", image, text))
    return rows


def _pair(root: Path, named: Path, text: Path, names: Names) -> list[Sample]:
    board, template = (named.with_name(f"{named.stem}_{kind}.jpg") for kind in ("test", "temp"))
    for needed in (board, template):
        if not names.has(needed):
            raise DataError(f"{needed}: no such image")
    types, boxes = read_defects(text)
    good, bad = (image.relative_to(root).with_suffix("").as_posix() for image in (template, board))
    return [
        Sample(id=good, image=template, category=CATEGORY, anomalous=False),
        Sample(
            id=bad,
            image=board,
            category=CATEGORY,
            anomalous=True,
            defect_type=main_type(types),
            stated_boxes=boxes,
            references=(template,),
            attributes={"defects": tally(types)},
        ),
    ]


def read_defects(file: Path) -> tuple[tuple[str, ...], tuple[Box, ...]]:
    """Return the type and the box of each defect; corners are taken as written.

    Raises:
        DataError: The file is missing or has no defect, or a line is not `x1 y1 x2 y2 type`.
    """
    types, boxes = [], []
    for place, line in enumerate(read_text(file).splitlines(), start=1):
        if line.strip():
            with at(f"{file}, line {place}"):
                columns = line.split()
                if len(columns) != 5 or columns[4] not in TYPES:
                    raise DataError(f"must be x1 y1 x2 y2 and a type from 1 to 6, not {line[:60]!r}")
                boxes.append(box_in([number(column) for column in columns[:4]], None))
                types.append(TYPES[columns[4]])
    if not boxes:
        raise DataError(f"{file}: names no defect")
    return tuple(types), tuple(boxes)
