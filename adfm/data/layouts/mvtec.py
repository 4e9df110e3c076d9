"""The tree of MVTec AD (Bergmann et al., CVPR 2019), which many other sets copy.

`<category>/train/good/*`, `<category>/test/{good,<type>}/*`, and a mask
`<category>/ground_truth/<type>/<name>_mask.png` for every defect image.
"""

from __future__ import annotations

from adfm.data.benchmark import Listing, Source
from adfm.data.layouts.files import folders, images
from adfm.data.masks import MaskFiles
from adfm.types import Sample


def mvtec(source: Source) -> Listing:
    """List MVTec AD as published: normals in train, normals and anomalies in test.

    Raises:
        DataError: A folder that every category has is missing, or has no images; the message names it.
    """
    listing = Listing()
    for category in source.chosen([name for name in folders(source.root) if (source.root / name / "train").is_dir()]):
        for part in ("train", "test"):
            for kind in sorted(folders(source.root / category / part), key=lambda kind: (kind != "good", kind)):
                listing.parts[part] += [
                    Sample(
                        id=image.relative_to(source.root).with_suffix("").as_posix(),
                        image=image,
                        category=category.replace("_", " "),
                        anomalous=kind != "good",
                        defect_type=kind.replace("_", " ") if kind != "good" else None,
                        mask=MaskFiles(
                            (source.root / category / "ground_truth" / kind / f"{image.stem}_mask.png",),
                            dilation=source.dilation,
                            min_area=source.min_area,
                        )
                        if kind != "good"
                        else None,
                    )
                    for image in images(source.root / category / part / kind)
                ]
    return listing
