"""A list of images through an inspector into a folder: resumable, batch by batch, and at the end what is said of all.

Killed at any point and started again it goes on, and ends with the same files as without the kill, but for times.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from adfm.config.environment import environment
from adfm.data.cache import Digests
from adfm.errors import ConfigError, DataError
from adfm.files import write_whole
from adfm.inspection import outputs, overlay
from adfm.inspection.folder import Folder, key_of
from adfm.inspection.inspected import Inspected
from adfm.inspection.inspector import Inspector
from adfm.inspection.sources import Source
from adfm.team import Team
from adfm.tracking.html import prediction as page


def predict(
    inspector: Inspector,
    sources: Sequence[Source],
    out: Path,
    *,
    batch: int,
    team: Team[Inspector],
    fresh: bool = False,
) -> dict[str, Any]:
    """Inspect all sources into `out` and return its summary.

    Rows of images whose file is the same as before stay. `batch` images are read, asked and written at once by one
    process of the team, whose others load an inspector like this one.

    Raises:
        ConfigError: `out` is in use, or holds what other settings made; or the model's calibration is for another
            prompt than a row of a manifest asks for.
    """
    inspector.check(sources)
    with Folder.opened(out, inspector.settings, fresh=fresh) as folder:
        missing = resume(folder, sources, batch)
        started, tokens = time.perf_counter(), 0
        pace = 0.1 if sys.stderr.isatty() else 15.0
        known = len(sources) - len(missing)
        with tqdm(total=len(sources), initial=known, desc="predict", unit="image", mininterval=pace) as bar:
            parts = [missing[first : first + batch] for first in range(0, len(missing), batch)]
            for rows, written in team.map([partial(_inspected, sources=part, out=out) for part in parts], inspector):
                folder.add(rows)
                tokens += written
                bar.update(len(rows))
        seconds = time.perf_counter() - started
        return finish(folder, inspector, sources, timing(len(missing), tokens, seconds))


def resume(folder: Folder, sources: Sequence[Source], batch: int) -> list[Source]:
    """Let the rows stand that are still true, and return the sources that have none, in order.

    If there are such sources, the rows after the last whole batch are dropped too. So every batch has the members that
    it has without a kill, and its numbers have the same last digits.

    Raises:
        ConfigError: there are rows, and none of them is of these images.
    """
    by_name = {source.name: source for source in sources}
    with Digests() as digests:
        kept = [
            row
            for row in folder.rows
            if (source := by_name.get(row["path"])) and _digest(digests, source.path) == row["sha256"]
        ]
    if folder.rows and not kept:
        raise ConfigError(
            f"out={folder.path} holds the results of other images; take another folder, or drop what is there with "
            "fresh=true"
        )
    if len({row["path"] for row in kept}) < len(sources):
        kept = kept[: len(kept) // batch * batch]
    folder.keep(kept)
    done = {row["path"] for row in kept}
    return [source for source in sources if source.name not in done]


def finish(
    folder: Folder, inspector: Inspector, sources: Sequence[Source], times: Mapping[str, float | None]
) -> dict[str, Any]:
    """Write what needs all rows, and return the summary."""
    rows = sorted(folder.rows, key=lambda row: row["path"])
    folder.keep(rows)
    outputs.write_csv(folder.path / "predictions.csv", rows)
    outputs.write_coco(folder.path / "coco.json", rows, inspector.defect_types)
    summary = {
        **outputs.counts(rows),
        "input": str(_root(sources)),
        "key": key_of(inspector.settings),
        "settings": dict(inspector.settings),
        "versions": environment(),
        "timing": dict(times),
    }
    write_whole(folder.path / "summary.json", json.dumps(summary, indent=2) + "\n")
    page.write(folder.path)
    return summary


def timing(images: int, tokens: int, seconds: float) -> dict[str, float | None]:
    """Say how fast the last call was; None for one that had nothing to do."""
    return {
        "images": images,
        "seconds": round(seconds, 3),
        "images_per_second": images / seconds if images else None,
        "tokens_per_second": tokens / seconds if images else None,
    }


def told(summary: Mapping[str, Any], out: Path) -> str:
    """Say a summary in a few lines."""
    counts, times = summary["counts"], summary["timing"]
    said = ", ".join(f"{number} {verdict}" for verdict, number in counts.items() if number)
    lines = [f"{summary['images']} images: {said}"]
    if times["images"]:
        pace = f"{times['images_per_second']:.2f} images/s, {times['tokens_per_second']:.0f} tokens/s"
        lines.append(f"{times['images']} inspected now in {times['seconds']:.1f} s: {pace}")
    return "\n".join([*lines, f"{out / 'predictions.csv'}\n{out / 'index.html'}"])


def _inspected(inspector: Inspector, sources: Sequence[Source], out: Path) -> tuple[list[dict[str, Any]], int]:
    """Inspect a batch and write its pictures; return its rows, and the tokens that were written about it."""
    found = inspector.inspect_sources(sources)
    return [_row(out, inspector.about, one) for one in found], sum(one.tokens for one in found)


def _row(out: Path, about: Mapping[str, Any], one: Inspected) -> dict[str, Any]:
    row = one.row() | dict(about)
    assert one.path is not None  # every source is a file
    return row | overlay.write(out, one.path, row)


def _digest(digests: Digests, path: Path) -> str | None:
    try:
        return digests.of(path)
    except DataError:
        return None


def _root(sources: Sequence[Source]) -> Path:
    """Return the folder that names are relative to."""
    source = sources[0]
    return source.path.absolute().parents[source.name.count("/")]
