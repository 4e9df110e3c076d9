"""What a data set holds, counted and measured, as lines of text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from adfm.data.checking import Finding
from adfm.errors import DataError
from adfm.types import Frames, Sample

Parts = Mapping[str, Sequence[Sample]]
QUANTILES = (0, 0.25, 0.5, 0.75, 1)
SIZES = 5
"""Image sizes that are told one by one, the most frequent first."""


def counts(name: str, parts: Parts) -> list[str]:
    """Count samples by category, label and type in each part; categories are told apart where there are several."""
    rows: dict[str, Counter[str]] = {}
    several = len({sample.category for samples in parts.values() for sample in samples}) > 1
    for part, samples in parts.items():
        for sample in samples:
            label = sample.defect_type or ("anomalous" if sample.anomalous else "normal")
            rows.setdefault(f"{sample.category}, {label}" if several else label, Counter())[part] += 1
    normal = {key: not key.endswith("normal") for key in rows}
    order = sorted(rows, key=lambda key: (key.rpartition(", ")[0], normal[key], key))
    total = {part: Counter("anomalous" if sample.anomalous else "normal" for sample in parts[part]) for part in parts}
    lines = [(key, [rows[key][part] for part in parts]) for key in order]
    lines += [(f"all {label}", [total[part][label] for part in parts]) for label in ("normal", "anomalous")]
    lines += [("all", [len(samples) for samples in parts.values()])]
    lines += [("categories", [len({sample.category for sample in samples}) for samples in parts.values()])]
    width = max(24, len(name), *(len(key) for key, _ in lines))
    heading = f"{name:{width}}" + "".join(f"{part:>9}" for part in parts)
    return [heading, *(f"{key:{width}}" + "".join(f"{number:9,}" for number in numbers) for key, numbers in lines)]


def boxes(findings: Sequence[Finding]) -> list[str]:
    """Measure the boxes: how many to an image, which share of it they cover, how long their sides are."""
    boxed = [finding for finding in findings if finding.boxes and finding.size]
    if not boxed:
        return ["boxes: none"]
    number = [len(finding.boxes) for finding in boxed]
    sides = [(x1 - x0, y1 - y0, finding.size) for finding in boxed for x0, y0, x1, y1 in finding.boxes]
    share = [100 * wide * high / (size[0] * size[1]) for wide, high, size in sides if size]
    return [
        f"boxes: {sum(number):,} in {len(boxed):,} images" + _head(),
        _quantiles("boxes an image", number),
        _quantiles("area, % of the image", share),
        _quantiles("width, pixels", [wide for wide, _, _ in sides]),
        _quantiles("height, pixels", [high for _, high, _ in sides]),
    ]


def masks(findings: Sequence[Finding]) -> list[str]:
    """Measure the masks: how many there are, how many are empty, which share of the image is defect."""
    masked = [(finding.mask_area, finding.size) for finding in findings if finding.mask_area is not None]
    if not masked:
        return ["masks: none"]
    share = [100 * area / (size[0] * size[1]) for area, size in masked if area and size]
    lines = [f"masks: {len(masked):,}, of which {len(masked) - len(share):,} empty" + _head()]
    return [*lines, _quantiles("area, % of the image", share)] if share else lines


def sizes(findings: Sequence[Finding], frames: Frames, factor: int, model: str) -> tuple[list[str], list[str]]:
    """Measure the images and what they cost as image tokens, one to `factor` x `factor` pixels as the model sees them.

    Returns:
        Lines of the report, and a problem for each size that the model cannot be shown.
    """
    found = Counter(finding.size for finding in findings if finding.size)
    tokens, problems = {}, []
    for size in found:
        try:
            seen = frames(*size).image_size
            tokens[size] = seen[0] * seen[1] // factor**2
        except DataError as error:
            problems.append(f"{found[size]} images: {error}")
    if not tokens:
        return ["images: none can be read"], problems
    each = [tokens[size] for size in found.elements() if size in tokens]
    lines = [
        f"images: {found.total():,} of {len(found):,} sizes" + _head(),
        _quantiles("width, pixels", [size[0] for size in found.elements()]),
        _quantiles("height, pixels", [size[1] for size in found.elements()]),
        _quantiles(f"image tokens, {model}", each),
        f"  {sum(each):,} image tokens in all; the most frequent sizes:",
    ]
    for size, number in found.most_common(SIZES):
        told = f"{tokens[size]:,} tokens each" if size in tokens else "cannot be shown to the model"
        lines.append(f"    {size[0]} x {size[1]}: {number:,} images, {told}")
    return lines, problems


def _head() -> str:
    return f"\n  {'':24}" + "".join(f"{name:>9}" for name in ("least", "25 %", "median", "75 %", "most"))


def _quantiles(name: str, values: Sequence[float]) -> str:
    found = np.quantile(np.asarray(values, float), QUANTILES)
    return f"  {name:24}" + "".join(f"{_number(value):>9}" for value in found)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.2g}"


def told(what: str, lines: Sequence[str], most: int) -> list[str]:
    """Say how many lines of a kind there are, and the first of them; nothing where there are none."""
    if not lines:
        return []
    rest = [] if len(lines) <= most else [f"  and {len(lines) - most:,} more"]
    return ["", f"{what}: {len(lines):,}", *(f"  {line}" for line in lines[:most]), *rest]
