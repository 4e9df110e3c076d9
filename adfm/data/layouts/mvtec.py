"""The tree of MVTec AD, which many other sets copy.

`<category>/train/good/*`, `<category>/test/{good,<type>}/*`, and a mask
`<category>/ground_truth/<type>/<name>_mask.png` for every defect image. Its own train split has only normals, so some
labelled anomalies are taken from the test images.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random

from adfm.data.cache import fingerprint_of
from adfm.data.images import image_size, read_mask
from adfm.data.knowledge import knowledge_of
from adfm.data.manifest import PARTS, part_of
from adfm.data.masks import boxes_from_mask
from adfm.data.references import with_reference
from adfm.errors import ConfigError, DataError
from adfm.types import Sample

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")


class MVTec:
    """One or more categories of an MVTec tree.

    Of each defect type `shots_per_type` images go to train and `val_shots_per_type` to val, drawn by the seed; they
    leave the test part, which keeps the others and all its normals. Train normals are divided between train and val.
    Each sample has one good image of the training part as its reference.

    Args:
        root: The folder that holds the categories.
        category: A category's folder, or a list of them.
        shots_per_type: Labelled anomalies per defect type to train on; 0 trains on normals alone.
        val_shots_per_type: Likewise to choose on.
        val: Share of the train normals that goes to val.
        seed: Of what is drawn.
        dilation: See `adfm.data.masks.boxes_from_mask`.
        min_area: Likewise.

    Raises:
        ConfigError: A number of shots is negative, or the share is not in (0, 1).
        DataError: A folder, an image or a mask is missing or unreadable, a mask gives no box, or a defect type has
        too few
            images; the message names it.
    """

    def __init__(
        self,
        root: str | Path,
        category: str | Sequence[str],
        *,
        shots_per_type: int = 4,
        val_shots_per_type: int = 2,
        val: float = 0.2,
        seed: int = 0,
        dilation: float = 0.01,
        min_area: int = 5,
    ) -> None:
        if min(shots_per_type, val_shots_per_type) < 0:
            raise ConfigError("dataset.shots_per_type and dataset.val_shots_per_type must not be negative")
        if not 0 < val < 1:
            raise ConfigError(f"dataset.val must be between 0 and 1, but is {val}")
        self.name = "mvtec"
        self.root = Path(root)
        self.shots = {"train": shots_per_type, "val": val_shots_per_type}
        self.val, self.seed, self.dilation, self.min_area = val, seed, dilation, min_area
        self._parts: dict[str, list[Sample]] = {part: [] for part in PARTS}
        for name in [category] if isinstance(category, str) else category:
            self._add(name)

    def split(self, name: str) -> Sequence[Sample]:
        """Return the samples of `train`, `val` or `test`: by category, normals first, then by defect type and name."""
        return part_of(self._parts, name)

    def fingerprint(self) -> str:
        """Return a hash of every sample's labels and of the bytes of its files."""
        return fingerprint_of(self._parts)

    def _add(self, category: str) -> None:
        folder = self.root / category
        normals = _images(folder / "train" / "good")
        chosen = set(Random(f"{self.seed} {category}").sample(normals, round(self.val * len(normals))))
        train = [path for path in normals if path not in chosen]
        drawn = {
            "train": [self._sample(path, category) for path in train],
            "val": [self._sample(path, category) for path in normals if path in chosen],
            "test": [self._sample(path, category) for path in _images(folder / "test" / "good")],
        }
        for defect in sorted(
            path.name for path in (folder / "test").iterdir() if path.is_dir() and path.name != "good"
        ):
            for part, paths in self._share_out(folder / "test" / defect).items():
                drawn[part] += [self._sample(path, category, defect) for path in paths]
        for part, samples in drawn.items():
            self._parts[part] += [with_reference(sample, train, self.seed) for sample in samples]

    def _share_out(self, folder: Path) -> dict[str, list[Path]]:
        """Divide the images of one defect type among the parts."""
        images = _images(folder)
        if len(images) <= sum(self.shots.values()):
            raise DataError(
                f"{folder}: has {len(images)} images, too few for dataset.shots_per_type={self.shots['train']} and "
                f"dataset.val_shots_per_type={self.shots['val']} with one left to test"
            )
        order = list(images)
        Random(f"{self.seed} {folder.parts[-3]} {folder.name}").shuffle(order)
        first, second = self.shots["train"], self.shots["train"] + self.shots["val"]
        return {"train": sorted(order[:first]), "val": sorted(order[first:second]), "test": sorted(order[second:])}

    def _sample(self, image: Path, category: str, defect: str | None = None) -> Sample:
        size = image_size(image)
        mask, boxes = None, ()
        if defect is not None:
            mask = self.root / category / "ground_truth" / defect / f"{image.stem}_mask.png"
            boxes = boxes_from_mask(read_mask(mask, size), dilation=self.dilation, min_area=self.min_area)
            if not boxes:
                raise DataError(f"{mask}: has no component of at least dataset.min_area={self.min_area} pixels")
        return Sample(
            id=image.relative_to(self.root).with_suffix("").as_posix(),
            image=image,
            width=size[0],
            height=size[1],
            category=category.replace("_", " "),
            anomalous=defect is not None,
            defect_type=defect.replace("_", " ") if defect else None,
            boxes=boxes,
            mask=mask,
            knowledge=knowledge_of("mvtec", category) or self._listed(category),
        )

    def _listed(self, category: str) -> str:
        """Say which defects a category has that the package has no text for."""
        types = sorted(path.name for path in (self.root / category / "test").iterdir() if path.name != "good")
        return f"Possible defects: {', '.join(types).replace('_', ' ')}."


def _images(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected the tree of MVTec AD under dataset.root")
    images = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not images:
        raise DataError(f"{folder}: has no images ({', '.join(SUFFIXES)})")
    return images
