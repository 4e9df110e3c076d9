"""The ranks of a run: one process on its own, or what torchrun started, with the few exchanges the program needs.

Everything above this module is written as if each rank were alone; numbers meet here. A single process needs neither
a launcher nor a free port: its process group lives in memory.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist

Item = TypeVar("Item")


class Ranks:
    """This process among its peers: gloo between CPUs, NCCL between GPUs, by the environment that torchrun sets.

    Args:
        device: where this rank computes; by default the GPU with the number `LOCAL_RANK`, or the CPU without a GPU.
    """

    rank: int
    world_size: int
    device: torch.device

    def __init__(self, device: str | torch.device | None = None) -> None:
        local_rank = int(os.environ.setdefault("LOCAL_RANK", "0"))
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        if self.device.type == "cuda":
            self.device = torch.device("cuda", local_rank if self.device.index is None else self.device.index)
            torch.cuda.set_device(self.device)
        os.environ.setdefault("DS_ACCELERATOR", self.device.type)  # DeepSpeed would guess, and say so
        if not dist.is_initialized():
            _join("nccl" if self.device.type == "cuda" else "gloo")
        self.rank = dist.get_rank()
        self.world_size = dist.get_world_size()

    def sum(self, values: Mapping[str, float]) -> dict[str, float]:
        """Add numbers by name over all ranks; a name that a rank does not have counts as 0 there."""
        totals: dict[str, float] = defaultdict(float)
        for one in self.gather(dict(values)):
            for name, value in one.items():
                totals[name] += float(value)
        return dict(totals)

    def mean(self, values: Mapping[str, float], weight: float = 1.0) -> dict[str, float]:
        """Average numbers by name over the ranks that have them, each rank counting with its `weight`."""
        weighted = self.sum({name: weight * float(value) for name, value in values.items()})
        weights = self.sum(dict.fromkeys(values, weight))
        return {name: total / weights[name] for name, total in weighted.items() if weights[name] > 0}

    def max_count(self, count: int) -> int:
        """Return the largest of the ranks' counts."""
        return max(self.gather(count))

    def gather(self, item: Item) -> list[Item]:
        """Return the items of all ranks, in the order of the ranks, on every rank. Items are pickled."""
        if self.world_size == 1:
            return [item]
        items: list[Any] = [None] * self.world_size
        dist.all_gather_object(items, item)
        return items

    def gather_objects(self, items: Sequence[Item]) -> list[Item]:
        """Return the items of all ranks in one list on rank 0, and an empty list elsewhere. Items are pickled."""
        if self.world_size == 1:
            return list(items)
        received: list[Any] | None = [None] * self.world_size if self.rank == 0 else None
        dist.gather_object(list(items), received, dst=0)
        return [item for part in received or [] for item in part]

    def from_rank_0(self, item: Item) -> Item:
        """Return rank 0's item on every rank. Items are pickled."""
        if self.world_size == 1:
            return item
        box = [item]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def barrier(self) -> None:
        """Wait for all ranks."""
        if self.world_size > 1:
            dist.barrier()

    def close(self) -> None:
        """Leave the other ranks, together with them. A process on its own keeps its group for the next run."""
        if self.world_size > 1 and dist.is_initialized():
            dist.barrier()
            dist.destroy_process_group()


def _join(backend: str) -> None:
    """Start the process group that the environment describes, or one of a single process."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        dist.init_process_group(backend)
    else:
        store = dist.HashStore()  # pyright: ignore[reportPrivateImportUsage]
        dist.init_process_group(backend, store=store, rank=0, world_size=1)
