from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from evaluation_support import Squares
from omegaconf import OmegaConf

from adfm.config.compose import compose
from adfm.data import kept
from adfm.evaluate import main
from adfm.evaluation import prediction

SMALL = ["model.completion_tokens=12", "model.prompt_tokens=600"]


@pytest.fixture
def run(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a run that started from, and exported, the random checkpoint."""
    monkeypatch.setenv("ADFM_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "runs" / "adfm-00000000"
    (folder / "export").mkdir(parents=True)
    (folder / "export" / "last").symlink_to(checkpoint)
    config = compose("train", ["reasoning=three_stage", f"model.path={checkpoint}", *SMALL])
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    plain["dataset"] = {"_target_": "evaluation_support.Squares", "root": str(tmp_path / "data")}
    OmegaConf.save(OmegaConf.create(plain), folder / "config.yaml")
    return folder


def evaluate(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["adfm.evaluate", *arguments])
    main()


def test_the_newest_run_on_its_own_data(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate(monkeypatch, f"runs={run.parent}", "score=direct", "resamples=20")
    printed = capsys.readouterr().out
    assert "squares, test part: 6 images, 3 of 6 samples anomalous; score=direct" in printed
    assert "| before " in printed
    assert printed.rstrip().endswith(str(run / "eval" / "squares" / "report.html"))
    assert json.loads((run / "eval" / "squares" / "metrics.json").read_text())["samples"] == 6
    assert (run / "eval" / "before" / "squares" / "predictions.jsonl").is_file()


def test_what_the_run_trained_on_is_said_in_table_and_metrics(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    squares = Squares(str(run.parents[1] / "data"))
    parts = {"train": squares.split("test")[:2], "val": [], "test": []}
    moved = SimpleNamespace(name="squares", split=parts.__getitem__, fingerprint=squares.fingerprint)
    kept.store(moved, run / "data")  # pyright: ignore[reportArgumentType]
    with pytest.raises(SystemExit):
        evaluate(monkeypatch, f"run={run}", "leaks=error")
    assert "leaks between parts: 2 same file" in capsys.readouterr().err
    evaluate(monkeypatch, f"run={run}", "resamples=0", "before=false")
    label = json.loads((run / "eval" / "squares" / "metrics.json").read_text())["trained"]
    assert label.startswith("in-domain: squares; shown in training: 2 same file")
    assert f"\n{label}\n" in capsys.readouterr().out


def test_several_draws_with_masks(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["draws=2", "temperature=0.8", "seed=3", "masks=box", "before=false", "resamples=0", "samples=3"]
    evaluate(monkeypatch, f"run={run}", *settings)
    assert "score=answer" in capsys.readouterr().out
    found = prediction.read(run / "eval" / "squares" / "predictions.jsonl")
    assert [len(one.draws) for one in found] == [2, 2, 2]
    assert [one.mask is not None and one.mask["size"] for one in found] == [[84, 112]] * 3
    assert json.loads((run / "eval" / "squares" / "metrics.json").read_text())["decoding"] == {
        "name": "draws",
        "count": 2,
        "temperature": 0.8,
        "seed": 3,
    }


def test_a_checkpoint_folder(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ADFM_CACHE", str(tmp_path / "cache"))
    arguments = [f"checkpoint={checkpoint}", "model=tiny", "reasoning=single_stage", *SMALL, "samples=4"]
    evaluate(monkeypatch, *arguments, "dataset=synthetic", "dataset.val=8", "dataset.test=8", f"runs={tmp_path}")
    assert "synthetic, test part: 4 images" in capsys.readouterr().out
    (written,) = tmp_path.glob("checkpoints/*/eval/synthetic/metrics.json")
    assert json.loads(written.read_text())["synthetic"] is True
    assert json.loads(written.read_text())["trained"] == "not known what it was trained on"


def test_the_export_of_a_run_as_a_checkpoint_is_compared_with_what_the_run_trained_on(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run kept ids: its data set is built again, where its test image shows a training image."""
    monkeypatch.setattr(kept, "STORED_ROWS", 0)
    squares = Squares(str(tmp_path / "data"))
    kept.store(squares, run / "data")
    rows = [(part, sample) for part, name in (("val", "val"), ("test", "train")) for sample in squares.split(name)]
    manifest = tmp_path / "renamed.csv"
    manifest.write_text(
        "image,category,label,split\n"
        + "".join(
            f"{one.image.relative_to(squares.root)},x,{'bad' if one.anomalous else 'good'},{part}\n"
            for part, one in rows
        )
    )
    named = [f"checkpoint={run / 'export' / 'last'}", "model=tiny", "reasoning=three_stage", *SMALL, f"runs={tmp_path}"]
    data = ["dataset=manifest", f"dataset.root={tmp_path / 'data'}", f"dataset.manifest={manifest}"]

    def label() -> str:
        evaluate(monkeypatch, *named, *data, "resamples=0", "samples=2", "baselines=[]")
        capsys.readouterr()
        (written,) = tmp_path.glob("checkpoints/*/eval/manifest/metrics.json")
        return json.loads(written.read_text())["trained"]

    assert label() == "no: squares; shown in training: 2 same file"
    (run / "data" / "about.json").write_text(json.dumps({"ids_only": "many", "fingerprint": "other"}))
    assert label().endswith("; shown in training: 2 same file; squares has changed since the training")
    (run / "data" / "about.json").unlink()
    assert label().startswith("no: squares; the training images of adfm-00000000 are not known (")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["checkpoint=x"], "needs also model=... dataset=... reasoning=..."),
        (["run=x", "checkpoint=y"], "give one of them"),
        (["run=nowhere"], "nowhere is not a run folder"),
        (["runs=nowhere"], "there is no run in nowhere"),
        (["score=certain"], "score"),
        (["score=samples"], "score"),
        (["draws=0"], "draws is 0"),
        (["draws=2", "temperature=0"], "temperature is 0"),
    ],
)
def test_what_the_user_can_mend_is_said_in_one_message(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        evaluate(monkeypatch, *arguments)
    assert left.value.code == 2
    assert message in capsys.readouterr().err


def test_a_run_without_an_export_says_so(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        evaluate(monkeypatch, f"run={run}", "which=best")
    assert "has no export/best yet" in capsys.readouterr().err
