"""Opening everything that samples name, over several processes: what is wrong, what is odd, and what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from adfm.data.images import image_size, is_turned, read_image
from adfm.data.likeness import kept_hashes, perceptual_hash
from adfm.data.masks import MaskFiles
from adfm.data.processes import mapped
from adfm.errors import DataError
from adfm.types import Box, Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What the files of one sample say."""

    size: tuple[int, int] | None = None
    """Width and height of the image as shown; None if it cannot be read."""
    boxes: tuple[Box, ...] = ()
    mask_area: int | None = None
    """Pixels of the mask; None without one."""
    hash: str | None = None
    """The image's perceptual hash."""
    problems: tuple[str, ...] = ()
    """What stands in the way of using the sample; each names its file or the sample."""
    warnings: tuple[str, ...] = ()
    """What is usable and should be looked at."""


def check_all(parts: Mapping[str, Sequence[Sample]], processes: int | None = None) -> dict[str, list[Finding]]:
    """Check every sample, in order, over as many processes as there are cores or as asked for.

    A bar shows how far it is; where the output is not a terminal, nothing does.

    Raises:
        DataError: A process was killed, as the system does where memory runs out.
    """
    samples = [sample for part in parts.values() for sample in part]
    known = kept_hashes([sample.image for sample in samples])
    rest = iter([*mapped(_check, [*zip(samples, known, strict=True)], doing="checking", processes=processes)])
    return {part: [next(rest) for _ in members] for part, members in parts.items()}


def check(sample: Sample, known_hash: str | None = None) -> Finding:
    """Decode the image, the mask and the references of one sample; a hash that is known is not computed again."""
    try:
        image = read_image(sample.image)
        size = image.size
        problems, warnings = _size_problems(sample, size), []
        area = None
        if sample.mask is not None:
            area = int(sample.mask.read(size).sum())
            warnings += _mask_warnings(sample, size)
        boxes = sample.boxes
    except DataError as error:
        return Finding(problems=(str(error),))
    problems += [f"{sample.id}: box {box} leaves the {size[0]} x {size[1]} image" for box in boxes if _out(box, size)]
    problems += [reason for path in sample.references if (reason := _unreadable(path))]
    if sample.anomalous and not boxes:
        problems.append(f"{sample.id}: anomalous but without a box{_why(area)}")
    if area and not sample.anomalous:
        problems.append(f"{sample.id}: normal, but its mask has {area} pixels")
    return Finding(
        size=size,
        boxes=boxes,
        mask_area=area,
        hash=known_hash or perceptual_hash(image),
        problems=tuple(problems),
        warnings=tuple(warnings),
    )


def _check(known: tuple[Sample, str | None]) -> Finding:
    return check(*known)


def _why(area: int | None) -> str:
    if area is None:
        return ""
    return f"; its mask has {area} pixels, too few in one place" if area else "; its mask is empty"


def _size_problems(sample: Sample, size: tuple[int, int]) -> list[str]:
    if sample.size == size:
        return []
    return [f"{sample.image}: is {size[0]} x {size[1]}, not {sample.size[0]} x {sample.size[1]} as stated"]


def _mask_warnings(sample: Sample, size: tuple[int, int]) -> Iterator[str]:
    for file in sample.mask.files if isinstance(sample.mask, MaskFiles) else ():
        if (own := image_size(file)) != size:
            yield f"{file}: the mask is {own[0]} x {own[1]} and was brought to {size[0]} x {size[1]}"
        elif is_turned(sample.image) and not is_turned(file):
            yield f"{file}: the image is turned by EXIF, its mask is not; look whether they fit"


def _out(box: Box, size: tuple[int, int]) -> bool:
    return not (0 <= box[0] < box[2] <= size[0] and 0 <= box[1] < box[3] <= size[1])


@cache
def _unreadable(path: Path) -> str | None:
    """Look at the header alone: references are samples of their own nearly always."""
    try:
        image_size(path)
    except DataError as error:
        return str(error)
    return None


def doubled(parts: Mapping[str, Sequence[Sample]]) -> Iterator[str]:
    """Name the ids that occur twice."""
    seen: dict[str, str] = {}
    for part, samples in parts.items():
        for sample in samples:
            if sample.id in seen:
                yield f"{sample.id}: in {part} and in {seen[sample.id]}"
            seen[sample.id] = part
