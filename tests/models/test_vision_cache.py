from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from adfm.models import tower
from adfm.models import vlm as vlm_module
from adfm.models.disk_store import DiskStore
from adfm.models.images import ImageKey
from adfm.models.tower import PatchProjection
from adfm.models.vision_cache import MemoryStore, VisionCache, default_folder
from adfm.models.vlm import VLM
from adfm.types import Prompt

ROOM = 2**20


def key(name: str) -> ImageKey:
    return ImageKey(Path(f"{name}.png"), name, (1, 8, 8))


def count_tower_calls(vlm: VLM) -> list[int]:
    """Append to the list that is returned at each call of the tower."""
    calls: list[int] = []
    vlm.tower.visual.register_forward_hook(lambda *_: calls.append(1))
    return calls


def test_memory_drops_the_least_recently_used() -> None:
    store = MemoryStore(limit_bytes=100)
    store.put(key("a"), torch.zeros(10))
    store.put(key("b"), torch.zeros(10))
    assert store.get(key("a")) is not None
    store.put(key("c"), torch.zeros(10))
    assert [name for name in "abc" if store.get(key(name)) is not None] == ["a", "c"]
    store.put(key("d"), torch.zeros(100))
    assert store.get(key("d")) is None
    assert store.used_bytes == 80


def test_the_newest_are_kept_whatever_they_take() -> None:
    store = MemoryStore(limit_bytes=100)
    store.newest = 2
    for name in "abc":
        store.put(key(name), torch.zeros(100))
    assert [name for name in "abc" if store.get(key(name)) is not None] == ["b", "c"]
    assert store.used_bytes == 800


def test_the_fingerprint_is_a_part_of_the_name_on_disk(tmp_path: Path) -> None:
    features = torch.randn(3, 16, 64)
    disk = DiskStore(tmp_path, ROOM)
    VisionCache(0, disk, lambda: "tower").put(key("a"), features)
    found = VisionCache(0, disk, lambda: "tower").get(key("a"))
    assert found is not None
    assert torch.equal(found, features)
    assert VisionCache(0, disk, lambda: "another tower").get(key("a")) is None
    assert VisionCache(0, disk, lambda: "tower").get(key("b")) is None
    assert VisionCache(0, None, lambda: pytest.fail("not needed")).get(key("a")) is None


def test_default_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ADFM_CACHE", str(tmp_path))
    assert default_folder() == tmp_path / "features"


def test_frozen_tower_sees_an_image_once_and_several_in_one_call(
    load: Callable[..., VLM], make_prompt: Callable[..., Prompt]
) -> None:
    vlm = load()
    calls = count_tower_calls(vlm)
    one, two = make_prompt("one", (112, 112)), make_prompt("two", (112, 112), (64, 128))
    first = vlm.features([vlm.encode(one), vlm.encode(two)])["image"].pooler_output
    assert len(calls) == 1
    again = vlm.features([vlm.encode(two), vlm.encode(one), vlm.encode(one)])["image"].pooler_output
    assert len(calls) == 1
    assert torch.equal(again[0], first[1])
    assert torch.equal(again[2], first[0])
    assert not first[0].requires_grad


def test_a_call_of_the_tower_is_bounded_and_changes_no_features(
    load: Callable[..., VLM], make_prompt: Callable[..., Prompt], monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = [
        make_prompt("square", (112, 112)),
        make_prompt("wide", (64, 128)),
        make_prompt("both", (84, 56), (56, 84)),
    ]
    apart = load()
    alone = [apart.features([apart.encode(prompt)])["image"].pooler_output for prompt in prompts]
    vlm = load()
    calls = count_tower_calls(vlm)
    encoded = [vlm.encode(prompt) for prompt in prompts]
    square, wide, *both = [image.patch_count for one in encoded for image in one.images]
    monkeypatch.setattr(tower, "PATCHES_AT_ONCE", square + wide)
    assert sum(both) <= square + wide
    together = vlm.features(encoded)["image"].pooler_output
    assert len(calls) == 2
    for found, expected in zip(together, [one for of_prompt in alone for one in of_prompt], strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_disk_entry_serves_the_next_process_and_is_rebuilt_when_corrupt(
    load: Callable[..., VLM], make_prompt: Callable[..., Prompt], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vlm_module, "default_folder", lambda: tmp_path)
    prompt = make_prompt("kept", (112, 112))
    made = load(feature_cache_disk=True)
    features = made.features([made.encode(prompt)])["image"].pooler_output[0]
    (entry,) = tmp_path.rglob("*.safetensors")
    for content, expected in ((entry.read_bytes(), 0), (b"torn", 1)):
        entry.write_bytes(content)
        vlm = load(feature_cache_disk=True)
        calls = count_tower_calls(vlm)
        assert torch.equal(vlm.features([vlm.encode(prompt)])["image"].pooler_output[0], features)
        assert len(calls) == expected


def test_patch_embedding_is_the_convolution(load: Callable[..., VLM]) -> None:
    projection = load(train=False).tower.visual.patch_embed.proj
    assert isinstance(projection, PatchProjection)
    pixels = torch.randn(12, *projection.weight.shape[1:])
    expected = torch.nn.functional.conv3d(pixels, projection.weight, projection.bias, stride=projection.stride)
    torch.testing.assert_close(projection(pixels), expected, atol=1e-5, rtol=1e-5)
