"""`python -m adfm.evaluate dataset=mmad`, from the command to the folder."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from mmad_tree import write_mmad
from omegaconf import OmegaConf

from adfm.config.compose import compose
from adfm.data.leaks import UNKNOWN
from adfm.evaluate import main
from adfm.evaluation import comparison, prediction, runner
from adfm.evaluation.training import data_set_names
from adfm.models.card import Card, write_card

SMALL = ["model.completion_tokens=8", "model.prompt_tokens=2048", "resamples=10"]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ADFM_CACHE", str(tmp_path / "cache"))
    return write_mmad(tmp_path / "mmad", size=(84, 84))


def evaluate(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["adfm.evaluate", *arguments])
    main()


def checkpoint_of(checkpoint: Path, root: Path, runs: Path, *more: str) -> list[str]:
    named = [f"checkpoint={checkpoint}", "model=tiny", f"runs={runs}", "reasoning=mmad", *SMALL]
    return [*named, "dataset=mmad", f"dataset.root={root}", *more]


@pytest.mark.parametrize("answering", ["text", "logits"])
def test_a_checkpoint_answers_mmad(
    answering: str,
    checkpoint: Path,
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    arguments = checkpoint_of(checkpoint, root, tmp_path, f"answering={answering}")
    evaluate(monkeypatch, *arguments)
    printed = capsys.readouterr().out
    assert "14 answers about 8 images" in printed
    assert "| official scoring" in printed
    assert "| strict scoring" in printed
    assert ("| AUROC" in printed) == (answering == "logits")
    (folder,) = tmp_path.glob("checkpoints/*/eval/mmad")
    written = {"answers.json", "mmad.json", "predictions.jsonl", "report.html"}
    assert {file.name for file in folder.iterdir()} - {"true_masks.jsonl"} == written
    assert len(prediction.read(folder / "predictions.jsonl")) == 14
    assert json.loads((folder / "mmad.json").read_text())["trained"].startswith(UNKNOWN)
    assert f"\n{UNKNOWN}; its training images are not known; none were compared\n" in printed
    assert f"| {UNKNOWN} " in printed
    monkeypatch.setattr(runner, "evaluate", lambda *_, **__: pytest.fail("it was finished"))
    evaluate(monkeypatch, *arguments)
    assert capsys.readouterr().out == printed


def test_what_was_answered_before_an_interrupt_is_kept(
    checkpoint: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    arguments = checkpoint_of(checkpoint, root, tmp_path, "answering=logits", "batch=4")
    by_letters, asked = runner._by_letters, []

    def interrupted(vlm, template, prompts, encoded):
        if len(asked) == 2:
            raise KeyboardInterrupt
        asked.append([prompt.sample.id for prompt in prompts])
        return by_letters(vlm, template, prompts, encoded)

    monkeypatch.setattr(runner, "_by_letters", interrupted)
    with pytest.raises(KeyboardInterrupt):
        evaluate(monkeypatch, *arguments)
    (partial,) = tmp_path.glob("checkpoints/*/eval/mmad/predictions.partial")
    assert len(partial.read_text().splitlines()) == 1 + sum(map(len, asked))
    before, asked[:] = list(asked), []
    monkeypatch.setattr(runner, "_by_letters", lambda *given: asked.append(given[2]) or by_letters(*given))
    evaluate(monkeypatch, *arguments)
    again = {prompt.sample.id for batch in asked for prompt in batch}
    assert not again & {name for batch in before for name in batch}
    assert len(prediction.read(partial.with_name("predictions.jsonl"))) == 14


def test_a_run_on_mmads_sources_is_in_domain(
    checkpoint: Path,
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    folder = tmp_path / "runs" / "adfm-00000000"
    (folder / "export").mkdir(parents=True)
    (folder / "export" / "last").symlink_to(checkpoint)
    own = ["dataset=mvtec", "dataset.root=somewhere", "reasoning=single_stage", "reward=roam"]
    config = compose("train", [*own, f"model.path={checkpoint}", *SMALL[:2]])
    OmegaConf.save(OmegaConf.create(OmegaConf.to_container(config, resolve=True)), folder / "config.yaml")
    evaluate(monkeypatch, f"run={folder}", "dataset=mmad", f"dataset.root={root}", "answering=logits", "resamples=0")
    printed = capsys.readouterr().out
    assert "in-domain: mvtec" in printed
    assert printed.index("# before") < printed.index("# after") < printed.index("in-domain: mvtec")
    label = json.loads((folder / "eval" / "mmad" / "mmad.json").read_text())["trained"]
    assert label.startswith("in-domain: mvtec; the training images of adfm-00000000 are not known (")
    assert json.loads((folder / "eval" / "before" / "mmad" / "mmad.json").read_text())["trained"] == UNKNOWN


def test_a_mixture_with_mmad_has_both_kinds_of_tables(
    checkpoint: Path,
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    """One command, one loading of the model; MMAD's tables are those of MMAD alone."""
    copied = tmp_path / "copied"
    copied.mkdir()
    for file in checkpoint.iterdir():
        (copied / file.name).symlink_to(file)
    plain = compose("train", ["reasoning=mmad"])
    write_card(copied, Card.of({}, OmegaConf.to_container(plain.reasoning, resolve=True), (), ["visa", "synthetic"]))  # pyright: ignore
    named = [f"checkpoint={copied}", "model=tiny", f"runs={tmp_path}", "reasoning=mmad", *SMALL, "answering=logits"]
    drawn = [f"{part}=8" for part in ("train", "val", "test")]
    mixture = [
        *("dataset=mixture", "+dataset@dataset.datasets.asked=mmad", "+dataset@dataset.datasets.drawn=synthetic"),
        *(f"dataset.datasets.asked.root={root}", *(f"dataset.datasets.drawn.{part}" for part in drawn)),
    ]
    loaded = []
    load = comparison.VLM.load
    monkeypatch.setattr(comparison.VLM, "load", lambda *given, **more: loaded.append(given) or load(*given, **more))
    evaluate(monkeypatch, *named, *mixture)
    assert len(loaded) == 1
    printed = capsys.readouterr().out
    (folder,) = tmp_path.glob("checkpoints/*/eval")
    measured = json.loads((folder / "mixture" / "metrics.json").read_text())
    assert (measured["samples"], list(measured["baselines"])[:1]) == (8, ["always_normal"])
    assert measured["trained"].startswith("in-domain: synthetic; its training images are not known")
    assert not (folder / "mixture" / "answers.json").exists()
    answered = json.loads((folder / "mixture-mmad" / "mmad.json").read_text())
    assert answered["trained"].startswith("in-domain: visa; its training images are not known")
    assert not (folder / "mixture-mmad" / "metrics.json").exists()
    assert "mixture, test part: 8 images" in printed
    assert "14 answers about 8 images" in printed
    assert printed.splitlines()[-2:] == [str(folder / name / "report.html") for name in ("mixture", "mixture-mmad")]
    evaluate(monkeypatch, *named, "dataset=mmad", f"dataset.root={root}")
    alone = json.loads((folder / "mmad" / "mmad.json").read_text())
    assert alone["scoring"] == answered["scoring"]
    assert (folder / "mmad" / "answers.json").read_bytes() == (folder / "mixture-mmad" / "answers.json").read_bytes()


def test_a_run_has_the_names_of_all_its_data_sets():
    assert data_set_names(compose("data", ["dataset=synthetic"]).dataset) == ["synthetic"]
    mixed = ["dataset=mixture", "+dataset@dataset.datasets.a=visa", "+dataset@dataset.datasets.b=synthetic"]
    assert sorted(data_set_names(compose("data", mixed).dataset)) == ["synthetic", "visa"]


@pytest.mark.slow
def test_the_embedded_model_answers_mmad(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    for more in (["answering=text"], ["answering=logits"], ["reasoning=single_stage"]):
        named = ["checkpoint=tiny", "model=tiny", f"runs={tmp_path}", "reasoning=mmad", *SMALL, *more]
        evaluate(monkeypatch, *named, "dataset=mmad", f"dataset.root={root}")
        assert "14 answers about 8 images" in capsys.readouterr().out
