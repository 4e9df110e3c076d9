"""Started by `test_loop_ranks.py` with torchrun: the loop on two ranks, at every ZeRO stage, on one checkpoint."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from grpo_support import FAMILIES
from PIL import Image
from test_loop import Parts

from adfm.grpo.distributed import Ranks
from adfm.grpo.objective import GRPO
from adfm.types import Sample

SIZES = [(56, 56), (84, 56), (56, 84), (112, 56)]


def make_samples(folder: Path) -> list[Sample]:
    return [
        Sample(
            id=path.stem,
            image=path,
            category="tile",
            anomalous=False,
            stated_size=(width, height),
        )
        for (width, height), path in zip(SIZES, sorted(folder.glob("*.png")), strict=True)
    ]


def prepare(family: str, folder: Path) -> None:
    for index, (width, height) in enumerate(SIZES):
        pixels = np.random.default_rng(index).integers(0, 255, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"s{index}.png")
    (folder / "where").write_text(str(FAMILIES[family](folder)))


def train(folder: Path, stage: int, lora: bool) -> tuple[list[float], torch.Tensor, Parts]:
    adapter = SimpleNamespace(rank=4, alpha=8, dropout=0.0, targets=["q_proj", "up_proj"]) if lora else None
    torch.manual_seed(0)
    parts = Parts(
        Path((folder / "where").read_text()),
        lambda: make_samples(folder),
        objective=GRPO(beta=0.1),
        stage=stage,
        lora=adapter,
        gradient_checkpointing=True,
        token_budget=280,
    )
    parts.stream.rank, parts.stream.world_size = parts.engine.rank, parts.engine.world_size
    return [metrics["grad_norm"] for metrics in parts.train(3)], parts.weights(), parts


def main() -> None:
    family, folder = sys.argv[1], Path(sys.argv[2])
    ranks = Ranks("cpu")
    if ranks.rank == 0:
        prepare(family, folder)
    ranks.barrier()
    found = []
    for lora in (False, True):
        norms, weights, parts = train(folder, 0, lora)
        for stage in (1, 2, 3):
            sharded_norms, sharded, parts = train(folder, stage, lora)
            found.append(
                {
                    "norms": norms,
                    "sharded_norms": sharded_norms,
                    "difference": float((weights - sharded).abs().max()),
                    "agree": all(torch.equal(sharded, other) for other in ranks.gather(sharded)),
                }
            )
    if ranks.rank == 0:
        (folder / "found.json").write_text(json.dumps(found))
    parts.engine.close()


if __name__ == "__main__":
    main()
