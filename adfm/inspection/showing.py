"""What the model is shown and told with an image: its category, what is known of it, and normal images beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from adfm.data.images import read_size
from adfm.errors import ConfigError
from adfm.inspection.references import References
from adfm.inspection.sources import Source, find
from adfm.types import Sample


class Showing:
    """Makes the samples that ask about images.

    Args:
        wording: The template's config node, as plain values; see `wording_of`.
        category: Of an image whose source names none.
        knowledge: Likewise.
        references: Chooses normal images for an image whose source names none; None leaves it without.
        digest: Gives the SHA-256 of a file's bytes, or raises DataError.
    """

    def __init__(
        self,
        wording: Mapping[str, Any],
        *,
        category: str,
        knowledge: str,
        references: References | None,
        digest: Callable[[Path], str],
    ) -> None:
        self._wording = wording
        self._category, self._knowledge = category, knowledge
        self._references = references
        self._digest = digest

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides what is shown, as JSON values."""
        return {
            "reasoning": self._wording,
            "references": self._references and self._references.settings,
            "category": self._category,
            "knowledge": self._knowledge,
        }

    def sample(self, source: Source) -> Sample:
        """Make the sample that asks about an image. Its label plays no part: no prompt shows it.

        Raises:
            ConfigError: there are fewer references than the template shows.
            DataError: the image cannot be read.
        """
        size = read_size(source.path)
        references = source.references
        if self._references is not None and not references:
            references = self._references.of(source.path)
        if len(references) < (wanted := self._wording.get("references", 0)):
            raise ConfigError(
                f"{source.name}: the template shows {wanted} normal images beside each image, and there are "
                f"{len(references)}; give references=<folder of normal images>, or set reasoning.references"
            )
        return Sample(
            id=source.name,
            image=source.path,
            category=source.category or self._category,
            anomalous=False,
            stated_size=size,
            references=references,
            knowledge=source.knowledge or self._knowledge,
        )

    def key(self, sample: Sample) -> str:
        """Return 16 hex digits of all that a sample shows and tells beside its image."""
        references = [self._digest(path) for path in sample.references]
        shown = [self._wording, sample.category, sample.knowledge, references]
        return hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()[:16]


def wording_of(template: Mapping[str, Any], *, references: bool, knowledge: bool) -> dict[str, Any]:
    """Return a template's node that shows what is given: at least one reference, and knowledge."""
    wording = dict(template)
    if references and "references" in wording:
        wording["references"] = wording["references"] or 1
    if knowledge and "knowledge" in wording:
        wording["knowledge"] = True
    return wording


def normal_images(references: str | Path | Sequence[str | Path]) -> list[Path]:
    """Return the images that a folder, a manifest or a list names; ConfigError if there are none."""
    if isinstance(references, str | Path):
        return [source.path for source in find(references)]
    return [Path(path) for path in references]
