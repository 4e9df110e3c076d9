from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from evaluation_support import Squares
from omegaconf import OmegaConf

from adfm.data import kept
from adfm.evaluation.training import names_after, run_of, trained_on, training_of
from adfm.models.card import NAME, Card, write_card


def write_run(folder: Path, start: str, **dataset: str) -> Path:
    """Make a run with an export, as `adfm.run` leaves it, without its card; return the export."""
    export = folder / "export" / "last"
    export.mkdir(parents=True)
    config = {"model": {"path": start}, "dataset": {"_target_": "evaluation_support.Squares", **dataset}}
    OmegaConf.save(OmegaConf.create(config), folder / "config.yaml")
    return export


@pytest.fixture
def exports(tmp_path: Path) -> tuple[Path, Path]:
    """The exports of a run and of one that started from it; each kept the ids of its split."""
    first = write_run(tmp_path / "runs" / "first", "owner/name", root=str(tmp_path / "first"), name="visa")
    second = write_run(tmp_path / "runs" / "second", str(first), root=str(tmp_path / "second"))
    return first, second


def test_the_run_of_an_export(exports: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for export in exports:
        run = run_of(str(export))
        assert run is not None
        assert run.path == export.parents[1]
    monkeypatch.chdir(exports[0])
    run = run_of("../last") or run_of(".")
    assert run is not None
    assert run.path.resolve() == exports[0].parents[1]
    assert run_of("owner/name") is run_of("tiny") is run_of(str(tmp_path / "runs" / "first")) is None


def test_a_card_or_else_the_run_names_the_data_sets(exports: tuple[Path, Path], tmp_path: Path) -> None:
    first, second = map(str, exports)
    assert trained_on("owner/name") is trained_on(str(tmp_path)) is None
    assert trained_on("tiny") == ["synthetic"]
    assert trained_on(first) == ["visa"]
    assert trained_on(second) == ["visa", "squares"]
    copied = shutil.copytree(second, tmp_path / "copied")
    assert trained_on(str(copied)) is None
    write_card(copied, Card.of({}, {}, ()))  # as one of an older version
    assert trained_on(str(copied)) is None
    write_card(copied, Card.of({}, {}, (), ["btad", "visa"]))
    assert trained_on(str(copied)) == ["btad", "visa"]
    shutil.copy(copied / NAME, first)
    assert trained_on(second) == ["btad", "visa", "squares"]
    mixture = {"datasets": {"a": {"name": "visa", "_target_": "x"}, "b": {"_target_": "y.Mpdd"}}, "name": "mixture"}
    assert names_after(first, mixture) == ["btad", "visa", "mpdd"]
    assert names_after(None, mixture) == ["visa", "mpdd"]


def test_the_images_of_all_runs_behind_a_checkpoint_are_found(
    exports: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "STORED_ROWS", 0)
    for export, name in zip(exports, ("first", "second"), strict=True):
        kept.store(Squares(str(tmp_path / name)), export.parents[1] / "data")
    found = training_of(str(exports[1]))
    assert found.samples is not None
    assert {sample.image for sample in found.samples} == {
        tmp_path / name / "train" / f"{number}.png" for name in ("first", "second") for number in range(6)
    }
    assert found.gaps == ()
    shutil.rmtree(exports[0].parents[1] / "data")
    found = training_of(str(exports[1]))
    assert len(found.samples or ()) == 6
    assert [gap.partition(" (")[0] for gap in found.gaps] == ["the training images of first are not known"]
    assert training_of("owner/name") == training_of("tiny") == kept.Training()
