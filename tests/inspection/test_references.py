"""Which normal images are shown beside an image."""

from __future__ import annotations

import shutil
from pathlib import Path

import grpo_support
import numpy as np
import pytest
import tiny_checkpoints
import torch
from PIL import Image

from adfm.errors import ConfigError, DataError
from adfm.inspection.references import References
from adfm.models.vlm import VLM


@pytest.fixture(scope="module")
def vlm(tmp_path_factory: pytest.TempPathFactory) -> VLM:
    """A random Qwen2.5-VL."""
    folder = tiny_checkpoints.write_qwen2_5_vl(tmp_path_factory.mktemp("checkpoint"))
    return VLM.load(grpo_support.model_config(folder, completion_tokens=8), train=False)


@pytest.fixture
def normals(tmp_path: Path) -> list[Path]:
    """Six textures, from dark and fine to bright and coarse."""
    (tmp_path / "normals").mkdir()
    return [texture(tmp_path / "normals" / f"{number}.png", 30 + 40 * number, number) for number in range(6)]


def texture(path: Path, grey: int, seed: int) -> Path:
    noise = np.random.default_rng(seed).integers(-20, 20, (84, 84))
    Image.fromarray((grey + noise).clip(0, 255).astype(np.uint8)).save(path)
    return path


def test_a_draw_is_the_same_every_time_and_another_for_another_seed(
    vlm: VLM, normals: list[Path], tmp_path: Path
) -> None:
    images = [texture(tmp_path / f"query{number}.png", 120, 50 + number) for number in range(8)]
    drawn = [References(vlm, normals, shots=2).of(image) for image in images]
    again = [References(vlm, normals[::-1], shots=2).of(image) for image in images[::-1]][::-1]
    assert drawn == again
    assert all(len(set(one)) == 2 and set(one) <= set(normals) for one in drawn)
    assert drawn != [References(vlm, normals, shots=2, seed=1).of(image) for image in images]
    assert len(set(drawn)) > 1, "not the same for every image"


@pytest.mark.parametrize("choice", ["random", "similar"])
def test_an_image_is_never_its_own_reference_nor_is_a_copy(
    vlm: VLM, normals: list[Path], tmp_path: Path, choice: str
) -> None:
    references = References(vlm, normals, shots=5, choice=choice)
    copy = tmp_path / "copy.png"
    shutil.copy(normals[2], copy)
    for image in (normals[2], copy):
        assert set(references.of(image)) == set(normals) - {normals[2]}
    with pytest.raises(ConfigError, match=r"3\.png: is itself one of the 6 normal images"):
        References(vlm, normals, shots=6, choice=choice).of(normals[3])


def test_the_most_similar_are_those_of_the_highest_cosine(vlm: VLM, normals: list[Path], tmp_path: Path) -> None:
    """Against the features computed here, one image at a time."""
    query = texture(tmp_path / "query.png", 152, 9)
    reader = vlm.tower.reader

    def mean(image: Path) -> torch.Tensor:
        return vlm.tower.features([reader.key(image)])[0][0].mean(0)

    cosines = {path: float(torch.cosine_similarity(mean(path), mean(query), dim=0)) for path in normals}
    expected = tuple(sorted(normals, key=lambda path: -cosines[path])[:3])
    assert References(vlm, normals, shots=3, choice="similar").of(query) == expected
    assert expected[0] == normals[3], "the one of the same brightness"


def test_features_of_the_folder_are_computed_once(vlm: VLM, normals: list[Path], tmp_path: Path) -> None:
    seen: list[Path] = []
    references = References(vlm, normals, choice="similar")
    feature = references._feature
    references._feature = lambda image: seen.append(image) or feature(image)  # type: ignore[method-assign]
    queries = [texture(tmp_path / f"query{number}.png", 100, number) for number in (7, 8)]
    for query in queries:
        references.of(query)
    assert sorted(seen) == sorted([*normals, *queries])


def test_copies_count_as_one_and_settings_follow_the_content(vlm: VLM, normals: list[Path], tmp_path: Path) -> None:
    shutil.copy(normals[0], normals[0].with_name("copy.png"))
    with_copy = References(vlm, [*normals, normals[0].with_name("copy.png")])
    assert with_copy.normals == tuple(normals)
    moved = [Path(shutil.copy(path, tmp_path / f"moved{path.name}")) for path in normals]
    assert with_copy.settings == References(vlm, moved).settings
    assert with_copy.settings != References(vlm, normals[1:]).settings
    assert "seed" not in References(vlm, normals, choice="similar").settings


def test_what_cannot_be_is_said(vlm: VLM, normals: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"references: 6 different normal images cannot give reasoning\.references=7"):
        References(vlm, normals, shots=7)
    with pytest.raises(ConfigError, match=r"reasoning\.references is 0"):
        References(vlm, normals, shots=0)
    with pytest.raises(ConfigError, match=r"reference_choice is 'best'; it must be one of random, similar"):
        References(vlm, normals, choice="best")
    (tmp_path / "broken.png").write_bytes(b"?")
    with pytest.raises(DataError, match=r"broken\.png"):
        References(vlm, [tmp_path / "broken.png"])
