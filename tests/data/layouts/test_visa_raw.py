from __future__ import annotations

import re
from pathlib import Path

import pytest
from data_support import opened
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trees import counts, draw, samples

from adfm.data.benchmark import Source
from adfm.data.layouts.visa_raw import visa_raw
from adfm.errors import ConfigError, DataError

HEADER = "object,split,label,image,mask"
NORMAL = "pcb1/Data/Images/Normal"
ANOMALY = "pcb1,test,anomaly,pcb1/Data/Images/Anomaly/000.JPG,pcb1/Data/Masks/Anomaly/000.png"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Of `pcb1`, 5 normals to train and 1 to test, and an anomaly whose mask holds 0 and 1; one `pipe_fryum`."""
    rows = [HEADER]
    for place in range(6):
        draw(tmp_path / NORMAL / f"{place:04d}.JPG")
        rows.append(f"pcb1,{'train' if place < 5 else 'test'},normal,{NORMAL}/{place:04d}.JPG,")
    draw(tmp_path / "pcb1/Data/Images/Anomaly/000.JPG")
    draw(tmp_path / "pcb1/Data/Masks/Anomaly/000.png", (6, 4, 20, 10), value=1)
    draw(tmp_path / "pipe_fryum/Data/Images/Normal/000.JPG")
    _table(tmp_path, *rows, ANOMALY, "pipe_fryum,train,normal,pipe_fryum/Data/Images/Normal/000.JPG,")
    _table(tmp_path, rows[0], rows[1], ANOMALY.replace("test", "train"), rows[6], name="2cls_fewshot")
    return tmp_path


def _table(root: Path, *rows: str, name: str = "1cls") -> Path:
    table = root / "split_csv" / f"{name}.csv"
    table.parent.mkdir(exist_ok=True)
    table.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return table


def test_one_class(root: Path):
    assert counts(opened("visa_raw", root, "dataset/split=published")) == {
        "train": {("pcb1", None): 4, ("pipe fryum", None): 1},
        "val": {("pcb1", None): 1},
        "test": {("pcb1", None): 1, ("pcb1", "defect"): 1},
    }


def test_another_table_and_one_category(root: Path):
    data = opened(
        "visa_raw", root, "dataset/split=published", "dataset.category=pcb1", "dataset.layout.split_csv=2cls_fewshot"
    )
    assert counts(data)["train"] == {("pcb1", None): 1, ("pcb1", "defect"): 1}
    with pytest.raises(ConfigError, match=re.escape(f"dataset.category=pcb9: not in {root}, which has pcb1, pipe_fry")):
        opened("visa_raw", root, "dataset.category=pcb9").split("train")


def test_every_value_of_a_mask_but_0_is_defect(root: Path):
    sample = samples(opened("visa_raw", root, "dataset/split=published"))["pcb1/Data/Images/Anomaly/000"]
    assert sample.boxes == ((6.0, 4.0, 20.0, 10.0),)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (ANOMALY.replace("pcb1/Data/Images", "/etc"), "path '/etc/Anomaly/000.JPG' does not stay in {root}"),
        (ANOMALY.replace("pcb1/Data/Masks", "../masks"), "path '../masks/Anomaly/000.png' does not stay in {root}"),
        (f"pcb1,test,normal,{NORMAL}/0009.JPG,", "{root}/" + NORMAL + "/0009.JPG: no such image"),
        (f"pcb1,test,normal,{NORMAL}/0000.JPG,", NORMAL + "/0000 is already in line 2"),
        (ANOMALY.replace("test", "val"), "split is 'val', not train or test"),
        (ANOMALY.replace("anomaly", "bad"), "label is 'bad', not normal or anomaly"),
        ("pcb1,test,anomaly", "label is 'anomaly' but mask is ''"),
    ],
)
def test_a_row_that_is_wrong_is_named(root: Path, row: str, reason: str):
    table = _table(root, HEADER, f"pcb1,train,normal,{NORMAL}/0000.JPG,", row)
    with pytest.raises(DataError, match=re.escape(f"{table}, line 3: {reason.format(root=root)}")):
        opened("visa_raw", root).split("train")


def test_a_table_that_is_none_is_named(root: Path):
    table = _table(root, "object,split,image", "pcb1,train,a.JPG")
    lacks = f"{table}: lacks column label, mask; needs object, split, label, image, mask"
    with pytest.raises(DataError, match=re.escape(lacks)):
        opened("visa_raw", root).split("train")
    table.write_bytes(HEADER.encode() + b"\n\xff\xfe")
    with pytest.raises(DataError, match=re.escape(f"{table}: is not a CSV file in UTF-8 ('utf-8' codec can't decode")):
        opened("visa_raw", root).split("train")
    table.unlink()
    gone = f"{table}: cannot be read (No such file or directory); set dataset.layout.split_csv to the name of a file"
    with pytest.raises(DataError, match=re.escape(gone)):
        opened("visa_raw", root).split("train")


@given(text=st.lists(st.text(alphabet=st.sampled_from('",\n\r\0./aé') | st.characters()), max_size=12).map(",".join))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_table_brings_a_raw_traceback(root: Path, text: str):
    table = root / "split_csv" / "1cls.csv"
    table.write_text(f"{HEADER}\npcb1,train,normal,{text},\n{text}", encoding="utf-8", errors="surrogatepass")
    with pytest.raises(DataError, match=re.escape(str(root))):
        visa_raw(Source(root=root))
