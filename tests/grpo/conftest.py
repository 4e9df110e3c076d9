"""Random checkpoints of both families, loaded, and prompts over random images."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from grpo_support import FAMILIES, model_config
from PIL import Image

from adfm.models.vlm import VLM
from adfm.types import Prompt, Sample


@pytest.fixture(scope="session", params=list(FAMILIES))
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random checkpoint, once for each family."""
    return FAMILIES[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def vlm(checkpoint: Path) -> VLM:
    """The checkpoint, loaded in float32 with a frozen tower, in eval mode."""
    loaded = VLM.load(model_config(checkpoint), device="cpu", train=True)
    loaded.base.eval()
    return loaded


@pytest.fixture
def make_prompt_for(tmp_path: Path) -> Callable[..., Prompt]:
    """Make a prompt for a model over random images of the given (width, height) sizes."""

    def make(vlm: VLM, name: str, sizes: list[tuple[int, int]], text: str = "Is there a defect?") -> Prompt:
        paths = []
        for index, (width, height) in enumerate(sizes):
            path = tmp_path / f"{name}_{index}.png"
            seed = list(f"{name}{index}".encode())
            pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path)
            paths.append(path)
        width, height = sizes[-1]
        sample = Sample(id=name, image=paths[-1], stated_size=(width, height), category="tile", anomalous=False)
        content = [*({"type": "image"} for _ in paths), {"type": "text", "text": text}]
        return Prompt(
            id=name,
            sample=sample,
            messages=({"role": "user", "content": content},),
            images=tuple(paths),
            frame=vlm.frames(width, height),
            choices={"a": True, "b": False},
            key="b",
        )

    return make


@pytest.fixture
def make_prompt(vlm: VLM, make_prompt_for: Callable[..., Prompt]) -> Callable[..., Prompt]:
    """Make a prompt for the loaded model."""
    return partial(make_prompt_for, vlm)


@pytest.fixture
def make_samples(tmp_path: Path) -> Callable[[], list[Sample]]:
    """Make the same four samples of random images of different shapes, two of them anomalous."""

    def make() -> list[Sample]:
        samples = []
        for index, (width, height) in enumerate([(56, 56), (84, 56), (56, 84), (112, 56)]):
            path = tmp_path / f"s{index}.png"
            pixels = np.random.default_rng(index).integers(0, 255, (height, width, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path)
            marks = {"defect_type": "scratch", "stated_boxes": ((5.0, 5.0, 30.0, 20.0),)} if index % 2 else {}
            samples.append(
                Sample(
                    id=f"s{index}",
                    image=path,
                    stated_size=(width, height),
                    category="tile",
                    anomalous=bool(index % 2),
                    **marks,
                )
            )
        return samples

    return make
