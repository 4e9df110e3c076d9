"""Commands as users type them, each in its own process."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from adfm.config.compose import build, compose, conf_folder
from adfm.config.run_folder import prepare

pytestmark = pytest.mark.slow

MINE = """
class Length:
    def __init__(self, per_character: float) -> None:
        self.per_character = per_character

    def __call__(self, verdict, prompt) -> float:
        return self.per_character * len(verdict.text)
"""
MINE_CONFIG = """
# A reward from outside the repository.
_target_: adfm.rewards.composite.Composite
terms:
  length: {weight: 1.0, term: {_target_: mine.Length, per_character: 0.01}}
"""
NOWHERE = "model.path=no/such/folder"
"""Stops a run after its config was checked and before anything is made."""


def python(*arguments: str, cwd: Path, path: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(path)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


def test_a_wrong_command_leaves_one_line_and_no_file(tmp_path: Path, repository: Path) -> None:
    result = python("-m", "adfm.train", "setps=3", cwd=tmp_path, path=repository)
    assert (result.returncode, result.stdout, result.stderr) == (
        2,
        "",
        "setps: there is no such key; did you mean 'steps'?\n",
    )
    assert list(tmp_path.iterdir()) == []


def test_a_reward_from_the_folder_of_the_user(tmp_path: Path, repository: Path) -> None:
    (tmp_path / "my_conf" / "reward").mkdir(parents=True)
    (tmp_path / "my_conf" / "reward" / "mine.yaml").write_text(MINE_CONFIG)
    (tmp_path / "mine.py").write_text(MINE)
    command = ("-m", "adfm.train", "-cd", "./my_conf", "reward=mine", NOWHERE)

    right = python(*command, cwd=tmp_path, path=repository)
    assert right.stderr == (
        "model.path: no/such/folder is neither a folder nor a hub id; "
        "use model.path=<folder> or model.path=<owner>/<name>\n"
    )
    wrong = python(*command, "+reward.terms.length.term.per_characters=1", cwd=tmp_path, path=repository)
    assert wrong.stderr == (
        "reward.terms.length.term.per_characters: mine.Length takes no such argument; did you mean 'per_character'?\n"
    )
    assert (right.returncode, wrong.returncode) == (2, 2)


def test_a_term_that_is_not_served_is_refused_inside_a_command(tmp_path: Path, repository: Path) -> None:
    result = python("-m", "adfm.train", "reasoning=single_stage", "~reward.terms.format", cwd=tmp_path, path=repository)
    assert result.returncode == 2
    assert result.stderr.endswith("use reasoning=single_stage_boxes or three_stage, or ~reward.terms.localization\n")


@pytest.fixture
def overrides(tmp_path: Path) -> list[str]:
    """A run that is complete, on 4 images."""
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "model.safetensors").write_bytes(b"weights")
    sizes = [f"dataset.{part}=4" for part in ("train", "val", "test")]
    overrides = ["model.path=checkpoint", f"dataset.root={tmp_path}/images", "runs=runs", "seed=3", *sizes]
    config = compose("train", [*overrides, f"model.path={tmp_path}/checkpoint", f"runs={tmp_path}/runs"])
    folder = prepare(config, build(config.dataset))
    folder.summary_path.write_text('{"reward": 0.75}')
    folder.complete(10_000)
    return overrides


def test_a_complete_run_says_how_to_go_on(tmp_path: Path, repository: Path, overrides: list[str]) -> None:
    result = python("-m", "adfm.train", *overrides, cwd=tmp_path, path=repository)
    (folder,) = (tmp_path / "runs").iterdir()
    assert result.stdout == (
        f"runs/{folder.name} is complete (10000 steps). Extend it with steps=N (N > 10000), or redo it with "
        "fresh=true.\n"
        f"Report: runs/{folder.name}/report.html\n"
    )


def test_a_sweep_finds_the_runs_that_are_there(tmp_path: Path, repository: Path, overrides: list[str]) -> None:
    result = python("-m", "adfm.train", "-m", *overrides, "study=one,two", cwd=tmp_path, path=repository)
    assert (result.returncode, result.stdout.count("is complete (10000 steps)")) == (0, 2), result.stderr
    assert {path.name for path in tmp_path.iterdir()} <= {"checkpoint", "images", "runs"}


def test_several_machines_are_told_their_command(tmp_path: Path, repository: Path, overrides: list[str]) -> None:
    arguments = [*overrides, "fresh=true", "engine.nnodes=2", "engine.nproc=4"]
    result = python("-m", "adfm.train", *arguments, cwd=tmp_path, path=repository)
    (folder,) = (path for path in (tmp_path / "runs").iterdir() if ".old-" not in path.name)
    assert result.stdout.splitlines()[1].strip() == (
        "python -m torch.distributed.run --nnodes=2 --rdzv-backend=c10d --rdzv-endpoint=HOST:29500 "
        f"--nproc-per-node=4 -m adfm runs/{folder.name}"
    )


def test_the_worker_wants_a_run_folder(tmp_path: Path, repository: Path) -> None:
    result = python("-m", "adfm", "elsewhere", cwd=tmp_path, path=repository)
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1] == "elsewhere: there is no such run folder"


def test_an_installed_wheel_runs_from_any_folder(tmp_path: Path, repository: Path) -> None:
    isolation = [] if find_spec("hatchling") is None else ["--no-build-isolation"]
    build = ["-m", "pip", "wheel", "--no-deps", *isolation, "--wheel-dir", str(tmp_path), str(repository)]
    subprocess.run([sys.executable, *build], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("adfm-*.whl")
    installed, elsewhere = tmp_path / "installed", tmp_path / "elsewhere"
    elsewhere.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)

    shipped = {str(file.relative_to(conf_folder())) for file in conf_folder().rglob("*.yaml")}
    assert {str(file.relative_to(installed / "adfm" / "conf")) for file in installed.rglob("conf/**/*.yaml")} == shipped
    assert (installed / "adfm" / "models" / "tiny" / "checkpoint" / "model.safetensors").is_file()
    assert not (installed / "tests").exists()

    for command in ("train", "evaluate", "predict", "calibrate", "rewards", "data", "report", "coldstart"):
        result = python("-m", f"adfm.{command}", "--help", cwd=elsewhere, path=installed)
        assert result.returncode == 0, result.stderr
        assert "Keys, as in KEY=VALUE" in result.stdout
    refused = python("-m", "adfm.train", NOWHERE, cwd=elsewhere, path=installed)
    assert refused.stderr.startswith("model.path: no/such/folder is neither")
    assert list(elsewhere.iterdir()) == []
