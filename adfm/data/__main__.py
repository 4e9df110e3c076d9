"""`python -m adfm.data dataset=...`: read every image of a data set, count it, name what is wrong and what leaks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from omegaconf import DictConfig
from tqdm import tqdm

from adfm.config.command import command
from adfm.config.compose import build, check
from adfm.data.images import read_image
from adfm.data.leaks import leaks
from adfm.data.manifest import PARTS
from adfm.errors import DataError
from adfm.types import Dataset, Sample

SHOWN = 3
"""Problems and leaks that are printed in full."""


@command("data")
def main(config: DictConfig) -> None:
    """Print the table, then problems and leaks; a problem ends with a DataError."""
    check(config)
    dataset: Dataset = build(config.dataset)
    parts = {part: dataset.split(part) for part in PARTS}
    print(table(dataset.name, parts))
    for name, reason in getattr(dataset, "excluded", {}).items():
        print(f"left out: {name} ({reason})")
    found = list(problems(parts))
    if found:
        raise DataError("\n".join([f"{len(found)} problems, the first {min(SHOWN, len(found))}:", *found[:SHOWN]]))
    shared = leaks(parts)
    print(f"near-duplicates across parts: {len(shared) or 'none'}")
    for first, second in shared[:SHOWN]:
        print(f"  {first.id} and {second.id}")
    print(f"fingerprint: {dataset.fingerprint()}")


def table(name: str, parts: Mapping[str, Sequence[Sample]]) -> str:
    """Return the number of samples per type and part as text."""
    counts = {part: Counter(sample.defect_type or "normal" for sample in samples) for part, samples in parts.items()}
    types = sorted({kind for count in counts.values() for kind in count}, key=lambda kind: (kind != "normal", kind))
    lines = [f"{name:24}" + "".join(f"{part:>8}" for part in parts)]
    lines += [f"{kind:24}" + "".join(f"{counts[part][kind]:8}" for part in parts) for kind in types]
    lines += [f"{'all':24}" + "".join(f"{len(samples):8}" for samples in parts.values())]
    lines += [f"{'categories':24}" + "".join(f"{len({s.category for s in part}):8}" for part in parts.values())]
    return "\n".join(lines)


def problems(parts: Mapping[str, Sequence[Sample]]) -> Iterator[str]:
    """Decode everything and yield what is wrong, in words that name the file or the sample."""
    seen: dict[str, str] = {}
    for part, samples in parts.items():
        for sample in tqdm(samples, desc=f"reading {part}", unit="image", leave=False):
            try:
                _decode(sample)
            except DataError as error:
                yield str(error)
            if sample.id in seen:
                yield f"{sample.id}: in {part} and in {seen[sample.id]}"
            if sample.anomalous and not sample.boxes:
                yield f"{sample.id}: anomalous but without a box"
            seen[sample.id] = part


def _decode(sample: Sample) -> None:
    size = read_image(sample.image).size
    if size != sample.size:
        raise DataError(f"{sample.image}: is {size[0]} x {size[1]}, not {sample.width} x {sample.height}")
    if sample.mask is not None:
        sample.mask.read(size)
    for reference in sample.references:
        read_image(reference)


if __name__ == "__main__":
    main()
