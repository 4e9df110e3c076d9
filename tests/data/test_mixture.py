"""Several data sets as one."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from PIL import Image

from adfm.config.compose import build, check, compose
from adfm.config.run_folder import identity
from adfm.data.mixture import Mixture
from adfm.errors import ConfigError, DataError
from adfm.evaluation import metrics
from adfm.evaluation.prediction import Prediction, labels
from adfm.types import Dataset

SIZES = {"tiles": {"train": 3, "test": 2}, "nuts": {"train": 2, "val": 1}}


@pytest.fixture
def roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Two manifests with ids in common."""
    monkeypatch.setenv("ADFM_CACHE", str(tmp_path / "cache"))
    for number, (name, parts) in enumerate(SIZES.items()):
        (tmp_path / name).mkdir()
        Image.new("L", (16, 16), 40 * number).save(tmp_path / name / "x.png")
        for part, count in parts.items():
            rows = [
                {"id": f"{part}{row}", "image": "x.png", "category": "c", "label": row % 2, "attributes": {"a": 1}}
                for row in range(count)
            ]
            (tmp_path / name / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {name: tmp_path / name for name in SIZES}


def _overrides(roots: dict[str, Path]) -> list[str]:
    return [
        "dataset=mixture",
        *(f"+dataset@dataset.datasets.{name}=manifest" for name in roots),
        *(f"dataset.datasets.{name}.root={root}" for name, root in roots.items()),
    ]


def _opened(roots: dict[str, Path]) -> Dataset:
    config = compose("data", _overrides(roots))
    check(config)
    return build(config.dataset)


def test_parts_are_joined_and_samples_know_where_they_are_from(roots: dict[str, Path]):
    data = _opened(roots)
    assert isinstance(data, Dataset)
    assert {part: [sample.id for sample in data.split(part)] for part in ("train", "val", "test")} == {
        "train": ["tiles/train0", "tiles/train1", "tiles/train2", "nuts/train0", "nuts/train1"],
        "val": ["nuts/val0"],
        "test": ["tiles/test0", "tiles/test1"],
    }
    sample = data.split("train")[3]
    assert sample.attributes == {"a": 1, "dataset": "nuts"}
    assert sample.image == roots["nuts"] / "x.png"
    assert data.split("train") is data.split("train")


def test_a_mixture_composes_from_a_file_of_ones_own(roots: dict[str, Path], tmp_path: Path):
    folder = tmp_path / "conf" / "dataset"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text(
        "defaults: [mixture, /dataset@datasets.tiles: manifest, /dataset@datasets.drawn: synthetic, _self_]\n"
        f"datasets: {{tiles: {{root: {roots['tiles']}}}, drawn: {{train: 4}}}}\n"
    )
    config = compose("data", [f"hydra.searchpath=[{tmp_path / 'conf'}]", "dataset=mine"])
    check(config)
    assert build(config.dataset).datasets["drawn"].counts["train"] == 4
    assert config.dataset.datasets.tiles.root == str(roots["tiles"])


def test_the_fingerprint_follows_names_and_content_but_not_the_place(roots: dict[str, Path], tmp_path: Path):
    before = _opened(roots).fingerprint()
    moved = tmp_path / "moved"
    roots["tiles"].rename(moved)
    assert _opened({**roots, "tiles": moved}).fingerprint() == before
    assert _opened({"slabs": moved, "nuts": roots["nuts"]}).fingerprint() != before
    Image.new("L", (16, 16), 200).save(moved / "x.png")
    assert _opened({**roots, "tiles": moved}).fingerprint() != before


def test_the_identity_of_a_run_does_not_know_the_place(roots: dict[str, Path]):
    def run(*overrides: str) -> str:
        plain = OmegaConf.to_container(compose("train", [*_overrides(roots), *overrides]), resolve=True)
        return identity(plain, "c", "d")  # pyright: ignore[reportArgumentType]

    assert run("dataset.datasets.tiles.root=elsewhere", "dataset.datasets.tiles.manifest=x.csv") == run()
    assert (
        len({run(), run("dataset.datasets.tiles.name=slabs"), run("sampling=weighted"), run("sampling=balanced")}) == 4
    )


def test_tables_have_a_row_for_each_data_set(roots: dict[str, Path]):
    samples = _opened(roots).split("train")
    predictions = [Prediction(**labels(sample), predicted=sample.anomalous, score=0.0) for sample in samples]
    found = metrics.table(predictions, resamples=0)["dataset"]
    assert list(found) == ["nuts", "tiles"]
    assert found["tiles"]["balanced_accuracy"]["value"] == 1.0
    assert Counter(one.attributes["dataset"] for one in predictions) == {"tiles": 3, "nuts": 2}


def test_what_is_wrong_is_named(roots: dict[str, Path]):
    with pytest.raises(ConfigError, match=re.escape("dataset.datasets is empty; add some, as in +dataset@dataset.")):
        Mixture({})
    with pytest.raises(DataError, match="no part 'dev'"):
        _opened(roots).split("dev")
    with pytest.raises(ConfigError, match=re.escape("dataset.datasets.nuts: has no _target_, so nothing can be built")):
        check(compose("train", ["dataset=mixture", "+dataset.datasets.nuts.root=x"]))


def test_what_a_data_set_leaves_out_is_told(roots: dict[str, Path]):
    class Picky(Mixture):
        excluded = {"7": "mask is empty"}  # noqa: RUF012

    assert Mixture({"tiles": Picky({"a": _opened(roots)})}).excluded == {"tiles/7": "mask is empty"}
