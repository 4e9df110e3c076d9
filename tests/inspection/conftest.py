from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import tiny_checkpoints
from omegaconf import OmegaConf
from PIL import Image

from adfm.config.compose import compose
from adfm.models.card import Card, write_card


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["ADFM_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Qwen2.5-VL with a card: at most 12 tokens, and three types."""
    folder = tiny_checkpoints.write_qwen2_5_vl(tmp_path_factory.mktemp("checkpoint"))
    changes = ["model.completion_tokens=12", "model.prompt_tokens=700", "reasoning.question=Anything odd?"]
    config = OmegaConf.to_container(compose("predict", changes), resolve=True)
    assert isinstance(config, dict)
    write_card(folder, Card.of(config["model"], config["reasoning"], ("crack", "dent")))
    return folder


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """Seven images of 112 x 84 pixels in three folders, and one that is broken."""
    rng = np.random.default_rng(0)
    for number in range(7):
        grey = rng.integers(90, 110, size=(84, 112), dtype=np.uint8)
        grey[20:40, 30 : 30 + 5 * number] = 250
        file = tmp_path / "parts" / ("", "line 1", "größe")[number % 3] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(grey).save(file)
    whole = (tmp_path / "parts" / "0.png").read_bytes()
    (tmp_path / "parts" / "2 broken.png").write_bytes(whole[: len(whole) // 2])
    return tmp_path / "parts"
