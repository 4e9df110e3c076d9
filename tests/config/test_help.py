"""`--help` of every command: what it does, its groups with all options, its keys; and it is there before torch is."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from adfm.config.command_help import keys
from adfm.config.command_schemas import COMMANDS
from adfm.config.compose import conf_folder, options

MODULES = {"mmad_score": "adfm.evaluation.mmad"}
WITHOUT_TORCH = """
import runpy, sys
try:
    runpy.run_module({module!r}, run_name="__main__", alter_sys=True)
finally:
    assert "torch" not in sys.modules, "torch was imported"
"""


def module_of(command: str) -> str:
    return MODULES.get(command, f"adfm.{command}")


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> dict[str, str]:
    """What each command prints."""
    found = {}
    for command in COMMANDS:
        code = WITHOUT_TORCH.format(module=module_of(command))
        done = subprocess.run(
            [sys.executable, "-c", code, "--help"],
            cwd=tmp_path_factory.mktemp("cwd"),
            env={"PYTHONPATH": str(repository), "PATH": ""},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        found[command] = done.stdout
    return found


def rows(text: str, title: str) -> dict[str, str]:
    """Take a section of the help apart: what stands on the left, and the text beside it."""
    section = text.split(f"\n{title}")[1].split("\n\n")[0].splitlines()[1:]
    found: dict[str, str] = {}
    for line in section:
        if line.startswith("   "):
            found[next(reversed(found))] += f" {line.strip()}"
        else:
            name, _, beside = line.strip().partition("  ")
            found[name] = beside.strip()
    return {name: beside.strip() for name, beside in found.items()}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_says_what_it_does_and_how_it_is_called(command: str, printed: dict[str, str]) -> None:
    first = (conf_folder() / f"{command}.yaml").read_text().splitlines()[0].removeprefix("# ")
    assert " ".join(printed[command].split("\n\n")[0].split()).startswith(" ".join(first.split()))
    assert f"python -m {module_of(command)} " in printed[command]
    assert str(conf_folder() / f"{command}.yaml") in printed[command]
    assert "$" not in printed[command].replace("${", "")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_group_of_a_command_has_all_its_options(command: str, printed: dict[str, str]) -> None:
    entries = OmegaConf.to_container(OmegaConf.load(conf_folder() / f"{command}.yaml"))["defaults"]
    taken = {group: option for entry in entries if isinstance(entry, dict) for group, option in entry.items()}
    folders = {path.parent.relative_to(conf_folder()).as_posix() for path in conf_folder().rglob("*.yaml")}
    expected = {folder for folder in folders if folder.partition("/")[0] in taken}
    shown = rows(printed[command], "Groups") if expected else {}
    assert set(shown) == expected
    for group, beside in shown.items():
        names = [f"{name}*" if name == taken.get(group) else name for name in options(group)]
        assert beside.split(", ") == names


@pytest.mark.parametrize("command", COMMANDS)
def test_every_key_of_a_command_has_a_line(command: str, printed: dict[str, str]) -> None:
    shown = {re.split("[= ]", name)[0] for name in rows(printed[command], "Keys")}
    groups = set(rows(printed[command], "Groups")) if "\nGroups" in printed[command] else set()
    assert shown == {name for name, _, _ in keys(COMMANDS[command], groups)}
    plain = {name for name in COMMANDS[command].__dataclass_fields__ if name not in groups}
    assert plain <= {name.partition(".")[0] for name in shown}


def test_keys_show_defaults_and_what_the_schema_says() -> None:
    found = {name: (value, meaning) for name, value, meaning in keys(COMMANDS["train"], {"model", "engine"})}
    assert found["evaluate.every"] == ("50", "Steps between two looks at the validation part.")
    assert found["fresh"][0] == "false"
    assert found["train_samples"] == ("NUMBER", "Use only this many samples of the train part; null takes all.")
    assert "model" not in found
    report = {name: value for name, value, _ in keys(COMMANDS["report"], set())}
    assert report["metrics"].startswith("[balanced_accuracy,auroc,")


def test_options_of_ones_own_are_named(tmp_path: Path, repository: Path) -> None:
    (tmp_path / "mine" / "dataset").mkdir(parents=True)
    (tmp_path / "mine" / "dataset" / "bolts.yaml").write_text("# Bolts.\ndefaults: [folder]\n")
    done = subprocess.run(
        [sys.executable, "-m", "adfm.data", "--help", "-cd", "mine"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(repository), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "bolts" in rows(done.stdout, "Groups")["dataset"].split(", "), done.stderr
