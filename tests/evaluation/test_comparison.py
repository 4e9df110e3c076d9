from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from evaluation_support import Squares
from omegaconf import DictConfig, OmegaConf

from adfm.config.compose import compose
from adfm.evaluation import comparison, prediction
from adfm.evaluation.comparison import Plan, compare, model_config
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
    assert set(found["baselines"]) == {"always_normal", "trivial_detector", "score at val threshold"}
    assert found["baselines"]["trivial_detector"]["auroc"]["value"] == 1.0
    assert found["baselines"]["trivial_detector"]["box_iou"]["value"] is None
    assert found["overall"]["box_iou"]["value"] == 0.0
    assert "| metric " in text
    assert all(f"| {name} " in text for name in ("before", "after", "change", *found["baselines"]))
    predictions = prediction.read(tmp_path / "eval" / "squares" / "predictions.jsonl")
    assert [one.id for one in predictions] == [f"sample {200 + number}" for number in range(6)]
    assert set(predictions[0].rewards) == {"classification", "localization", "format", "total"}


def test_a_finished_evaluation_is_not_made_again(
    nodes: dict, model: DictConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = compare(Plan.of(nodes, resamples=20), after=model, before=None, folder=tmp_path)

    def never(*_: object, **__: object) -> VLM:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(comparison.VLM, "load", never)
    assert compare(Plan.of(nodes, resamples=20), after=model, before=None, folder=tmp_path) == first
    for changed in (Plan.of(nodes, score="direct"), Plan.of(nodes, count=4), Plan.of(nodes, split="val")):
        with pytest.raises(AssertionError, match="was loaded"):
            compare(changed, after=model, before=None, folder=tmp_path)
    nodes["dataset"].count = 8
    with pytest.raises(AssertionError, match="was loaded"):
        compare(Plan.of(nodes), after=model, before=None, folder=tmp_path)


def test_another_part_has_a_folder_of_its_own(nodes: dict, model: DictConfig, tmp_path: Path) -> None:
    plan = Plan.of(nodes, split="val", count=3, resamples=0)
    compare(plan, after=model, before=None, folder=tmp_path)
    assert len(prediction.read(tmp_path / "squares-val" / "predictions.jsonl")) == 3


def test_without_both_classes_in_val_the_trivial_detector_is_missed(
    nodes: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan.of(nodes)
    monkeypatch.setattr(Plan, "choosing_samples", lambda plan: plan.samples()[:2])
    rows, notes = comparison.baseline_predictions(plan)
    assert set(rows) == {"always_normal"}
    assert "both classes" in notes[0]


def test_the_word_synthetic(nodes: dict, model: DictConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Squares, "name", "synthetic")
    nodes["dataset"].name = "synthetic"
    text = compare(Plan.of(nodes, count=2, resamples=0), after=model, before=model, folder=tmp_path)
    assert text.startswith("synthetic, test part: 2 images")
    assert json.loads((tmp_path / "synthetic" / "metrics.json").read_text())["synthetic"] is True
