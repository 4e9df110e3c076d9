"""Scores of normal images to the calibration of a model, by the very inspector that will use it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from tqdm import tqdm

from adfm.errors import ConfigError, DataError
from adfm.inspection.calibration import Calibration, probability, refuse_other_prompts
from adfm.inspection.inspector import Inspector
from adfm.inspection.sources import Source
from adfm.inspection.threshold import exceedances, groups, threshold

NAMED = 10
"""Images that an error names, at most."""


def independent(
    normals: Sequence[Source],
    anomalous: Sequence[Source] = (),
    *,
    max_false_alarm: float | None,
    confidence: float,
    similarity: float | None,
) -> list[list[int]]:
    """Put the places of normal images that are near-duplicates together, and say what cannot work before a model loads.

    With a `similarity` of None every image is by itself.

    Raises:
        ConfigError: an image is given as normal and as anomalous.
        DataError: an image cannot be read, or there are too few independent ones.
    """
    both = {source.path.resolve() for source in normals} & {source.path.resolve() for source in anomalous}
    if both:
        raise ConfigError(f"{min(both)}: is given as normal and as anomalous ({len(both)} images are)")
    alone = [[place] for place in range(len(normals))]
    together = alone if similarity is None else groups([source.path for source in normals], similarity)
    exceedances(len(together), len(normals), max_false_alarm, confidence)
    return together


def calibrate(
    inspector: Inspector,
    normals: Sequence[Source],
    together: Sequence[Sequence[int]],
    anomalous: Sequence[Source] = (),
    *,
    max_false_alarm: float | None,
    confidence: float,
) -> Calibration:
    """Score all images and choose the threshold; with anomalous images fit the probability too.

    Args:
        inspector: Scores, in the one way that the calibration will be for.
        normals: Normal images.
        together: The places of those that count as one; see `independent`.
        anomalous: Anomalous images.
        max_false_alarm: See `adfm.inspection.threshold.threshold`.
        confidence: Likewise.

    Raises:
        ConfigError: the way of scoring gives no score, or images of a manifest are asked about in another way.
        DataError: images cannot be read, or the scores make no threshold or probability.
    """
    advice = "calibrate each category by itself with category=..."
    refuse_other_prompts(inspector.scoring, [*normals, *anomalous], advice=advice)
    normal = scores(inspector, normals, "normal images")
    chosen = threshold(
        [[normal[place] for place in group] for group in together],
        max_false_alarm=max_false_alarm,
        confidence=confidence,
    )
    found = scores(inspector, anomalous, "anomalous images") if anomalous else []
    return Calibration(
        threshold=chosen,
        probability=probability(normal, found) if found else None,
        missed=sum(score <= chosen.value for score in found) if found else None,
        settings=inspector.scoring,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def scores(inspector: Inspector, sources: Sequence[Source], title: str) -> list[float]:
    """Return the anomaly score of every image, in order; none is left out.

    Raises:
        ConfigError: the way of scoring gives no score.
        DataError: images cannot be read; the message names them.
    """
    found = []
    with tqdm(total=len(sources), desc=title, unit="image", mininterval=0.1 if sys.stderr.isatty() else 15) as bar:
        for first in range(0, len(sources), inspector.batch):
            found += inspector.inspect_sources(sources[first : first + inspector.batch])
            bar.update(len(found) - bar.n)
    broken = [one.error for one in found if one.error is not None]
    if broken:
        more = f"\nand {len(broken) - NAMED} more" if len(broken) > NAMED else ""
        raise DataError("\n".join(broken[:NAMED]) + more + "\nmend or remove them: a calibration leaves no image out")
    values = [one.score for one in found if one.score is not None]
    if len(values) < len(found):
        raise ConfigError(
            f"{len(found) - len(values)} of the {title} have no score; ask for detection with this template"
        )
    return values


def told(calibration: Calibration) -> str:
    """Say a calibration, and what it does not cover, in a few lines."""
    chosen, curve = calibration.threshold, calibration.probability
    lines = [
        f"{chosen.guarantee}.",
        "It holds for independent images of the same kind that are scored in the same way.",
    ]
    if chosen.independent < chosen.images:
        lines.append(
            f"Warning: near-duplicates count as one, so {chosen.images} images are {chosen.independent}. If they are "
            "different parts that only look alike, similarity=null counts each."
        )
    if curve is None:
        lines.append("No probability: normal images alone give none; add anomalous=<folder> for one.")
    else:
        lines.append(
            f"Of {curve.anomalous} anomalous images it misses {calibration.missed}. Probabilities are for images of "
            f"which {curve.anomalous} in {curve.anomalous + curve.normal} are anomalous, as here."
        )
    return "\n".join(lines)
