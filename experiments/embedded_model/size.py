"""What input size and parameter count buy: the dense stage from random weights, on the same images at several sizes.

    python experiments/embedded_model/size.py [--steps 400] [--seed 0]

Synthetic images of 224 x 224 pixels, shown to the tower at 112, 168 and 224; and towers of three widths at 112. One
factor at a time from the embedded model's shape. Each cell is kept in `runs/embedded_model_size` and not trained again;
the table of those that are done goes to `size.csv` beside this file.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
from itertools import product
from pathlib import Path
from typing import Any

import torch
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLVisionConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionTransformerPretrainedModel
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from adfm.config.compose import build, compose
from adfm.files import write_whole
from adfm.models.tiny.architecture import IMAGE_SIDE, LANGUAGE, TOWER

RUNS = Path("runs/embedded_model_size")
SIDES = (112, 168, 224)
WIDTHS = (64, 128, 192)
STORED_SIDE, TRAIN, VAL = 224, 2000, 400
COLUMNS = ("side", "width", "parameters", "seconds", "all", "easy", "medium", "hard")


def cells() -> list[tuple[int, int]]:
    """Return side and width of each cell: the embedded shape, and what differs from it in one of them."""
    base = (IMAGE_SIDE, TOWER["hidden_size"])
    return [cell for cell in product(SIDES, WIDTHS) if cell[0] == base[0] or cell[1] == base[1]]


def tower_of(width: int) -> Qwen2_5_VisionTransformerPretrainedModel:
    """Make a tower like the embedded one, all widths in its proportions."""
    scale = width / TOWER["hidden_size"]
    wider = {"hidden_size": width, "intermediate_size": round(TOWER["intermediate_size"] * scale)}
    config = Qwen2_5_VLVisionConfig(**(TOWER | wider), out_hidden_size=LANGUAGE["hidden_size"])
    return Qwen2_5_VisionTransformerPretrainedModel(config)


def train(side: int, width: int, *, steps: int, seed: int) -> dict[str, Any]:
    """Run the dense stage; return parameters, seconds and the validation AUROC of all images and of each bin."""
    config = compose("coldstart", ["recipe=tiny", f"dense.steps={steps}", f"dense.report_every={steps}"])
    images = ["dataset=synthetic", f"dataset.image_size={STORED_SIDE}", f"dataset.train={TRAIN}", f"dataset.val={VAL}"]
    dataset = build(compose("data", images).dataset)
    torch.manual_seed(seed)
    tower = tower_of(width)
    numbers = build(config.dense).run(
        tower,
        Qwen2VLImageProcessorPil(min_pixels=side**2, max_pixels=side**2),
        {part: dataset.split(part) for part in ("train", "val")},
        seed=seed,
        report=print,
    )
    found = {name.removeprefix("val/image_auroc/"): value for name, value in numbers.items() if "auroc/" in name}
    return {
        "side": side,
        "width": width,
        "parameters": sum(weight.numel() for weight in tower.parameters()),
        "seconds": round(numbers["seconds"]),
        "all": numbers["val/image_auroc"],
        **found,
    }


def main() -> None:
    """Train what is missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=400, help="of 64 images")
    parser.add_argument("--seed", type=int, default=0)
    wanted = parser.parse_args()
    rows = []
    for side, width in cells():
        path = RUNS / f"side{side}-width{width}-steps{wanted.steps}-seed{wanted.seed}.json"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, json.dumps(train(side, width, steps=wanted.steps, seed=wanted.seed)))
        row = json.loads(path.read_text())
        rows.append({name: f"{row[name]:.3f}" if isinstance(row[name], float) else row[name] for name in COLUMNS})
        print(rows[-1])
        table = io.StringIO()
        writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_whole(Path(__file__).parent / "size.csv", table.getvalue())


if __name__ == "__main__":
    main()
