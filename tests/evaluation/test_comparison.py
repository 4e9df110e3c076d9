from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluation_support import Squares
from omegaconf import DictConfig, OmegaConf

from adfm.config.compose import compose
from adfm.data.masks import MaskFiles
from adfm.errors import ConfigError, DataError
from adfm.evaluation import baselines, comparison, measured, prediction
from adfm.evaluation.baselines import baseline_predictions
from adfm.evaluation.comparison import compare
from adfm.evaluation.plan import Plan, key_of, model_config
from adfm.evaluation.truth import truth_of
from adfm.models.vlm import VLM


@pytest.fixture
def nodes(tmp_path: Path) -> dict[str, Any]:
    """The config nodes of a plan."""
    config = compose("train", ["reasoning=three_stage", "reward=fine_grained"])
    dataset = {"_target_": "evaluation_support.Squares", "root": str(tmp_path / "data")}
    return {"dataset": OmegaConf.create(dataset), "reasoning": config.reasoning, "reward": config.reward}


@pytest.fixture
def model(checkpoint: Path) -> DictConfig:
    """The `model` node of the random checkpoint."""
    node = compose("train", [f"model.path={checkpoint}", "model.completion_tokens=12", "model.prompt_tokens=600"]).model
    found = OmegaConf.create(OmegaConf.to_container(node, resolve=True))
    assert isinstance(found, DictConfig)
    return found


def test_a_model_node_becomes_what_the_model_loads(model: DictConfig) -> None:
    config = model_config(model, path="elsewhere")
    assert (config.path, config.dtype, config.freeze.vision, config.lora) == ("elsewhere", "float32", True, None)
    assert config.frames(112, 112).image_size == (112, 112)


def test_before_and_after_are_written_and_shown(nodes: dict, model: DictConfig, tmp_path: Path) -> None:
    plan = Plan.of(nodes, score="direct", resamples=50, calibrate=True)
    text = compare(plan, after=model, before=model, folder=tmp_path / "eval")
    found = json.loads((tmp_path / "eval" / "squares" / "metrics.json").read_text())
    before = json.loads((tmp_path / "eval" / "before" / "squares" / "metrics.json").read_text())
    assert found["overall"] == before["overall"]
    assert (found["dataset"], found["split"], found["score"], found["synthetic"]) == (
        "squares",
        "test",
        "direct",
        False,
    )
    assert set(found["baselines"]) == {
        *("always_normal", "always_anomalous", "trivial_detector", "score at val threshold"),
    }
    assert found["baselines"]["trivial_detector"]["auroc"]["value"] == 1.0
    assert found["baselines"]["trivial_detector"]["box_iou"]["value"] is None
    assert found["overall"]["box_iou"]["value"] == 0.0
    assert found["overall"]["region_recall_0.1"]["value"] == 0.0  # the true masks were read
    assert "| metric " in text
    assert all(f"| {name} " in text for name in ("before", "after", "change", *found["baselines"]))
    predictions = prediction.read(tmp_path / "eval" / "squares" / "predictions.jsonl")
    assert [one.id for one in predictions] == [f"sample {200 + number}" for number in range(6)]
    assert set(predictions[0].rewards) == {"classification", "localization", "format", "total"}


def test_a_finished_evaluation_is_not_made_again(
    nodes: dict, model: DictConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = compare(Plan.of(nodes, resamples=20), after=model, before=None, folder=tmp_path)

    def never(*_: object, **__: object) -> Any:
        raise AssertionError("the model was loaded, or a baseline computed")

    monkeypatch.setattr(comparison.VLM, "load", never)
    monkeypatch.setattr(baselines, "largest_laplacian", never)
    assert compare(Plan.of(nodes, resamples=20), after=model, before=None, folder=tmp_path) == first
    with pytest.raises(AssertionError, match="baseline computed"):  # other intervals need it again
        compare(Plan.of(nodes, resamples=0), after=model, before=None, folder=tmp_path)
    for changed in (Plan.of(nodes, score="direct"), Plan.of(nodes, count=4), Plan.of(nodes, split="val")):
        with pytest.raises(AssertionError, match="was loaded"):
            compare(changed, after=model, before=None, folder=tmp_path)
    nodes["dataset"].count = 8
    with pytest.raises(AssertionError, match="was loaded"):
        compare(Plan.of(nodes), after=model, before=None, folder=tmp_path)


def test_whatever_decides_a_prediction_is_in_its_key(nodes: dict, model: DictConfig) -> None:
    masks = {"masks": OmegaConf.create({"_target_": "adfm.masks.segmenter.BoxMasks"})}
    plans = [
        Plan.of(nodes),
        Plan.of(nodes, score="direct"),
        Plan.of(nodes, draws=4),
        Plan.of(nodes, draws=5),
        Plan.of(nodes, draws=4, seed=1),
        Plan.of(nodes, draws=4, temperature=0.5),
        Plan.of(nodes | masks),
        Plan.of(nodes, answering="logits"),
    ]
    assert len({key_of(plan, model) for plan in plans}) == len(plans)
    unread = Plan.of(nodes, seed=1, temperature=0.5, batch=3, resamples=0)  # nothing is drawn by a greedy one
    assert key_of(unread, model) == key_of(plans[0], model)
    nodes["dataset"].count = 8
    assert key_of(Plan.of(nodes), model) != key_of(plans[0], model)


@pytest.fixture
def loaded(vlm: VLM, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model is there without loading or checking it, and nothing is compared with it."""
    monkeypatch.setattr(comparison.VLM, "load", lambda *_, **__: vlm)
    monkeypatch.setattr(comparison.selfcheck, "check_fast_path", lambda *_, **__: None)
    monkeypatch.setattr(measured, "baseline_predictions", lambda *_: ({}, []))


@pytest.mark.usefixtures("loaded")
def test_draws_of_another_seed_are_never_taken_for_these(
    nodes: dict, model: DictConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def draws(seed: int, folder: Path) -> list[Any]:
        compare(Plan.of(nodes, draws=2, seed=seed, resamples=0), after=model, before=None, folder=folder)
        return [one.draws for one in prediction.read(folder / "squares" / "predictions.jsonl")]

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    alone = draws(1, tmp_path / "alone")
    assert draws(0, tmp_path / "both") != alone
    with monkeypatch.context() as patch:
        patch.setattr(measured.Measured, "publish", stop)
        with pytest.raises(KeyboardInterrupt):
            draws(2, tmp_path / "both")
    assert draws(1, tmp_path / "both") == alone
    assert not list((tmp_path / "both" / "squares").glob("*.partial"))


@pytest.mark.usefixtures("loaded")
@pytest.mark.parametrize("stopped", ["Measured.publish", "drop_partial", "prediction.write"])
def test_an_evaluation_that_is_stopped_near_its_end_only_ends(
    nodes: dict, model: DictConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stopped: str
) -> None:
    """Nothing is inspected again, the threshold's samples neither, and the files are the same."""

    def run(folder: Path) -> dict[str, bytes]:
        plan = Plan.of(nodes, score="direct", resamples=0, calibrate=True)
        compare(plan, after=model, before=None, folder=folder)
        return {path.name: path.read_bytes() for path in (folder / "squares").iterdir()}

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("adfm.evaluation.runner.time.perf_counter", lambda: 0.0)
    whole = run(tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(f"adfm.evaluation.comparison.{stopped}", stop)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "stopped")
    monkeypatch.setattr("adfm.evaluation.runner.inspect", stop)
    assert run(tmp_path / "stopped") == whole
    assert {"metrics.json", "predictions.jsonl", "threshold.jsonl"} <= set(whole)
    assert not [name for name in whole if name.endswith(".partial")]


def test_what_cannot_be_evaluated_is_refused_before_anything_is_built(nodes: dict) -> None:
    masks = {"masks": OmegaConf.create({"_target_": "adfm.masks.segmenter.BoxMasks"})}
    with pytest.raises(ConfigError, match="use draws=1"):
        Plan.of(nodes, draws=2, answering="logits")
    with pytest.raises(ConfigError, match="use masks=none"):
        Plan.of(nodes | masks, answering="logits")
    nodes["reasoning"] = compose("train", ["reasoning=single_stage"]).reasoning
    with pytest.raises(ConfigError, match="masks=box needs boxes, which reasoning=single_stage"):
        Plan.of(nodes | masks)


def test_another_part_has_a_folder_of_its_own(nodes: dict, model: DictConfig, tmp_path: Path) -> None:
    plan = Plan.of(nodes, split="val", count=3, resamples=0)
    compare(plan, after=model, before=None, folder=tmp_path)
    assert len(prediction.read(tmp_path / "squares-val" / "predictions.jsonl")) == 3


def test_without_both_classes_in_val_the_trivial_detector_is_missed(
    nodes: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan.of(nodes)
    monkeypatch.setattr(Plan, "choosing_samples", lambda plan: plan.samples()[:2])
    rows, notes = baseline_predictions(plan.baselines, plan.samples(), plan.choosing_samples(), plan.normal_samples())
    assert set(rows) == {"always_normal", "always_anomalous"}
    assert "both classes" in notes[0]


def test_normals_are_not_of_the_evaluated_part(nodes: dict) -> None:
    for split, other in (("test", "train"), ("val", "train"), ("train", "val")):
        plan = Plan.of(nodes, split=split)
        assert [one.image.parent.name for one in plan.normal_samples()] == [other] * 3
        assert not any(one.anomalous for one in plan.normal_samples())


def test_true_masks_are_read_once(nodes: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    (sample,) = Plan.of(nodes).samples()[-1:]
    about = prediction.labels(sample)
    read, opened = MaskFiles.read, []
    monkeypatch.setattr(MaskFiles, "read", lambda *given: opened.append(given) or read(*given))
    truth = truth_of([sample])
    said = prediction.Prediction(**about, predicted=True, score=0.0)
    pixels = [truth(said), truth(said)]
    assert all(one is not None and np.array_equal(one, read(sample.mask, sample.size)) for one in pixels)
    assert len(opened) == 1


def test_a_part_without_samples_is_refused(nodes: dict, model: DictConfig, tmp_path: Path) -> None:
    nodes["dataset"].count = 0
    with pytest.raises(DataError, match="squares has no sample in its test part; choose another with split="):
        compare(Plan.of(nodes), after=model, before=None, folder=tmp_path)


def test_the_word_synthetic(nodes: dict, model: DictConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Squares, "name", "synthetic")
    nodes["dataset"].name = "synthetic"
    text = compare(Plan.of(nodes, count=2, resamples=0), after=model, before=model, folder=tmp_path)
    assert text.startswith("synthetic, test part: 2 images")
    assert json.loads((tmp_path / "synthetic" / "metrics.json").read_text())["synthetic"] is True
