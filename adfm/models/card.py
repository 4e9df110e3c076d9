"""`adfm.json`: what a checkpoint was trained to be asked, beside its weights, so that its folder alone is enough.

{"format": 2, "adfm": "0.1.0", "model": {...}, "reasoning": {...}, "defect_types": [...], "trained_on": [...],
"calibration": {...}}
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from adfm.errors import ConfigError
from adfm.files import write_whole

NAME = "adfm.json"
FORMAT = 2
"""Counted up when an older adfm cannot read a card, or could misread it. Cards of format 1 say no `trained_on`."""
ELSEWHERE = ("path", "revision")
"""Keys of a `model` node that say where the weights lie: they lie beside the card."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What goes with the weights of a checkpoint; config nodes are plain and resolved."""

    model: Mapping[str, Any]
    """The `model` config node without `path` and `revision`."""
    reasoning: Mapping[str, Any]
    """The `reasoning` config node: the template."""
    defect_types: tuple[str, ...] = ()
    """Of the data set that it was trained on, sorted."""
    trained_on: tuple[str, ...] | None = None
    """Names of all data sets that it was trained on, those of the checkpoint that it started from first; None where
    that is not known."""
    calibration: Mapping[str, Any] | None = None
    """What `python -m adfm.calibrate` found; None before."""
    adfm: str = field(default_factory=lambda: version("adfm"))
    """The version that wrote the card."""

    @classmethod
    def of(
        cls,
        model: Mapping[str, Any],
        reasoning: Mapping[str, Any],
        defect_types: tuple[str, ...],
        trained_on: Sequence[str] | None = None,
    ) -> Card:
        """Make the card of a checkpoint from the plain config nodes that it was trained with."""
        kept = {key: value for key, value in model.items() if key not in ELSEWHERE}
        names = None if trained_on is None else tuple(trained_on)
        return cls(model=kept, reasoning=dict(reasoning), defect_types=defect_types, trained_on=names)

    def model_node(self, path: Path | str) -> dict[str, Any]:
        """Return the `model` config node of the checkpoint at `path`."""
        return {**self.model, "path": str(path), "revision": None}


def write_card(folder: Path, card: Card) -> None:
    """Write the card into a checkpoint folder, whole or not at all, in the place of an existing one."""
    text = json.dumps({"format": FORMAT, **asdict(card)}, indent=2, ensure_ascii=False)
    write_whole(folder / NAME, f"{text}\n")


def read_card(folder: Path) -> Card | None:
    """Read the card of a checkpoint folder; None where it has none.

    Raises:
        ConfigError: The card is broken, or a newer adfm wrote it.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if (written := values.pop("format")) > FORMAT:
            raise ConfigError(
                f"{path} was written by a newer adfm ({values.get('adfm')}, format {written}); update adfm"
            )
        return _card(values)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{path} is not a card of adfm ({error}); delete it and give model=... and reasoning=... by hand"
        ) from error


def _card(values: dict[str, Any]) -> Card:
    if not isinstance(values["model"], dict) or not isinstance(values["reasoning"], dict):
        raise TypeError("model and reasoning must be config nodes")
    read: dict[str, Any] = {**values, "defect_types": tuple(values["defect_types"])}
    if values.get("trained_on") is not None:
        read["trained_on"] = tuple(values["trained_on"])
    return Card(**read)
