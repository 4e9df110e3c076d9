"""What a score means to a model: the threshold and the probability that are stored with it, and for which scores.

They hold for one way of scoring: the same weights, prompt, decoding, tiles and references. These settings are stored
beside them, so that another way of scoring is refused and not silently judged by numbers that were made for this one.
A model keeps one calibration for each way of scoring, thus one for each category that it inspects.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize

from adfm.errors import ConfigError, DataError
from adfm.inspection.checkpoints import folder_of
from adfm.inspection.folder import key_of
from adfm.inspection.sources import Source
from adfm.inspection.threshold import Threshold
from adfm.models import tiny
from adfm.models.card import NAME, Card, read_card, write_card

SHOWN = 5
"""Differences that a refusal names, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probability:
    """A logistic curve from score to the probability of an anomaly, where as many are anomalous as it was fitted on."""

    slope: float
    """A unit of score; positive."""
    intercept: float
    normal: int
    anomalous: int

    def __call__(self, score: float) -> float:
        """Return the probability that an image of this score is anomalous."""
        return float(np.exp(-np.logaddexp(0, -(self.slope * score + self.intercept))))


def probability(normal: Sequence[float], anomalous: Sequence[float]) -> Probability:
    """Fit the curve by maximum likelihood with Platt's targets, which keep it finite where the classes do not overlap.

    J. Platt, Probabilistic outputs for support vector machines, 1999: targets (n1 + 1) / (n1 + 2) for the n1 anomalous
    images and 1 / (n0 + 2) for the n0 normal ones.

    Raises:
        DataError: Anomalous images do not score higher than normal ones, so that no score speaks for an anomaly.
    """
    scores = np.concatenate([np.asarray(normal, np.float64), np.asarray(anomalous, np.float64)])
    ones, zeros = len(anomalous), len(normal)
    targets = np.where(np.arange(len(scores)) < zeros, 1 / (zeros + 2), (ones + 1) / (ones + 2))
    middle, spread = float(scores.mean()), float(scores.std()) or 1.0
    units = (scores - middle) / spread

    def loss(curve: np.ndarray) -> tuple[float, np.ndarray]:
        logits = curve[0] * units + curve[1]
        error = np.exp(-np.logaddexp(0, -logits)) - targets
        return float(np.sum(np.logaddexp(0, logits) - targets * logits)), np.array([error @ units, error.sum()])

    slope, intercept = minimize(loss, np.zeros(2), jac=True, method="BFGS").x
    if slope <= 1e-6:
        raise DataError(
            "anomalous images do not score higher than normal ones, so the score gives no probability; "
            "leave anomalous= out, or look at the model"
        )
    return Probability(
        slope=float(slope / spread),
        intercept=float(intercept - slope * middle / spread),
        normal=zeros,
        anomalous=ones,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What scores mean that are made in one way."""

    threshold: Threshold
    probability: Probability | None = None
    """None where no anomalous images were given: normal ones alone tell nothing of the probability of an anomaly."""
    missed: int | None = None
    """How many of these anomalous images score at or below the threshold."""
    settings: Mapping[str, Any]
    """All that decides a score beside the image, as JSON values."""
    date: str
    """When it was made, in UTC, as ISO 8601 writes it."""

    @property
    def key(self) -> str:
        """16 hex digits that name its settings."""
        return key_of(self.settings)


def home(path: str) -> Path:
    """Return the folder of a checkpoint (`model.path`), which keeps its calibration.

    Raises:
        ConfigError: it is on the hub, is the embedded model (which is a part of the program), or cannot be written to.
    """
    folder = folder_of(path)
    if folder.resolve() == tiny.folder().resolve():
        raise ConfigError(
            f"model.path={path}: the embedded model is a part of the installed program and keeps no calibration; "
            "give the export of a run (run=<folder>, or run=newest) or a copy of a checkpoint (model.path=<folder>)"
        )
    if not folder.is_dir():
        raise ConfigError(
            f"model.path={path}: is no folder, and a calibration is kept in the folder of its checkpoint; "
            f"download it (hf download {path} --local-dir <folder>) and use model.path=<folder>"
        )
    if not os.access(folder, os.W_OK):
        raise ConfigError(f"{folder}: the calibration cannot be stored with the model (no right to write); use a copy")
    return folder


def store(folder: Path, calibration: Calibration, *, otherwise: Card) -> Path:
    """Put a calibration into the card of a checkpoint folder, whole or not at all, and return the card's path.

    It takes the place of the one with the same settings; others stay. A folder without a card gets `otherwise`.

    Raises:
        ConfigError: the folder is not there, cannot be written to, or has a broken card.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: the calibration cannot be stored with the model (the folder is gone)")
    card = read_card(folder) or otherwise
    entry = asdict(calibration) | {"guarantee": calibration.threshold.guarantee}
    try:
        write_card(folder, replace(card, calibration={**(card.calibration or {}), calibration.key: entry}))
    except OSError as error:
        raise ConfigError(f"{folder}: the calibration cannot be stored with the model ({error.strerror})") from error
    return folder / NAME


def find(folder: Path, settings: Mapping[str, Any]) -> Calibration | None:
    """Return the calibration of a checkpoint folder that was made with these settings; None if it has none at all.

    Raises:
        ConfigError: all it has were made with other settings; the message names what differs from the nearest. Or the
            card is broken.
    """
    card = read_card(folder)
    if card is None or not card.calibration:
        return None
    entries = card.calibration
    if (entry := entries.get(key_of(settings))) is None:
        differences = min((list(_differences(one["settings"], settings)) for one in entries.values()), key=len)
        more = f" and {len(differences) - SHOWN} more" if len(differences) > SHOWN else ""
        raise ConfigError(
            f"{folder}: its calibration is for another way of scoring: {'; '.join(differences[:SHOWN])}{more}. "
            "Use the same settings, calibrate with these (python -m adfm.calibrate), or set threshold=<number>"
        )
    known = {name: entry[name] for name in ("missed", "settings", "date")}
    curve = entry["probability"] and Probability(**entry["probability"])
    return Calibration(threshold=Threshold(**entry["threshold"]), probability=curve, **known)


def refuse_other_prompts(settings: Mapping[str, Any], sources: Sequence[Source], *, advice: str) -> None:
    """Raise ConfigError for rows of a manifest that change the prompt: a calibration is for the one of its settings."""
    category, knowledge = settings["category"], settings["knowledge"]
    for source in sources:
        if source.category not in (None, category) or source.knowledge not in (None, knowledge) or source.references:
            raise ConfigError(
                f"{source.path}: its row in the manifest names another category, knowledge or references than the "
                f"command, and a calibration is for one prompt; {advice}"
            )


def _differences(stored: Any, now: Any, path: str = "") -> Iterator[str]:
    """Name every value in which two settings differ."""
    if isinstance(stored, Mapping) and isinstance(now, Mapping):
        for name in sorted({*stored, *now}):
            yield from _differences(stored.get(name), now.get(name), f"{path}.{name}" if path else name)
    elif stored != now:
        yield f"{path} was {_short(stored)} and is {_short(now)}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:37]}..."
