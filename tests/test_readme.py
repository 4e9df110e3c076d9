"""README's snippets, as written: every file block is saved under its name, and its commands run."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)
LONGEST = 15


def files(readme: str) -> dict[str, str]:
    """Every block that begins with its own file name as a comment."""
    found = {}
    for _, text in BLOCK.findall(readme):
        named = re.match(r"# (\S+\.(?:py|yaml))\n", text)
        if named:
            found[named.group(1)] = text
    return found


@pytest.fixture
def readme(repository: Path) -> str:
    return (repository / "README.md").read_text()


def test_each_extension_is_short(readme: str) -> None:
    found = files(readme)
    assert {"my_rewards.py", "my_data.py"} <= set(found)
    code = {path: [line for line in text.splitlines()[1:] if line] for path, text in found.items()}
    assert {path: len(lines) for path, lines in code.items() if len(lines) > LONGEST} == {}


@pytest.mark.slow
def test_the_extensions_run_as_written(readme: str, tmp_path: Path) -> None:
    for path, text in files(readme).items():
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    rng = np.random.default_rng(0)
    for part in ("train", "val", "test"):
        for label in ("good", "bad"):
            for index in range(4):
                file = tmp_path / "bolts" / part / label / f"{part}_{label}_{index}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(0, 255, (112, 112, 3), dtype=np.uint8)).save(file)
    (command,) = [line for line in readme.splitlines() if line.startswith("python -m adfm.train -cd my_conf")]
    arguments = shlex.split(command)[1:]
    done = subprocess.run([sys.executable, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    (metrics,) = tmp_path.glob("runs/*/metrics.jsonl")
    assert "reward/brief_mean" in metrics.read_text()


def test_every_named_option_and_command_exists(readme: str, repository: Path) -> None:
    groups = re.findall(r"^\| `(\w+)` \| (.*?) \|", readme, re.MULTILINE)
    for group, options in groups:
        shipped = {path.stem for path in (repository / "conf" / group).glob("*.yaml")}
        named = set(re.findall(r"`(\w+)`", options))
        assert named - {"_strict"} <= shipped, group
    for module in set(re.findall(r"python -m adfm\.([\w.]+)", readme)):
        path = repository / "adfm" / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module
