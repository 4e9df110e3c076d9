"""Identity, lock, resume and what happens to an old folder."""

from __future__ import annotations

import os
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import pytest
from omegaconf import DictConfig

from adfm.config.compose import build, compose
from adfm.config.run_folder import RunFolder, checkpoint_hash, identity, newest, prepare
from adfm.errors import ConfigError
from adfm.types import Sample

CONFIG = {
    "name": "adfm",
    "runs": "runs",
    "fresh": False,
    "study": None,
    "seed": 0,
    "steps": 40,
    "prompts_per_step": 8,
    "logger": {"jsonl": {"_target_": "adfm.tracking.jsonl.JsonLines"}},
    "callbacks": {},
    "engine": {"nproc": 1},
    "checkpoint": {"every": 20},
    "evaluate": {"every": 20, "metric": "f1", "test_samples": 8, "at_end": True},
    "model": {"path": "tiny", "dtype": "float32", "token_budget": 4096, "offload": False, "lora": None},
    "dataset": {"_target_": "adfm.data.synthetic.Synthetic", "root": None, "seed": 0},
    "reward": {"terms": {"format": {"weight": 1.0}}},
    "optimizer": {"algorithm": {"lr": 1e-5}},
}


def changed(path: str, value: object) -> dict:
    config = deepcopy(CONFIG)
    *parents, last = path.split(".")
    node = config
    for parent in parents:
        node = node[parent]
    node[last] = value
    return config


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("name", "other"),
        ("runs", "elsewhere"),
        ("fresh", True),
        ("study", "first_light"),
        ("steps", 400),
        ("logger", {}),
        ("callbacks", {"mine": {"_target_": "my.Callback"}}),
        ("engine.nproc", 8),
        ("checkpoint.every", 5),
        ("evaluate.test_samples", None),
        ("evaluate.at_end", False),
        ("model.path", "a/copy/of/tiny"),
        ("model.token_budget", 8192),
        ("model.offload", True),
        ("dataset.root", "moved/here"),
        ("reward.terms.format.weight", 1),
    ],
)
def test_identity_ignores_what_does_not_change_the_result(path: str, value: object) -> None:
    assert identity(changed(path, value), "c", "d") == identity(CONFIG, "c", "d")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("seed", 1),
        ("prompts_per_step", 16),
        ("evaluate.metric", "auroc"),
        ("model.dtype", "bfloat16"),
        ("model.lora", {"rank": 8}),
        ("dataset.seed", 1),
        ("reward.terms.format.weight", 0.5),
        ("optimizer.algorithm.lr", 2e-5),
    ],
)
def test_identity_changes_with_what_changes_the_result(path: str, value: object) -> None:
    assert identity(changed(path, value), "c", "d") != identity(CONFIG, "c", "d")


@pytest.mark.parametrize("path", ["sampling", "optimizer.average"])
def test_identity_is_that_of_runs_from_before_there_was_the_choice(path: str) -> None:
    assert identity(changed(path, None), "c", "d") == identity(CONFIG, "c", "d")
    assert identity(changed(path, {"power": 3.0}), "c", "d") != identity(CONFIG, "c", "d")


def test_identity_holds_checkpoint_and_data() -> None:
    ids = {identity(CONFIG, "c", "d"), identity(CONFIG, "other", "d"), identity(CONFIG, "c", "other")}
    assert len(ids) == 3
    assert all(len(id_) == 8 and int(id_, 16) >= 0 for id_ in ids)


def test_identity_does_not_depend_on_the_order_of_keys() -> None:
    assert identity(dict(reversed(CONFIG.items())), "c", "d") == identity(CONFIG, "c", "d")


def test_checkpoint_hash_follows_bytes_not_place(tmp_path: Path) -> None:
    for name, content in {"one": b"weights", "two": b"weights", "three": b"Weights"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(content)
    one, two, three = (checkpoint_hash(str(tmp_path / name), None) for name in ("one", "two", "three"))
    assert one == two != three


def test_checkpoint_hash_of_the_hub_is_id_and_revision() -> None:
    assert checkpoint_hash("Qwen/Qwen2.5-VL-3B-Instruct", "abc") == "Qwen/Qwen2.5-VL-3B-Instruct@abc"


@pytest.mark.parametrize("path", ["no_such_folder", "./no/folder", "a/b/c", "/absent/folder"])
def test_checkpoint_hash_refuses_what_is_neither(path: str) -> None:
    with pytest.raises(ConfigError, match=r"model\.path: .* is neither a folder nor a hub id; use model\.path="):
        checkpoint_hash(path, None)


def test_a_second_process_is_refused_and_named(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    message = rf"is in use by process {os.getpid()} on .*; wait until it ends"
    with folder.locked(), pytest.raises(ConfigError, match=message), folder.locked():
        pass
    with folder.locked():
        assert str(os.getpid()) in (tmp_path / "lock").read_text()


def test_the_lock_of_a_dead_process_is_taken_over(tmp_path: Path) -> None:
    code = f"""
import os
from pathlib import Path
from adfm.config.run_folder import RunFolder
with RunFolder(Path({str(tmp_path)!r})).locked():
    os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    assert (tmp_path / "lock").read_text().startswith("process ")
    with RunFolder(tmp_path).locked():
        pass


def test_completion_is_counted_in_steps(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.completed_steps == 0
    folder.complete(40)
    assert folder.completed_steps == 40


def test_newest_skips_what_was_moved_aside(tmp_path: Path) -> None:
    for age, name in enumerate(["adfm-11111111", "adfm-22222222", "adfm-22222222.old-1"]):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text("{}")
        os.utime(tmp_path / name / "config.yaml", (age, age))
    assert newest(tmp_path).path.name == "adfm-22222222"


def test_newest_says_how_to_make_a_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no run in .*; make one with python -m adfm\.train"):
        newest(tmp_path)


def test_a_folder_without_config_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is not a run folder: it has no config\.yaml"):
        _ = RunFolder(tmp_path).config


class Stored:
    """The least that a data set must be to have a run: a fingerprint."""

    name = "stored"

    def __init__(self, root: str) -> None:
        self.root = root

    def split(self, name: str) -> list[Sample]:
        return []

    def fingerprint(self) -> str:
        return "data"


@pytest.fixture
def config(tmp_path: Path) -> DictConfig:
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "model.safetensors").write_bytes(b"weights")
    config = compose("train", [f"runs={tmp_path}/runs", f"model.path={tmp_path}/checkpoint"])
    config.dataset = {"_target_": f"{__name__}.Stored", "root": "anywhere"}
    return config


def test_the_same_command_finds_its_folder_again(config: DictConfig) -> None:
    first = prepare(config, build(config.dataset))
    config.dataset.root = "moved"
    config.steps = 7
    second = prepare(config, build(config.dataset))
    assert first == second
    assert second.path.name.startswith("adfm-")
    assert second.config.steps == 7
    assert "${" not in (second.path / "config.yaml").read_text()


def test_fresh_moves_the_old_folder_aside(config: DictConfig) -> None:
    folder = prepare(config, build(config.dataset))
    folder.complete(40)
    config.fresh = True
    for expected in (1, 2):
        assert prepare(config, build(config.dataset)).completed_steps == 0
        assert sorted(path.name for path in folder.path.parent.iterdir())[-1] == f"{folder.path.name}.old-{expected}"


def test_a_running_folder_is_neither_rewritten_nor_moved(config: DictConfig) -> None:
    folder = prepare(config, build(config.dataset))
    for config.fresh in (False, True):
        with folder.locked(), pytest.raises(ConfigError, match="is in use by process"):
            prepare(config, build(config.dataset))
    assert [path.name for path in folder.path.parent.iterdir()] == [folder.path.name]
