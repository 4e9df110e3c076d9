"""Random checkpoints of both families and prompts over random images."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_checkpoints
from PIL import Image

from adfm.models.vlm import VLM
from adfm.reasoning.frames import AbsoluteFrames, RelativeFrames
from adfm.types import Prompt, Sample

LIMITS = {"min_pixels": 56 * 56, "max_pixels": 128 * 128}
FAMILIES = {
    "qwen2_5": (tiny_checkpoints.write_qwen2_5_vl, AbsoluteFrames(**LIMITS)),
    "qwen3": (tiny_checkpoints.write_qwen3_vl, RelativeFrames(**LIMITS)),
}


@pytest.fixture(scope="session", params=list(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="session")
def folder(family: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return FAMILIES[family][0](tmp_path_factory.mktemp(family) / "checkpoint")


@pytest.fixture(scope="session")
def make_config(family: str, folder: Path) -> Callable[..., SimpleNamespace]:
    def make(**changes: object) -> SimpleNamespace:
        fields: dict[str, object] = {
            "path": str(folder),
            "revision": None,
            "dtype": "float32",
            "frames": FAMILIES[family][1],
            **LIMITS,
            "freeze": SimpleNamespace(vision=True, merger=True, language=False),
            "lora": None,
            "gradient_checkpointing": False,
            "feature_cache_mb": 16,
            "feature_cache_disk": False,
            "feature_cache_disk_gb": 1.0,
            "prompt_tokens": 512,
        }
        return SimpleNamespace(**(fields | changes))

    return make


@pytest.fixture(scope="session")
def lora() -> SimpleNamespace:
    return SimpleNamespace(rank=4, alpha=8, dropout=0.0, targets=["q_proj", "v_proj", "down_proj"])


@pytest.fixture
def load(make_config: Callable[..., SimpleNamespace]) -> Callable[..., VLM]:
    def make(*, train: bool = True, **changes: object) -> VLM:
        return VLM.load(make_config(**changes), train=train)

    return make


@pytest.fixture(scope="session")
def make_image(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    images = tmp_path_factory.mktemp("images")

    def make(name: str, width: int, height: int) -> Path:
        pixels = np.random.default_rng(zlib.crc32(name.encode())).integers(0, 255, (height, width, 3), dtype=np.uint8)
        path = images / f"{name}.png"
        Image.fromarray(pixels).save(path)
        return path

    return make


@pytest.fixture
def make_prompt(make_image: Callable[..., Path], family: str) -> Callable[..., Prompt]:
    frames = FAMILIES[family][1]

    def make(name: str, *sizes: tuple[int, int], text: str = "Is there a defect?") -> Prompt:
        paths = [make_image(f"{name}{index}", *size) for index, size in enumerate(sizes)]
        width, height = sizes[-1]
        sample = Sample(id=name, image=paths[-1], stated_size=(width, height), category="tile", anomalous=False)
        content = [*({"type": "image"} for _ in paths), {"type": "text", "text": text}]
        return Prompt(
            id=name,
            sample=sample,
            messages=({"role": "user", "content": content},),
            images=tuple(paths),
            frame=frames(width, height),
            choices={"a": True, "b": False},
            key="b",
        )

    return make
