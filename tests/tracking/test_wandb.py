import inspect
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wandb
from fake_run import FakeRun, make_group, read_verdict
from PIL import Image

from adfm.data.masks import MaskFiles
from adfm.errors import ConfigError
from adfm.tracking.alarms import Alarms
from adfm.tracking.wandb import Alert, WandB, table
from adfm.tracking.watch import Event
from adfm.types import Sample, StepRecord


@pytest.fixture(autouse=True)
def no_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that has never seen W&B."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)


def test_offline_needs_no_account_and_stays_in_the_run_folder(run_folder: Path, sample: Sample) -> None:
    logger = WandB()
    logger.before_run(FakeRun(run_folder, study="sizes"))
    group = make_group(sample, [read_verdict(sample, random.Random(seed), 1.0) for seed in range(2)])
    logger.after_step(StepRecord(step=0, groups=(), metrics={"val/box_iou": 0.25}))
    logger.after_step(StepRecord(step=1, groups=[group], metrics={"reward/total_mean": 1.5}))
    logger.after_run()
    (folder,) = (run_folder / "wandb").glob("offline-run-*-0a1b2c3d")
    assert (folder / "run-0a1b2c3d.wandb").stat().st_size > 0
    (made,) = folder.glob("files/media/table/completions/*.json")
    content = json.loads(made.read_text())
    assert content["columns"] == [
        *("step", "prompt", "image", "label", "verdict", "classification", "format", "localization"),
        *("total", "completion", "truncated", "reasons"),
    ]
    assert [row[8] for row in content["data"]] == [1.6, 1.6]


def test_every_table_has_a_key_of_its_own_and_the_summary_has_best_and_last(run_folder: Path, sample: Sample) -> None:
    logger = WandB(table_every=10)
    logger.before_run(FakeRun(run_folder))
    group = make_group(sample, [read_verdict(sample, random.Random(0), 1.0)])
    for step, miss, auroc, reward in ((1, 0.3, 0.5, 1.0), (10, 0.1, 0.9, 1.5), (20, 0.2, 0.7, 1.25), (21, 0.0, 0.0, 0)):
        metrics = {"val/miss": miss, "val/auroc": auroc, "reward/total_mean": reward}
        logger.after_step(StepRecord(step=step, groups=[group], metrics=metrics))
    assert wandb.run is not None
    summary = wandb.run.summary  # of the steps that are over: the last one may still grow
    assert [name for name in sorted(summary.keys()) if name.startswith("completions")] == [
        *("completions/step_000001", "completions/step_000010", "completions/step_000020"),
    ]
    assert dict(summary["val/miss"]) == {"min": 0.1, "last": 0.2}
    assert dict(summary["val/auroc"]) == {"max": 0.9, "last": 0.7}
    assert dict(summary["reward/total_mean"]) == {"max": 1.5, "last": 1.25}
    logger.after_run()
    (folder,) = (run_folder / "wandb").glob("offline-run-*")
    kept = [path.name[:11] for path in (folder / "files/media/table/completions").iterdir()]
    assert sorted(kept) == ["step_000001", "step_000010", "step_000020"]


def test_alarms_become_alerts_of_the_run(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[dict[str, Any]] = []
    signature = inspect.signature(wandb.Run.alert)
    monkeypatch.setattr(
        wandb.Run, "alert", lambda *given, **named: sent.append(signature.bind(*given, **named).arguments)
    )
    logger, alarms = WandB(), Alarms(steps=2, listeners={"wandb": Alert()})
    run = FakeRun(run_folder)
    for callback in (alarms, logger):
        callback.before_run(run)
    for step in (1, 2, 3):
        for callback in (alarms, logger):
            callback.after_step(StepRecord(step=step, groups=(), metrics={"groups/without_spread": 1.0}))
    logger.after_run()
    (alert,) = sent
    assert (alert["title"], alert["level"]) == ("no_spread ringing", "WARN")
    assert alert["text"].startswith(
        "ALARM no_spread at step 2: 100% of the groups are without spread, since step 1. Try: "
    )


def test_an_alert_needs_no_run() -> None:
    assert wandb.run is None
    Alert()(Event(step=1, alarm="no_spread", state="ringing", since=1, seen="", advice=""))


def test_images_carry_true_and_predicted_boxes_in_original_pixels(sample: Sample) -> None:
    group = make_group(sample, [read_verdict(sample, random.Random(0), 1.0)])
    row = table(1, [group]).data[0]
    boxes = row[2]._boxes
    (true,) = boxes["true"]._val
    x0, y0, x1, y1 = sample.boxes[0]
    assert true["position"] == {"minX": x0, "minY": y0, "maxX": x1, "maxY": y1}
    assert true["domain"] == "pixel"
    assert len(boxes["predicted"]._val) == 1
    assert row[2]._masks is None


def test_images_carry_the_true_mask(sample: Sample, tmp_path: Path) -> None:
    pixels = np.zeros((sample.height, sample.width), np.uint8)
    pixels[3:9, 5:15] = 255
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    masked = replace(sample, mask=MaskFiles((tmp_path / "mask.png",)), defect_type="crack")
    image = table(1, [make_group(masked, [read_verdict(masked, random.Random(0), 1.0)])]).data[0][2]
    mask = image._masks["true"]
    assert mask._val["class_labels"] == {1: "crack"}
    with Image.open(mask._path) as drawn:
        assert np.array_equal(np.asarray(drawn), pixels // 255)


def test_no_connection_is_said_with_the_way_out(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise wandb.errors.CommError("no route to host")

    monkeypatch.setattr(wandb, "init", refuse)
    with pytest.raises(ConfigError, match=r"no route to host.*logger\.wandb\.mode=offline"):
        WandB(mode="online").before_run(FakeRun(run_folder))


def test_other_ranks_do_not_log(run_folder: Path) -> None:
    logger = WandB()
    logger.before_run(FakeRun(run_folder, is_main=False))
    logger.after_step(StepRecord(step=1, groups=(), metrics={}))
    logger.after_run()
    assert not (run_folder / "wandb").exists()
