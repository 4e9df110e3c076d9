"""ELPV (Buerhop-Lutz et al., EU PVSEC 2018): 2,624 electroluminescence images of solar cells, without masks.

`labels.csv` with lines `images/cell0001.png  1.0  mono`: the probability of a defect (0, 1/3, 2/3 or 1) and the type of
the module. It lies in the root, or since 2024 in `src/elpv_dataset/data`, beside `images`.
"""

from __future__ import annotations

from pathlib import Path

from adfm.data.benchmark import UNNAMED, Listing, Source
from adfm.data.layouts.annotations import at, number, read_text
from adfm.data.layouts.files import Names, inside
from adfm.errors import ConfigError, DataError
from adfm.types import Sample

CATEGORIES = {"mono": "monocrystalline solar cell", "poly": "polycrystalline solar cell"}
"""Type of the module to category."""


def elpv(source: Source, *, anomalous_from: float = 0.5) -> Listing:
    """List ELPV, all in `test`, for no split is published; the probability is an attribute.

    Args:
        source: Where.
        anomalous_from: A cell is anomalous from this probability of a defect on.

    Raises:
        DataError: An image is missing or a line is wrong; the message names file and line.
        ConfigError: The probability is none.
    """
    if not 0 < anomalous_from <= 1:
        raise ConfigError(f"dataset.layout.anomalous_from must be above 0 and at most 1, but is {anomalous_from}")
    homes = (source.root, source.root / "src" / "elpv_dataset" / "data")
    home = next((folder for folder in homes if (folder / "labels.csv").is_file()), None)
    if home is None:
        raise DataError(f"{source.root}: has no labels.csv; check dataset.root")
    chosen = set(source.chosen(list(CATEGORIES)))
    listing, names, seen = Listing(), Names(), {}
    for place, line in enumerate(read_text(home / "labels.csv").splitlines(), start=1):
        if not line.strip():
            continue
        with at(f"{home / 'labels.csv'}, line {place}"):
            module, sample = _sample(line, home, anomalous_from, names)
            if seen.setdefault(sample.id, place) != place:
                raise DataError(f"{sample.id} was already listed in line {seen[sample.id]}")
        if module in chosen:
            listing.parts["test"].append(sample)
    return listing


def _sample(line: str, home: Path, anomalous_from: float, names: Names) -> tuple[str, Sample]:
    columns = line.split()
    if len(columns) != 3 or columns[2] not in CATEGORIES:
        raise DataError(f"must be a path, a probability, and mono or poly, not {line[:60]!r}")
    image, probability = inside(home, columns[0]), number(columns[1])
    if not 0 <= probability <= 1:
        raise DataError(f"probability {probability:g} is not between 0 and 1")
    if not names.has(image):
        raise DataError(f"{image}: no such image")
    anomalous = probability >= anomalous_from
    return columns[2], Sample(
        id=image.relative_to(home).with_suffix("").as_posix(),
        image=image,
        category=CATEGORIES[columns[2]],
        anomalous=anomalous,
        defect_type=UNNAMED if anomalous else None,
        attributes={"probability": probability},
    )
