"""What step times grow with: slopes along one axis, and the law that explains all cells together.

A law is a set of terms; a time is a sum of non-negative shares of them. The packed law says what adfm claims: prompts
are read once, so that linear work grows with P + G C and attention with P^2 / 2 + G C (P + C / 2). The padded law is
that of rows which repeat the prompt: G (P + C) and G (P + C)^2 / 2 = G P^2 / 2 + G C (P + C / 2).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

Sizes = Mapping[str, float]
"""Of a cell: `prompt` (P), `group` (G), `completion` (C)."""
Term = Callable[[float, float, float], float]

TERMS: dict[str, Term] = {
    "1": lambda p, g, c: 1.0,
    "C": lambda p, g, c: c,
    "P + G C": lambda p, g, c: p + g * c,
    "G (P + C)": lambda p, g, c: g * (p + c),
    "P^2 / 2": lambda p, g, c: p**2 / 2,
    "G P^2 / 2": lambda p, g, c: g * p**2 / 2,
    "G C (P + C / 2)": lambda p, g, c: g * c * (p + c / 2),
}

LAWS: dict[str, dict[str, tuple[str, ...]]] = {
    "update_else": {"packed": ("1", "P + G C"), "padded": ("1", "G (P + C)")},
    "update_attention": {
        "packed": ("1", "P^2 / 2", "G C (P + C / 2)"),
        "padded": ("1", "G P^2 / 2", "G C (P + C / 2)"),
    },
    "rollout_else": {"packed": ("1", "C", "P + G C"), "padded": ("1", "C", "G (P + C)")},
    "rollout_attention": {
        "packed": ("1", "C", "P^2 / 2", "G C (P + C / 2)"),
        "padded": ("1", "C", "G P^2 / 2", "G C (P + C / 2)"),
    },
}
"""For each measured part its terms if prompts are read once, and if they are repeated: as many, so that neither fits
better for its freedom. `C` stands for the decode loop, whose steps cost something however little they compute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A law's shares, in seconds per unit of each term, and how far it is from what was measured."""

    seconds: Mapping[str, float]
    relative_error: float
    """Root of the mean square of (fitted - measured) / measured."""


def fit(terms: Sequence[str], sizes: Sequence[Sizes], seconds: Sequence[float]) -> Fit:
    """Fit non-negative shares of the terms by least squares of the relative error, so that small cells count too."""
    measured = np.asarray(seconds, dtype=float)
    columns = [[TERMS[term](one["prompt"], one["group"], one["completion"]) for term in terms] for one in sizes]
    relative = np.asarray(columns) / measured[:, None]
    scale = np.linalg.norm(relative, axis=0)
    shares, _ = nnls(relative / scale, np.ones(len(measured)))
    shares /= scale
    error = float(np.sqrt(np.mean((relative @ shares - 1) ** 2)))
    return Fit(seconds=dict(zip(terms, shares.tolist(), strict=True)), relative_error=error)


def slope(values: Sequence[float], seconds: Sequence[float]) -> float:
    """Fit the exponent of `seconds ~ values ** exponent`."""
    return float(np.polyfit(np.log(values), np.log(seconds), 1)[0])
