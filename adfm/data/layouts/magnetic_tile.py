"""The magnetic tile data set of Huang, Qiu and Yuan (The Visual Computer, 2018), as published.

`MT_<Type>/Imgs/<name>.jpg` with the mask in `<name>.png` beside it; `MT_Free` holds the good tiles. Masks carry
JPEG-like noise (threshold 127), some are empty, and near-identical views of one tile recur under different names.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from adfm.data.cache import fingerprint_of
from adfm.data.images import image_size, read_mask
from adfm.data.knowledge import knowledge_of
from adfm.data.leaks import clusters, similar_pairs, thumbnail
from adfm.data.manifest import part_of
from adfm.data.masks import boxes_from_mask
from adfm.data.references import with_reference
from adfm.data.splits import grouped_split
from adfm.errors import ConfigError, DataError
from adfm.types import Sample

CATEGORY = "magnetic tile"
FOLDERS = {
    "MT_Free": None,
    "MT_Blowhole": "blowhole",
    "MT_Break": "break",
    "MT_Crack": "crack",
    "MT_Fray": "fray",
    "MT_Uneven": "uneven",
}
"""Folder to defect type; None for the good tiles."""


class MagneticTile:
    """Magnetic tiles in three parts that share no near-duplicate.

    A defect image whose mask gives no box is left out, not guessed: `excluded` maps its name to the reason. Each
    sample has one good tile of the training part as its reference.

    Args:
        root: The folder that holds `MT_Free`, `MT_Blowhole`, ...
        val: Share of the validation part, within each type as far as clusters of near-duplicates allow.
        test: Likewise of the test part.
        seed: Of the split and of the choice of references.
        similarity: Images whose 32 x 32 thumbnails correlate by at least this stay on one side of the split.
        dilation: See `adfm.data.masks.boxes_from_mask`.
        min_area: Likewise.

    Raises:
        ConfigError: The shares leave nothing to train on.
        DataError: A folder, an image or a mask is missing or unreadable; the message names it.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        val: float = 0.15,
        test: float = 0.25,
        seed: int = 0,
        similarity: float = 0.98,
        dilation: float = 0.01,
        min_area: int = 5,
    ) -> None:
        if not (val > 0 and test > 0 and val + test < 1):
            raise ConfigError(
                f"dataset.val={val} and dataset.test={test} must be above 0 and leave something to train on"
            )
        self.name = "magnetic_tile"
        self.root = Path(root)
        self.excluded: dict[str, str] = {}
        found = [self._sample(path, dilation, min_area) for path in self._images()]
        samples = [sample for sample in found if sample is not None]
        near = similar_pairs(np.array([thumbnail(sample.image) for sample in samples]), similarity)
        groups = clusters(len(samples), near)
        types = [sample.defect_type or "good" for sample in samples]
        split = grouped_split(groups, types, {"train": 1 - val - test, "val": val, "test": test}, seed)
        chosen = {part: [samples[index] for index in indices] for part, indices in split.items()}
        good = [sample.image for sample in chosen["train"] if not sample.anomalous]
        self._parts = {
            part: [with_reference(sample, good, seed) for sample in members] for part, members in chosen.items()
        }

    def split(self, name: str) -> Sequence[Sample]:
        """Return the samples of `train`, `val` or `test`, sorted by folder and name."""
        return part_of(self._parts, name)

    def fingerprint(self) -> str:
        """Return a hash of every sample's labels and of the bytes of its files."""
        return fingerprint_of(self._parts)

    def _images(self) -> list[Path]:
        missing = [folder for folder in FOLDERS if not (self.root / folder / "Imgs").is_dir()]
        if missing:
            raise DataError(f"{self.root}: lacks {', '.join(f'{folder}/Imgs' for folder in missing)}")
        return [path for folder in FOLDERS for path in sorted((self.root / folder / "Imgs").glob("*.jpg"))]

    def _sample(self, image: Path, dilation: float, min_area: int) -> Sample | None:
        folder = image.parts[-3]
        defect_type, mask = FOLDERS[folder], image.with_suffix(".png")
        name, size = f"{folder}/{image.stem}", image_size(image)
        boxes = ()
        if defect_type is not None:
            defect = read_mask(mask, size)
            boxes = boxes_from_mask(defect, dilation=dilation, min_area=min_area)
            if not boxes:
                area = int(defect.sum())
                few = f"mask has {area} pixels, none in a component of dataset.min_area={min_area}"
                self.excluded[name] = few if area else "mask is empty"
                return None
        return Sample(
            id=name,
            image=image,
            width=size[0],
            height=size[1],
            category=CATEGORY,
            anomalous=defect_type is not None,
            defect_type=defect_type,
            boxes=boxes,
            mask=mask if defect_type is not None else None,
            knowledge=knowledge_of("magnetic_tile", CATEGORY),
        )
