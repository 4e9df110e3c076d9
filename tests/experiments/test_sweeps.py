"""Every sweep under experiments/: it composes, is checked, and each cell is a run of its own."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from adfm.config.compose import check
from adfm.tracking import arms, study

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
CELLS = {"first_light/sweep": (6, 2), "first_light/tune": (17, 17), "magnetic_tile/sweep": (6, 2)}
"""Sweep to the number of its cells and arms."""


@pytest.mark.parametrize("sweep", CELLS)
def test_every_cell_is_a_run_of_its_own(sweep: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAGNETIC_TILE", str(tmp_path))
    monkeypatch.setattr(study, "build", lambda _: SimpleNamespace(fingerprint=lambda: "reading the data takes long"))
    monkeypatch.setattr(study, "checkpoint_hash", lambda *_: "not made yet")
    path = EXPERIMENTS / f"{sweep}.yaml"
    cells = study.cells(path)
    assert (len({cell.run for cell in cells}), len(arms.arms(cells))) == CELLS[sweep]
    for cell in cells:
        check(study.composed(path, [f"{key}={value}" for key, value in cell.choices.items()]))
