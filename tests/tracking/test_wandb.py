import json
import random
from pathlib import Path

import pytest
import wandb
from fake_run import FakeRun, make_group, read_verdict

from adfm.errors import ConfigError
from adfm.tracking.wandb import WandB, table
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
    (made,) = folder.glob("files/media/table/*.json")
    content = json.loads(made.read_text())
    assert content["columns"] == [
        *("step", "prompt", "image", "label", "verdict", "classification", "format", "localization"),
        *("total", "completion", "truncated", "reasons"),
    ]
    assert [row[8] for row in content["data"]] == [1.6, 1.6]


def test_images_carry_true_and_predicted_boxes_in_original_pixels(sample: Sample) -> None:
    group = make_group(sample, [read_verdict(sample, random.Random(0), 1.0)])
    row = table(1, [group]).data[0]
    boxes = row[2]._boxes
    (true,) = boxes["true"]._val
    x0, y0, x1, y1 = sample.boxes[0]
    assert true["position"] == {"minX": x0, "minY": y0, "maxX": x1, "maxY": y1}
    assert true["domain"] == "pixel"
    assert len(boxes["predicted"]._val) == 1


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
