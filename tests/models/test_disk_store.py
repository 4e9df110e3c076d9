from __future__ import annotations

import os
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from adfm.models.disk_store import ABANDONED, DiskStore

ROOM = 2**20


def kept(folder: Path) -> set[str]:
    return {path.stem for path in folder.glob("*/*.safetensors")}


def used(store: DiskStore, name: str, seconds: int) -> None:
    """Say when an entry was last used."""
    os.utime(store.path(name), (seconds, seconds))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_tensor_comes_back(tmp_path: Path, dtype: torch.dtype) -> None:
    tensor = torch.randn(3, 16, 64).to(dtype)
    DiskStore(tmp_path, ROOM).put("aa", tensor.transpose(0, 1))
    found = DiskStore(tmp_path, ROOM).get("aa")
    assert found is not None
    assert torch.equal(found, tensor.transpose(0, 1))
    assert DiskStore(tmp_path, ROOM).get("bb") is None


def test_a_corrupt_or_foreign_entry_is_never_used(tmp_path: Path) -> None:
    store = DiskStore(tmp_path, ROOM)
    store.put("aa", torch.randn(1, 16, 64))
    entry = store.path("aa")
    whole = entry.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:-1] + bytes([whole[-1] ^ 1]), b"", b"not safetensors at all"):
        entry.write_bytes(content)
        assert store.get("aa") is None
        assert not entry.exists()
    foreign = store.path("bb")
    foreign.parent.mkdir(parents=True, exist_ok=True)
    foreign.write_bytes(whole)
    assert store.get("bb") is None
    assert not list(tmp_path.rglob("*.part"))


def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    tensor = torch.zeros(1000)  # 4,000 bytes, and some 200 for the header
    store = DiskStore(tmp_path, 15_000)
    for seconds, name in enumerate(("aa", "bb", "cc"), start=1):
        store.put(name, tensor)
        used(store, name, seconds)
    assert kept(tmp_path) == {"aa", "bb", "cc"}
    assert store.get("aa") is not None  # now it is the newest
    store.put("dd", tensor)
    assert kept(tmp_path) == {"aa", "cc", "dd"}
    assert store.get("bb") is None


def test_what_is_larger_than_the_limit_is_not_kept_and_drives_nothing_out(tmp_path: Path) -> None:
    store = DiskStore(tmp_path, 10_000)
    store.put("aa", torch.zeros(1000))
    store.put("bb", torch.zeros(3000))
    assert kept(tmp_path) == {"aa"}


def test_a_new_process_counts_what_it_finds_and_removes_what_a_dead_one_left(tmp_path: Path) -> None:
    first = DiskStore(tmp_path, ROOM)
    for seconds, name in enumerate(("aa", "bb", "cc"), start=1):
        first.put(name, torch.zeros(1000))
        used(first, name, seconds)
    old, new = (tmp_path / "aa" / f"{name}.part" for name in ("old", "new"))
    for part in (old, new):
        part.write_bytes(b"half")
    os.utime(old, (new.stat().st_mtime - ABANDONED - 10,) * 2)
    DiskStore(tmp_path, 10_000).put("dd", torch.zeros(1000))
    assert kept(tmp_path) == {"cc", "dd"}
    assert (old.exists(), new.exists()) == (False, True)


def test_while_another_process_removes_nobody_else_does(tmp_path: Path) -> None:
    store = DiskStore(tmp_path, 10_000)
    with FileLock(tmp_path / "lock"):
        for name in ("aa", "bb", "cc"):
            store.put(name, torch.zeros(1000))
    assert len(kept(tmp_path)) == 3
    store.put("dd", torch.zeros(1000))
    assert len(kept(tmp_path)) == 2


def test_many_that_share_a_folder_stay_within_the_limit_and_read_only_whole_entries(tmp_path: Path) -> None:
    names = [f"{number:02x}" for number in range(40)]

    def work(seed: int) -> int:
        store, rng, found = DiskStore(tmp_path, 50_000), random.Random(seed), 0
        for _ in range(60):
            name = rng.choice(names)
            tensor = store.get(name)
            if tensor is None:
                store.put(name, torch.full((1000,), float(int(name, 16))))
            else:
                assert tensor.tolist() == [float(int(name, 16))] * 1000
                found += 1
        return found

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(work, range(4)))
    assert sum(found) > 0
    DiskStore(tmp_path, 50_000).put("ff", torch.zeros(1000))
    assert sum(path.stat().st_size for path in tmp_path.glob("*/*.safetensors")) <= 50_000
