from __future__ import annotations

from types import SimpleNamespace

import pytest
from reading_support import sample

from adfm.reasoning.defect_types import defect_types, named_type

TYPES = ("crack", "deep crack", "hole", "bent_wire", "cut-inner", "C++ mark", "Riß")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("Nothing is wrong.", None),
        ("I see a crack.", "crack"),
        ("Two CRACKS run over it, each crack is dark.", "crack"),
        ("a deep crack", "deep crack"),
        ("a deep\ncrack", "deep crack"),
        ("a deep crack beside a crack", None),
        ("a crack and a hole", None),
        ("no hole, but a hole", "hole"),
        ("the whole surface, a loophole", None),
        ("bent wire", "bent_wire"),
        ("the type is bent_wire", "bent_wire"),
        ("cut inner", "cut-inner"),
        ("a C++ mark", "C++ mark"),
        ("ein Riß", "Riß"),
        ("type=hole_1", "hole"),
    ],
)
def test_one_known_type_is_named_or_none(text: str, expected: str | None) -> None:
    assert named_type(text, TYPES) == expected


def test_without_known_types_nothing_is_named() -> None:
    assert named_type("a crack", ()) is None
    assert named_type("a crack", ("", " ")) is None


def test_the_types_of_all_parts_are_known() -> None:
    parts = {"train": ["scratch", None], "val": ["hole"], "test": ["scratch", "crack"]}
    samples = {part: [sample(defect_type=kind) for kind in kinds] for part, kinds in parts.items()}
    dataset = SimpleNamespace(name="x", split=samples.__getitem__, fingerprint=lambda: "")
    assert defect_types(dataset) == ("crack", "hole", "scratch")
