"""VisA (Zou et al., ECCV 2022) as in its archive, divided by one of the CSV files that come with it.

`<object>/Data/Images/{Normal,Anomaly}/*.JPG`, masks in `<object>/Data/Masks/Anomaly/*.png`, and `split_csv/1cls.csv`,
`2cls_highshot.csv` and `2cls_fewshot.csv`, each with the columns object, split, label, image and mask.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from adfm.data.benchmark import UNNAMED, Listing, Source
from adfm.data.layouts.files import Names, inside
from adfm.data.layouts.mvtec import plain
from adfm.data.masks import MaskFiles
from adfm.errors import DataError
from adfm.types import Sample

COLUMNS = ("object", "split", "label", "image", "mask")
_Row = dict[str, str]


def visa_raw(source: Source, *, split_csv: str = "1cls") -> Listing:
    """List VisA as one of its CSV files divides it; every value of a mask but 0 is defect.

    Args:
        source: Where.
        split_csv: Name of the file in the folder `split_csv`, without its suffix.

    Raises:
        DataError: The file is missing or lacks a column, or a row is wrong, repeats an image, or names one that is not
            there or does not lie in the root; the message gives file and line.
    """
    table = source.root / "split_csv" / f"{split_csv}.csv"
    rows = list(_rows(table))
    wanted = source.chosen(sorted({row["object"] for _, row in rows}))
    listing, names, seen = Listing(), Names(), dict[str, int]()
    for line, row in rows:
        if row["object"] not in wanted:
            continue
        try:
            sample = _sample(source, row, names)
            _once(seen, sample.id, line)
        except DataError as error:
            raise DataError(f"{table}, line {line}: {error}") from error
        listing.parts[row["split"]].append(sample)
    return listing


def _once(seen: dict[str, int], name: str, line: int) -> None:
    first = seen.setdefault(name, line)
    if first != line:
        raise DataError(f"{name} is already in line {first}")


def _rows(table: Path) -> Iterator[tuple[int, _Row]]:
    """Read the rows with their lines; a cell that is not there is empty."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="")
            missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
            if missing:
                raise DataError(f"{table}: lacks column {', '.join(missing)}; needs {', '.join(COLUMNS)}")
            for row in reader:
                yield reader.line_num, row
    except OSError as error:
        raise DataError(
            f"{table}: cannot be read ({error.strerror}); set dataset.layout.split_csv to the name of a file there, "
            "or dataset=visa for the prepared tree"
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table}: is not a CSV file in UTF-8 ({error})") from error


def _sample(source: Source, row: _Row, names: Names) -> Sample:
    for column, allowed in (("split", ("train", "test")), ("label", ("normal", "anomaly"))):
        if row[column] not in allowed:
            raise DataError(f"{column} is {row[column]!r}, not {' or '.join(allowed)}")
    anomalous = row["label"] == "anomaly"
    if bool(row["mask"]) != anomalous:
        raise DataError(f"label is {row['label']!r} but mask is {row['mask']!r}")
    image = inside(source.root, row["image"])
    if not names.has(image):
        raise DataError(f"{image}: no such image")
    masks = (inside(source.root, row["mask"]),) if anomalous else ()
    return Sample(
        id=image.relative_to(source.root).with_suffix("").as_posix(),
        image=image,
        category=plain(row["object"]),
        anomalous=anomalous,
        defect_type=UNNAMED if anomalous else None,
        mask=MaskFiles(masks, above=0, dilation=source.dilation, min_area=source.min_area) if masks else None,
    )
