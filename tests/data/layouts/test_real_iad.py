from __future__ import annotations

import json
import re
import shutil
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from data_support import opened
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from trees import counts, draw, samples, told

from adfm.data.benchmark import Source
from adfm.data.layouts.real_iad import real_iad
from adfm.errors import DataError

PUBLISHED = "dataset/split=published"


def _row(category: str, specimen: int, view: int, code: str, masked: bool) -> dict[str, Any]:
    kind = "OK" if code == "OK" else f"NG/{code}"
    name = f"{kind}/S{specimen:04d}/{category}_{specimen:04d}_{kind.replace('/', '_')}_C{view}_20230922135227"
    mask = f"{name}.png" if masked else None
    return {"category": category, "anomaly_class": code, "image_path": f"{name}.jpg", "mask_path": mask}


def _write(root: Path, category: str, train: list[dict], test: list[dict], jsons: str = "realiad_jsons") -> Path:
    file = root / jsons / f"{category}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    meta = {"prefix": f"{category}/", "normal_class": "OK", "pre_transform": None}
    file.write_text(json.dumps({"meta": meta, "train": train, "test": test}))
    return file


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two products; of `bottle_cap`, one defect does not show in the second view."""
    for category, code in (("bottle_cap", "BX"), ("zipper", "XY")):
        train = [_row(category, specimen, view, "OK", False) for specimen in range(5) for view in (1, 2)]
        test = [_row(category, 9, 1, "OK", False), _row(category, 7, 1, code, True), _row(category, 7, 2, code, False)]
        _write(tmp_path, category, train, test)
        for row in (*train, *test):
            draw(tmp_path / "realiad_1024" / category / row["image_path"])
            if row["mask_path"]:
                draw(tmp_path / "realiad_1024" / category / row["mask_path"], (6, 4, 20, 10))
    return tmp_path


def test_the_json_divides_and_names_the_types(root: Path):
    assert counts(opened("real_iad", root, PUBLISHED)) == {
        "train": {("bottle cap", None): 8, ("zipper", None): 8},
        "val": {("bottle cap", None): 2, ("zipper", None): 2},
        "test": {("bottle cap", None): 2, ("bottle cap", "deformation"): 1, ("zipper", None): 2, ("zipper", "XY"): 1},
    }


def test_a_defect_has_box_mask_and_view(root: Path):
    found = samples(opened("real_iad", root, PUBLISHED, "dataset.category=bottle_cap"))
    name = "bottle_cap/NG/BX/S0007/bottle_cap_0007_NG_BX_C{}_20230922135227"
    assert found[name.format(1)].boxes == ((6.0, 4.0, 20.0, 10.0),)
    assert found[name.format(1)].attributes == {"view": "C1"}
    assert not found[name.format(2)].anomalous, "the authors' reader takes a view without mask as good"


def test_other_folders_of_jsons_and_images(root: Path):
    category = "bottle_cap"
    noisy = [_row(category, 0, 1, "OK", False), _row(category, 7, 1, "BX", True)]
    _write(root, category, noisy, [_row(category, 9, 1, "OK", False)], "realiad_jsons/realiad_jsons_fuiad_0.1")
    (root / "realiad_1024").rename(root / "realiad_256")
    options = ["dataset.layout.images=realiad_256", "dataset.layout.jsons=realiad_jsons_fuiad_0.1"]
    listing = real_iad(Source(root=root), images="realiad_256", jsons="realiad_jsons_fuiad_0.1")
    assert [sample.defect_type for sample in listing.parts["train"]] == [None, "deformation"]
    assert len(opened("real_iad", root, PUBLISHED, *options).split("test")) == 1
    with pytest.raises(DataError, match=re.escape(f"{root}/realiad_1024: no such folder; set dataset.layout.images")):
        opened("real_iad", root).split("test")
    with pytest.raises(DataError, match=re.escape(f"{root}/nowhere: no such folder; set dataset.layout.jsons")):
        opened("real_iad", root, "dataset.layout.jsons=nowhere").split("test")


def test_a_product_without_images_is_left_out_unless_asked_for(root: Path):
    shutil.rmtree(root / "realiad_1024" / "zipper")
    listing = real_iad(Source(root=root))
    assert listing.excluded == {"zipper": f"{root}/realiad_1024/zipper: no such folder"}
    with pytest.raises(DataError, match=re.escape(f"{root}/realiad_jsons/zipper.json, train[0]: {root}/realiad_1024")):
        real_iad(Source(root=root, categories=("zipper",)))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"image_path": "OK/none.jpg"}, "{root}/realiad_1024/zipper/OK/none.jpg: no such file"),
        ({"image_path": "../../secret.jpg"}, "path '../../secret.jpg' does not stay in {root}/realiad_1024/zipper"),
        ({"image_path": 7}, "'image_path' must be a text, not 7"),
        ({"anomaly_class": None}, "'anomaly_class' must be a text, not None"),
        ({"anomaly_class": "AK", "mask_path": 3.5}, "'mask_path' must be a text, not 3.5"),
        ({"anomaly_class": "AK", "mask_path": "m.png"}, "{root}/realiad_1024/zipper/m.png: no such file"),
    ],
)
def test_a_wrong_row_is_named(root: Path, damage: dict[str, Any], message: str):
    row = _row("zipper", 9, 1, "OK", False)
    file = _write(root, "zipper", [], [row | damage])
    with pytest.raises(DataError, match=re.escape(f"{file}, test[0]: {message.format(root=root)}") + "$"):
        real_iad(Source(root=root))
    file = _write(root, "zipper", [row], [row])
    again = "test[0]: zipper/OK/S0009/zipper_0009_OK_C1_20230922135227 was already listed in train[0]"
    with pytest.raises(DataError, match=re.escape(f"{file}, {again}")):
        real_iad(Source(root=root))


_KEYS = st.sampled_from(["meta", "train", "test", "prefix", "normal_class", "image_path", "anomaly_class", "mask_path"])
_VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["OK", "../x", "a/b"])
_JSON = st.recursive(_VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.fixed_dictionaries({"meta": _JSON, "train": _JSON, "test": _JSON}).map(json.dumps)
    | _JSON.map(json.dumps)
    | st.fixed_dictionaries(
        {
            "meta": st.just({"prefix": "zipper", "normal_class": "OK"}),
            "train": st.lists(st.dictionaries(_KEYS, _VALUES)),
            "test": st.lists(_JSON),
        }
    ).map(json.dumps)
    | st.text()
    | st.binary()
)
def test_whatever_a_json_holds_the_error_names_it(tmp_path: Path, content: str | bytes):
    file = tmp_path / "realiad_jsons" / "zipper.json"
    file.parent.mkdir(exist_ok=True)
    (tmp_path / "realiad_1024" / "zipper").mkdir(parents=True, exist_ok=True)
    file.write_bytes(content if isinstance(content, bytes) else content.encode(errors="surrogatepass"))
    found = told(lambda: real_iad(Source(root=tmp_path)))
    if isinstance(found, str):
        assert found.startswith(str(file))
    else:
        assert not any(found.parts.values())


@pytest.mark.slow
def test_150000_images_are_listed_within_500_mb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for product in range(30):
        category, train, test = f"product_{product:02d}", [], []
        for specimen in range(1000):
            code = "OK" if specimen < 660 else "BX"
            rows = [_row(category, specimen, view, code, code != "OK") for view in range(1, 6)]
            (train if specimen < 330 else test).extend(rows)
            folder = (tmp_path / "realiad_1024" / category / rows[0]["image_path"]).parent
            folder.mkdir(parents=True)
            for row in rows:
                for path in filter(None, (row["image_path"], row["mask_path"])):
                    (folder / Path(path).name).touch()
        _write(tmp_path, category, train, test)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("an image was opened")

    monkeypatch.setattr(Image, "open", refuse)
    tracemalloc.start()
    data = opened("real_iad", tmp_path, PUBLISHED)
    listed = {part: len(data.split(part)) for part in ("train", "val", "test")}
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert listed == {"train": 39_600, "val": 9_900, "test": 100_500}
    assert peak < 500e6
