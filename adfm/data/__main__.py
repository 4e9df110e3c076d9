"""`python -m adfm.data dataset=...`: open a whole data set, count and measure it, name what is wrong or leaks."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from adfm.config.command import command
from adfm.config.compose import build, check
from adfm.data import statistics
from adfm.data.checking import Finding, check_all, doubled
from adfm.data.leaks import leaks
from adfm.data.manifest import PARTS, export
from adfm.errors import DataError
from adfm.types import Dataset, Sample

SHOWN = 10
"""Problems, warnings and left-out samples that are printed in full."""
BROKEN = 1
"""Exit status where something of the data set is broken."""


@command("data")
def main(config: DictConfig) -> None:
    """Print the report and write what `out` asks for; leave with status 1 if something is broken."""
    check(config)
    try:
        whole = examine(config)
    except DataError as error:
        print(error, file=sys.stderr)
        whole = False
    if not whole:
        sys.exit(BROKEN)


def examine(config: DictConfig) -> bool:
    """Report on the data set of a config and return whether nothing of it is broken.

    Raises:
        DataError: It cannot be listed or written.
    """
    dataset: Dataset = build(config.dataset)
    parts = {part: dataset.split(part) for part in PARTS}
    report = [layout_of(dataset), "", *statistics.counts(dataset.name, parts)]
    print("\n".join(report), flush=True)
    findings = check_all(parts, config.processes)
    measured, problems = measures(config, parts, findings)
    if config.leaks != "off":
        readable = {
            part: [one for one, finding in zip(parts[part], findings[part], strict=True) if finding.hash]
            for part in parts
        }
        result = leaks(readable, seen=_hashes(parts, findings))
        measured += ["", result.told()]
        problems += [str(leak) for leak in result.found] if config.leaks == "error" else []
    warnings = [warning for part in findings.values() for finding in part for warning in finding.warnings]
    left_out = [f"{name}: {reason}" for name, reason in getattr(dataset, "excluded", {}).items()]
    measured += statistics.told("left out", left_out, SHOWN) + statistics.told("warning", warnings, SHOWN)
    measured += statistics.told("problem", problems, SHOWN) or ["", f"fingerprint: {dataset.fingerprint()}"]
    print("\n".join(measured))
    if config.out is not None:
        write(Path(config.out), dataset, parts, findings, "\n".join([*report, *measured]))
    return not problems


def measures(
    config: DictConfig, parts: Mapping[str, Sequence[Sample]], findings: Mapping[str, Sequence[Finding]]
) -> tuple[list[str], list[str]]:
    """Return the lines about images, boxes and masks, and all problems."""
    found = list(chain.from_iterable(findings.values()))
    frames: Any = build(config.model.frames)
    images, unseen = statistics.sizes(found, frames, frames.factor, config.model.path)
    problems = [problem for finding in found for problem in finding.problems]
    lines = ["", *images, "", *statistics.boxes(found), "", *statistics.masks(found)]
    return lines, [*problems, *unseen, *doubled(parts)]


def layout_of(dataset: Dataset) -> str:
    """Name the layout of a data set, with the first line of what its module says."""
    layout = getattr(dataset, "layout", type(dataset))
    layout = layout.func if isinstance(layout, partial) else layout
    text = sys.modules[layout.__module__].__doc__ or ""
    return f"{dataset.name}: layout {layout.__name__.lower()}. {text.strip().splitlines()[0] if text else ''}"


def write(
    folder: Path,
    dataset: Dataset,
    parts: Mapping[str, Sequence[Sample]],
    findings: Mapping[str, Sequence[Finding]],
    report: str,
) -> None:
    """Write manifest and gallery page and say how to use them."""
    from adfm.tracking.html import dataset as page  # torch takes seconds, and most calls write nothing

    folder.mkdir(parents=True, exist_ok=True)
    root = export(dataset, folder)
    page.write(folder / "gallery.html", dataset.name, report, parts, findings)
    print(f"\n{folder / 'gallery.html'}\n{folder / 'manifest.jsonl'}; read it with")
    print(f"  dataset=manifest dataset.root={root} dataset.manifest={folder}")


def _hashes(parts: Mapping[str, Sequence[Sample]], findings: Mapping[str, Sequence[Finding]]) -> dict[Path, str]:
    pairs = (pair for part in parts for pair in zip(parts[part], findings[part], strict=True))
    return {sample.image: finding.hash for sample, finding in pairs if finding.hash}


if __name__ == "__main__":
    main()
