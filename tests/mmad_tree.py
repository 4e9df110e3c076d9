"""A small MMAD: four data sets with both places of masks, a folder of masks, an image without a detection question."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

DETECTION = {
    "Question": "Is there any defect in the object?",
    "Answer": "A",
    "Options": {"A": "Yes.", "B": "No."},
    "type": "Anomaly Detection",
    "annotation": True,
}
KIND = {
    "Question": "Which defect is it?",
    "Answer": "C",
    "Options": {"A": "Scratch.", "B": "Hole.", "C": "Crack.", "D": "Stain."},
    "type": "Defect Classification",
}
DETAILS = {
    "Question": "What is around the neck?",
    "Answer": "B",
    "Options": {"A": "A ring", "B": "A thread", "C": "Nothing"},
    "type": "Object Details",
}
NO = DETECTION | {"Answer": "B"}

BROKEN = "DS-MVTec/bottle/image/broken_large/000.png"
GOOD = "DS-MVTec/bottle/image/good/001.png"
RENAMED = "MVTec-AD/bottle/test/broken_large/003.png"
LOGICAL = "MVTec-LOCO/juice_bottle/test/logical_anomalies/002.png"
BAD = "VisA/candle/test/bad/004.JPG"
FINE = "VisA/candle/test/good/005.JPG"
OPENED = "GoodsAD/food_box/test/opened/001_002.jpg"
FULL = "GoodsAD/food_box/test/good/001_003.jpg"

ENTRIES: dict[str, dict[str, Any]] = {
    BROKEN: {"conversation": [DETECTION, KIND, DETAILS], "mask_path": "rbg_mask/broken_large/000_rbg_mask.png"},
    GOOD: {"conversation": [NO, DETAILS], "mask_path": ""},
    RENAMED: {"conversation_v2": [DETECTION], "conversation": [NO], "mask_path": None},
    LOGICAL: {"conversation": [DETECTION, KIND], "mask_path": "ground_truth/logical_anomalies/002"},
    BAD: {"conversation": [KIND, DETAILS], "mask_path": "ground_truth/bad/004.png"},
    FINE: {"conversation": [NO], "mask_path": "ground_truth/good/005.png"},
    OPENED: {"conversation": [DETECTION, KIND], "mask_path": "ground_truth/opened/001_002.png"},
    FULL: {"conversation": [NO]},
}
MASKS = {
    "DS-MVTec/bottle/rbg_mask/broken_large/000_rbg_mask.png": (slice(4, 10), slice(6, 20)),
    "MVTec-LOCO/juice_bottle/ground_truth/logical_anomalies/002/000.png": (slice(0, 6), slice(0, 8)),
    "MVTec-LOCO/juice_bottle/ground_truth/logical_anomalies/002/001.png": (slice(14, 20), slice(20, 28)),
    "VisA/candle/test/ground_truth/bad/004.png": (slice(8, 16), slice(8, 16)),  # the join of three parts
    "GoodsAD/food_box/ground_truth/opened/001_002.png": (slice(2, 8), slice(2, 8)),
}


def write_mmad(root: Path, entries: dict[str, dict[str, Any]] = ENTRIES, size: tuple[int, int] = (32, 24)) -> Path:
    """Write `entries` with four templates each, their images and the masks; return root."""
    rng = np.random.default_rng(0)
    content = {}
    for key, entry in entries.items():
        dataset, category = key.split("/")[:2]
        templates = [f"{dataset}/{category}/train/good/{number:03d}.png" for number in range(4)]
        content[key] = {"random_templates": templates[:2], "similar_templates": templates[2:], **entry}
        for path in (key, *templates):
            _save(root / path, rng.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8))
    for path, place in MASKS.items():
        mask = np.zeros((size[1], size[0], 3), np.uint8)
        mask[place] = (0, 0, 128)  # one of several colours
        _save(root / path, mask)
    (root / "mmad.json").write_text(json.dumps(content))
    return root


def _save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
