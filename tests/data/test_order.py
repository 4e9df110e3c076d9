"""The order of samples, and their balance."""

from __future__ import annotations

from pathlib import Path

from adfm.data.order import balanced
from adfm.types import Sample


def _samples(labels: str) -> list[Sample]:
    return [
        Sample(id=f"{place}", image=Path("x.png"), stated_size=(1, 1), category="bolt", anomalous=label == "a")
        for place, label in enumerate(labels)
    ]


def test_the_rarer_label_is_repeated_in_order() -> None:
    assert [sample.id for sample in balanced(_samples("nanannn"))] == [*"0123456", "1", "3", "1"]
    assert [sample.id for sample in balanced(_samples("aan"))] == [*"012", "2"]


def test_what_is_balanced_or_has_one_label_stays() -> None:
    for labels in ("", "nnn", "aa", "anna"):
        assert balanced(_samples(labels)) == _samples(labels)
