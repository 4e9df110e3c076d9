"""MVTec LOCO AD (Bergmann et al., IJCV 2022): defects that break a logical rule beside structural ones.

`<category>/train/good`, `<category>/validation/good`, `<category>/test/{good,logical_anomalies,structural_anomalies}`.
The masks of `test/<type>/<name>.png` are `ground_truth/<type>/<name>/NNN.png`, one file per defect, whose grey value
names the kind of defect (`defects_config.json`). A few anomalies have no such folder: they are kept, without a mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from adfm.data.benchmark import Listing, Source
from adfm.data.layouts.files import folders, images
from adfm.data.layouts.mvtec import tree


def mvtec_loco(source: Source) -> Listing:
    """List MVTec LOCO AD as published, with its validation part; a mask is the union of its files.

    Raises:
        DataError: A folder that every category has is missing, or a folder has no images; the message names it.
    """
    parts = {"train": "train", "val": "validation", "test": "test"}
    return tree(source, parts=parts, masks=_in_folders, above=0)


def _in_folders(folder: Path, found: Sequence[Path]) -> list[tuple[Path, ...]]:
    listed = set(folders(folder))
    return [tuple(images(folder / image.stem)) if image.stem in listed else () for image in found]
