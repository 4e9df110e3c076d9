from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from skimage import data as pictures

from adfm.data import leaks as module
from adfm.data import likeness
from adfm.data.images import read_image
from adfm.data.kept import Training, store, training
from adfm.data.leaks import (
    Leak,
    Leaks,
    evaluated_names,
    guard,
    guard_evaluation,
    guard_run,
    in_domain,
    leaf_names,
    leaks,
    training_label,
)
from adfm.data.likeness import alike, perceptual_hash, similar_pairs, standardised, thumbnail
from adfm.data.mixture import Mixture
from adfm.data.splits import clusters, grouped_split
from adfm.data.synthetic import Synthetic
from adfm.errors import DataError
from adfm.types import Sample


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADFM_CACHE", str(tmp_path / "cache"))


def _image(path: Path, seed: int, noise: float = 0.0) -> Path:
    pixels = np.random.default_rng(seed).uniform(0, 255, (64, 64))
    pixels += np.random.default_rng(99).normal(0, noise, (64, 64)) if noise else 0
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
    return path


def _sample(path: Path, name: str | None = None) -> Sample:
    return Sample(id=name or path.stem, image=path, category="part", anomalous=False)


def _view(path: Path) -> np.ndarray:
    return standardised(thumbnail(read_image(path)))


def _kinds(first: Path, second: Path) -> list[str]:
    return [leak.kind for leak in leaks({"train": [_sample(first)], "test": [_sample(second)]}).found]


def test_clusters_are_transitive():
    assert clusters(6, [(0, 1), (1, 2), (4, 5)]) == [[0, 1, 2], [3], [4, 5]]
    assert clusters(3, []) == [[0], [1], [2]]


def test_thumbnails_ignore_brightness_and_contrast(tmp_path: Path):
    pixels = np.random.default_rng(0).uniform(0, 100, (64, 64))
    Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "dark.png")
    Image.fromarray((2 * pixels + 40).astype(np.uint8)).save(tmp_path / "bright.png")
    assert _view(tmp_path / "dark.png") @ _view(tmp_path / "bright.png") == pytest.approx(1, abs=2e-3)


def test_an_image_of_one_tone_is_like_no_other(tmp_path: Path):
    Image.new("L", (64, 64), 80).save(tmp_path / "flat.png")
    assert not _view(tmp_path / "flat.png").any()


def test_similar_pairs_find_the_noisy_copy(tmp_path: Path):
    paths = [_image(tmp_path / "a.png", 1), _image(tmp_path / "c.png", 2), _image(tmp_path / "b.png", 1, 4.0)]
    assert similar_pairs(np.array([_view(path) for path in paths]), 0.98) == [(0, 2)]


def test_what_a_clustered_split_compares_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    paths = [_image(tmp_path / "a.png", 1), _image(tmp_path / "c.png", 2), _image(tmp_path / "b.png", 1, 4.0)]
    assert alike(paths, 0.98) == [(0, 2)]
    opened = []
    monkeypatch.setattr(likeness, "read_image", lambda path: opened.append(path) or read_image(path))
    assert alike(paths, 0.98) == [(0, 2)]
    assert opened == []
    paths.append(_image(tmp_path / "d.png", 3))
    assert alike(paths, 0.98) == [(0, 2)]
    assert opened == [paths[3]]
    (kept,) = (tmp_path / "cache").glob("thumbnails*.npz")
    for content in (b"", b"no archive", kept.read_bytes()[:200]):
        kept.write_bytes(content)
        assert alike(paths, 0.98) == [(0, 2)]
    assert len(opened) == 1 + 3 * len(paths)


def test_one_file_one_content_and_one_picture_are_told_apart(tmp_path: Path):
    first, other = _image(tmp_path / "a.png", 1), _image(tmp_path / "c.png", 2)
    (tmp_path / "link.png").symlink_to(first)
    (tmp_path / "copy.png").write_bytes(first.read_bytes())
    Image.open(first).save(tmp_path / "again.bmp")
    assert _kinds(first, tmp_path / "link.png") == ["same file"]
    assert _kinds(first, tmp_path / "copy.png") == ["same bytes"]
    assert _kinds(first, tmp_path / "again.bmp") == ["near-duplicate"]
    assert _kinds(first, other) == []


def test_every_pair_of_parts_is_compared_and_the_surest_come_first(tmp_path: Path):
    first, near, other = (
        _image(tmp_path / "a.png", 1),
        _image(tmp_path / "b.png", 1, 4.0),
        _image(tmp_path / "c.png", 2),
    )
    parts = {"train": [_sample(first), _sample(first, "again")], "val": [_sample(near)], "test": [_sample(other)]}
    parts["test"].append(_sample(first, "theirs"))
    result = leaks(parts)
    assert [(leak.kind, leak.first.id, leak.second.id) for leak in result.found] == [
        ("same file", "a", "theirs"),
        ("near-duplicate", "a", "b"),
        ("near-duplicate", "b", "theirs"),
    ]
    assert result.told().splitlines()[:2] == [
        "leaks between parts: 1 same file, 2 near-duplicate",
        "  same file: a (train) and theirs (test)",
    ]


@pytest.mark.parametrize("change", ["jpeg", "half", "bright", "noise", "colour"])
def test_a_changed_copy_of_a_photograph_is_a_near_duplicate_and_another_photograph_is_not(change: str):
    photograph = Image.fromarray(pictures.camera())
    noise = np.random.default_rng(0).normal(0, 8, (512, 512))
    jpeg = BytesIO()
    photograph.save(jpeg, "jpeg", quality=40)
    changed = {
        "jpeg": Image.open(jpeg),
        "half": photograph.resize((256, 256)),
        "bright": ImageEnhance.Brightness(photograph).enhance(0.8),
        "noise": Image.fromarray((np.asarray(photograph) + noise).clip(0, 255).astype(np.uint8)),
        "colour": photograph.convert("RGB"),
    }[change]
    others = [Image.fromarray(picture) for picture in (pictures.coins(), pictures.moon(), pictures.brick())]
    vectors = likeness.as_vectors([perceptual_hash(image) for image in (photograph, changed, *others)])
    bits = (1 - vectors @ vectors[0]) * likeness.HASH_SIDE**2 / 2
    assert bits[1] <= likeness.NEAR
    assert min(bits[2:]) > 2 * likeness.NEAR


def test_hashes_are_kept_by_content_and_bound_the_work_before_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    first, near = _image(tmp_path / "a.png", 1), _image(tmp_path / "b.png", 1, 4.0)
    parts = {"train": [_sample(first)], "test": [_sample(near)]}
    unseen = leaks(parts, most_unseen=1)
    assert (unseen.found, unseen.unseen) == ([], 2)
    assert "python -m adfm.data also compares the 2 pictures" in unseen.told()
    assert len(leaks(parts).found) == 1
    monkeypatch.setattr(module, "read_image", None)  # the hashes are known now
    first.rename(tmp_path / "moved.png")
    parts["train"] = [_sample(tmp_path / "moved.png")]
    assert len(leaks(parts, most_unseen=0).found) == 1


def test_a_run_stops_or_is_warned_or_looks_for_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    first = _image(tmp_path / "a.png", 1)
    parts = {"train": [_sample(first)], "test": [_sample(first, "b")]}
    guard(parts, "off")
    assert capsys.readouterr().err == ""
    guard(parts, "warn")
    assert "leaks between parts: 1 same file\n  same file: a (train) and b (test)" in capsys.readouterr().err
    with pytest.raises(DataError, match=r"1 same file\n.*\nuse leaks=warn to go on, or a split that keeps them"):
        guard(parts, "error")


class _Parts:
    def __init__(self, sample: Sample, disjoint: bool) -> None:
        self.name, self.sample, self.disjoint = "parts", sample, disjoint

    def split(self, name: str) -> list[Sample]:
        return [] if name == "val" else [self.sample]

    def fingerprint(self) -> str:
        return "0"


def test_a_run_looks_at_its_data_set_unless_its_parts_are_disjoint_by_construction(tmp_path: Path):
    sample = _sample(_image(tmp_path / "a.png", 1))
    with pytest.raises(DataError, match="1 same file"):
        guard_run(_Parts(sample, disjoint=False), "error")
    guard_run(_Parts(sample, disjoint=True), "error")


class _Other(_Parts):
    def __init__(self, sample: Sample, disjoint: bool) -> None:
        super().__init__(sample, disjoint)
        self.name = "other"


class _Trained(_Parts):
    def split(self, name: str) -> list[Sample]:
        return [self.sample] if name == "train" else []


def test_what_is_evaluated_is_compared_with_what_the_run_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    first, near, other = (
        _image(tmp_path / "a.png", 1),
        _image(tmp_path / "b.png", 1, 4.0),
        _image(tmp_path / "c.png", 2),
    )
    evaluated = _Parts(_sample(near), disjoint=False)

    def check(known: Training, mode: str = "warn") -> Leaks:
        found = guard_evaluation(evaluated, "test", [_sample(near), _sample(other)], training=known, mode=mode)
        assert found is not None
        return found

    known = Training(samples=[_sample(first)])
    found = check(known)
    assert [(leak.kind, leak.first.id, leak.second.id) for leak in found.found] == [("near-duplicate", "a", "b")]
    assert "1 near-duplicate\n  near-duplicate: a (training) and b (test)" in capsys.readouterr().err
    with pytest.raises(DataError, match=r"1 near-duplicate\n.*\nuse leaks=warn to go on, or evaluate what it was not"):
        check(known, "error")
    assert guard_evaluation(evaluated, "test", [], training=known, mode="off") is None
    first.unlink()
    found = check(Training(samples=[_sample(first), _sample(other)], gaps=("parts has changed",)))
    assert found.counts == "1 same file"
    assert found.gaps == ("parts has changed", "1 of 2 images of training are gone and were not compared")
    assert "\n  parts has changed\n  1 of 2 images of training are gone" in capsys.readouterr().err


@pytest.mark.parametrize(("gaps", "said"), [((), "its training images are not known"), (("gone",), "gone")])
def test_where_the_training_is_not_known_the_own_train_part_stands_for_it(
    gaps: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    sample = _sample(_image(tmp_path / "a.png", 1))
    unknown = Training(gaps=gaps)

    def label(part: str, *, disjoint: bool = False) -> str:
        found = guard_evaluation(_Parts(sample, disjoint), part, [sample], training=unknown, mode="warn")
        return training_label(None, ["parts"], found)

    compared = f"shown in the train part of parts: 1 same file; {said}; the train part of parts was compared instead"
    assert label("test") == f"not known what it was trained on; {compared}"
    assert said in capsys.readouterr().err
    assert label("train") == f"not known what it was trained on; {said}; none were compared"
    assert label("test", disjoint=True) == "not known what it was trained on"


def test_the_training_samples_of_a_run_are_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    drawn = Synthetic(tmp_path / "images", train=3, val=1, test=1)
    store(Mixture({"a": drawn}), tmp_path / "mixed")
    store(drawn, tmp_path / "drawn")
    assert not (tmp_path / "images").exists()
    assert [file.name for file in (tmp_path / "drawn").iterdir()] == ["about.json"]

    def never() -> Mixture:
        raise AssertionError("it need not be built")

    assert training(tmp_path / "drawn", never) == training(tmp_path / "mixed", never) == Training(samples=[])
    (tmp_path / "root").mkdir()
    sample = _sample(_image(tmp_path / "root" / "a.png", 1))
    store(_Trained(sample, disjoint=False), tmp_path / "whole")
    assert training(tmp_path / "whole", never) == Training(samples=[sample])
    (tmp_path / "root").rename(tmp_path / "moved")
    (gap,) = training(tmp_path / "whole", never).gaps
    assert gap.startswith(f"the training images of {tmp_path.name} are not known ({tmp_path / 'root'}: no such folder")
    (gap,) = training(tmp_path / "nothing", never).gaps
    assert f"({tmp_path / 'nothing'} cannot be read, FileNotFoundError" in gap


class _Many(_Parts):
    def __init__(self, samples: list[Sample], fingerprint: str = "0") -> None:
        super().__init__(samples[0], disjoint=False)
        self.samples, self.stated = samples, fingerprint

    def split(self, name: str) -> list[Sample]:
        return self.samples if name == "train" else []

    def fingerprint(self) -> str:
        if not self.stated:
            raise DataError("a file is gone")
        return self.stated


def test_the_training_samples_of_a_run_that_kept_ids_are_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("adfm.data.kept.STORED_ROWS", 0)
    samples = [_sample(_image(tmp_path / f"{name}.png", at)) for at, name in enumerate("abc")]
    kept = tmp_path / "run" / "data"
    store(_Many(samples[:2]), kept)
    assert training(kept, lambda: _Many(samples)) == Training(samples=samples[:2])
    for fingerprint in ("1", ""):
        changed = training(kept, lambda fingerprint=fingerprint: _Many(samples[1:], fingerprint))
        assert changed.samples == samples[1:2]
        assert changed.gaps == (
            "parts has changed since the training",
            "1 of 2 training samples are no longer in parts",
        )

    def gone() -> _Many:
        raise DataError("/data/parts: no such folder;\nset dataset.root")

    reason = "/data/parts: no such folder; set dataset.root"
    assert training(kept, gone) == Training(gaps=(f"the training images of run are not known ({reason})",))


def test_trainings_add_up(tmp_path: Path):
    sample = _sample(tmp_path / "a.png")
    known, unknown = Training(samples=[sample], gaps=("x",)), Training(gaps=("y",))
    assert Training() + unknown == unknown
    assert known + unknown == Training(samples=[sample], gaps=("x", "y"))
    assert (known + known).samples == [sample, sample]


def test_a_table_says_what_was_trained_on(tmp_path: Path):
    sample = _sample(tmp_path / "a.png")
    leak = Leak(kind="same bytes", first=sample, second=sample, parts=("training", "test"))
    assert training_label(None, ["VisA"]) == training_label([], ["VisA"]) == "not known what it was trained on"
    assert training_label(["btad", "mmad"], ["VisA"]) == "in-domain: mmad"
    assert training_label(["btad", "mvtec"], ["VisA"], Leaks(found=[])) == "no: btad, mvtec"
    assert training_label(["btad"], ["VisA"], Leaks(found=[leak, leak])) == "no: btad; shown in training: 2 same bytes"
    assert training_label(["visa"], ["btad", "VisA"]) == "in-domain: visa"
    data = _Parts(sample, disjoint=False)
    mixed = Mixture({"x": Mixture({"y": data}), "z": _Other(sample, disjoint=False)})
    assert leaf_names(mixed) == ["parts", "other"]
    assert evaluated_names(data, [sample]) == ["parts"]
    assert evaluated_names(mixed, mixed.split("test")) == ["parts", "other"]
    assert evaluated_names(mixed, mixed.split("test")[1:]) == ["other"]


@pytest.mark.parametrize("source", ["MVTec-AD", "mvtec", "DS-MVTec", "MVTec LOCO", "mvtec_loco", "VisA", "goodsad"])
def test_mmad_and_its_sources_are_one_domain_either_way(source: str):
    assert in_domain("mmad", source)
    assert in_domain(source, "MMAD")


def test_other_sets_are_in_domain_of_themselves_alone():
    assert in_domain("btad", "BTAD")
    assert in_domain("mvtec", "ds_mvtec")
    for train, test in (("visa", "mvtec"), ("mvtec", "mvtec_loco"), ("goodsad", "visa"), ("real_iad", "mmad")):
        assert not in_domain(train, test)
        assert not in_domain(test, train)


def test_grouped_split_keeps_clusters_together_and_types_in_proportion():
    groups = [[0, 1, 2], [3], [4], [5], [6, 7], [8], [9]]
    types = ["good"] * 6 + ["crack"] * 4
    split = grouped_split(groups, types, {"train": 0.5, "test": 0.5}, seed=3)
    assert sorted(split["train"] + split["test"]) == list(range(10))
    for group in groups:
        assert len({part for part, members in split.items() for index in group if index in members}) == 1
    assert [types[index] for index in split["test"]].count("crack") == 2
    assert split == grouped_split(groups, types, {"train": 0.5, "test": 0.5}, seed=3)
