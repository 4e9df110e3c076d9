from __future__ import annotations

from pathlib import Path

import grpo_support
import pytest
import tiny_checkpoints
from evaluation_support import images

from adfm.models.vlm import VLM
from adfm.types import Sample


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Qwen2.5-VL."""
    return tiny_checkpoints.write_qwen2_5_vl(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="session")
def vlm(checkpoint: Path) -> VLM:
    return VLM.load(grpo_support.model_config(checkpoint, completion_tokens=24), train=False)


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """Three normal and three anomalous images."""
    return images(tmp_path_factory.mktemp("images"), 6)
