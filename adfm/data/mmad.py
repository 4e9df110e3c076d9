"""The words of MMAD (Jiang et al., ICLR 2025): letters, question types, and the data sets that its images come from."""

from __future__ import annotations

from adfm.types import Sample

LETTERS = ("A", "B", "C", "D", "E")
DETECTION = "Anomaly Detection"
TYPES = (
    *(DETECTION, "Defect Classification", "Defect Localization", "Defect Description", "Defect Analysis"),
    *("Object Classification", "Object Analysis"),
)
"""The seven columns, in MMAD's order."""
FOLDED = {"Object Structure": "Object Analysis", "Object Details": "Object Analysis"}
"""Question types of the file that count for another column."""
RENAMED = {"MVTec-AD": "DS-MVTec"}
"""Some keys name the folder of the templates; their images belong to the data set that is named here."""
ATTRIBUTE = "mmad_dataset"
"""Of a sample: its data set. Whoever evaluates knows by it that the sample's question is MMAD's."""
IMAGE = "mmad_image"
"""Of a sample: the key of its image in mmad.json, whatever a mixture makes of its id."""


def is_mmad(sample: Sample) -> bool:
    """Whether a sample is a question of MMAD."""
    return sample.question is not None and {ATTRIBUTE, IMAGE} <= sample.attributes.keys()
