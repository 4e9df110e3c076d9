"""`python -m adfm.calibrate` with a real model, and the calibration as the inspector takes it."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_checkpoints
from omegaconf import OmegaConf
from PIL import Image

from adfm.calibrate import main
from adfm.config.compose import compose
from adfm.errors import ConfigError, DataError
from adfm.inspection import calibrating, calibration, run, sources
from adfm.inspection.inspector import Inspector
from adfm.inspection.sources import Source
from adfm.models import tiny
from adfm.models.card import NAME, read_card
from adfm.team import Team

SHORT = "model.completion_tokens=4"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`good` has 29 random textures and two copies of the first in other tones; `bad` has 6 with a white spot."""
    folder = tmp_path_factory.mktemp("images")
    for number in range(29):
        texture(folder / "good" / f"{number:02}.png", number)
    with Image.open(folder / "good" / "00.png") as first:
        for number, tone in enumerate((0.9, 1.05)):
            first.point([int(value * tone) for value in range(256)]).save(folder / "good" / f"copy{number}.png")
    for number in range(6):
        texture(folder / "bad" / f"{number}.png", 100 + number, spot=True)
    return folder


def texture(path: Path, seed: int, spot: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rough = np.random.default_rng(seed).integers(60, 180, (8, 8), np.uint8)
    picture = Image.fromarray(rough).resize((112, 112), Image.Resampling.BICUBIC)
    if spot:
        picture.paste(255, (40, 40, 72, 72))
    picture.save(path)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Qwen2.5-VL."""
    return tiny_checkpoints.write_qwen2_5_vl(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def checkpoint(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The same without a card, also after a test that wrote one."""
    monkeypatch.setenv("ADFM_CACHE", str(tmp_path / "cache"))
    yield weights
    (weights / NAME).unlink(missing_ok=True)


def inspector(checkpoint: Path, **settings: object) -> Inspector:
    config = compose("calibrate", [f"model.path={checkpoint}", SHORT])
    OmegaConf.resolve(config)
    return Inspector(config.model, **({"score": "direct"} | settings))  # type: ignore[arg-type]


def calibrated(eye: Inspector, normals: list[Source], anomalous: list[Source] | None = None) -> calibration.Calibration:
    """As good as so few images allow."""
    alone = [[place] for place in range(len(normals))]
    return calibrating.calibrate(eye, normals, alone, anomalous or [], max_false_alarm=None, confidence=0.9)


def test_a_command_stores_what_the_inspector_then_uses(
    checkpoint: Path, images: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [f"normals={images / 'good'}", f"model.path={checkpoint}", "max_false_alarm=0.1", "score=direct", SHORT]
    monkeypatch.setattr(sys, "argv", ["adfm.calibrate", *arguments])
    main()
    said = capsys.readouterr().out
    assert said.startswith(
        "31 normal images, of which 29 count as independent: with 95 % confidence at most 10 % of normal images will "
        "score above "
    )
    assert "Warning: near-duplicates count as one, so 31 images are 29." in said
    assert "No probability: normal images alone give none" in said
    assert said.endswith(f"{checkpoint / NAME}\n")

    (entry,) = json.loads((checkpoint / NAME).read_text())["calibration"].values()
    assert entry["threshold"]["independent"] == 29
    assert entry["settings"]["reasoning"]["_target_"].endswith("ThreeStage")
    assert entry["settings"]["decoding"] == {"name": "greedy"}
    eye = inspector(checkpoint)
    normal = eye.inspect(sorted((images / "good").iterdir()))
    assert eye.threshold == max(one.score for one in normal if one.score is not None), "the highest of 29"
    assert {one.predicted for one in normal} == {False}
    for one in eye.inspect(sorted((images / "bad").iterdir())):
        assert one.score is not None
        assert one.predicted is (one.score > eye.threshold)
        assert one.probability is None


def test_another_way_of_scoring_is_refused(checkpoint: Path, images: Path) -> None:
    eye = inspector(checkpoint)
    calibration.store(checkpoint, calibrated(eye, sources.find(images / "bad")), otherwise=eye.card)
    with pytest.raises(ConfigError, match='another way of scoring: score was "direct" and is "answer"'):
        inspector(checkpoint, score="answer")
    with pytest.raises(ConfigError, match='category was "object" and is "screw"'):
        inspector(checkpoint, category="screw")
    assert inspector(checkpoint, category="screw", threshold=None).threshold is None
    assert inspector(checkpoint, category="screw", threshold=3).threshold == 3


def test_other_weights_are_refused(checkpoint: Path, images: Path, tmp_path: Path) -> None:
    eye = inspector(checkpoint)
    other = tiny_checkpoints.write_qwen2_5_vl(tmp_path / "other", seed=1)
    calibration.store(other, calibrated(eye, sources.find(images / "bad")), otherwise=eye.card)
    card = read_card(other)
    assert card is not None
    assert card.reasoning["_target_"].endswith("ThreeStage")
    with pytest.raises(ConfigError, match=r"another way of scoring: weights was \"[0-9a-f]{16}\" and is"):
        inspector(other)


def test_anomalous_images_make_a_probability(checkpoint: Path, images: Path) -> None:
    """A random model may rank either way, so the folder that scores higher plays the anomalous one."""
    eye = inspector(checkpoint)
    folders = [sources.find(images / "good")[:6], sources.find(images / "bad")]
    scores = [calibrating.scores(eye, folder, "images") for folder in folders]
    low, high = (0, 1) if np.mean(scores[0]) < np.mean(scores[1]) else (1, 0)
    found = calibrated(eye, folders[low], folders[high])
    assert found.threshold.value == max(scores[low])
    assert found.missed == sum(score <= max(scores[low]) for score in scores[high])
    assert f"Of 6 anomalous images it misses {found.missed}." in calibrating.told(found)
    assert found.probability is not None
    calibration.store(checkpoint, found, otherwise=eye.card)
    (said,) = inspector(checkpoint).inspect(folders[high][0].path)
    assert said.probability == pytest.approx(found.probability(scores[high][0]), abs=1e-4)
    with pytest.raises(DataError, match="do not score higher than normal ones"):
        calibrated(eye, folders[high], folders[low])


def test_images_that_cannot_be_read_are_named(checkpoint: Path, images: Path, tmp_path: Path) -> None:
    content = (images / "good" / "00.png").read_bytes()
    for name in ("a", "b"):
        (tmp_path / f"{name}.png").write_bytes(content[:900])
    found = [*sources.find(images / "bad"), *sources.find([tmp_path / "a.png", tmp_path / "b.png"])]
    with pytest.raises(
        DataError, match=r"(?s)a\.png: cannot be decoded.*b\.png: cannot be decoded.*leaves no image out"
    ):
        calibrated(inspector(checkpoint), found)
    with pytest.raises(DataError, match=r"[ab]\.png: cannot be decoded"):
        calibrating.independent(found, max_false_alarm=None, confidence=0.95, similarity=0.98)


def test_a_manifest_of_another_category_is_refused(checkpoint: Path, images: Path) -> None:
    screws = [replace(source, category="screw") for source in sources.find(images / "bad")]
    with pytest.raises(ConfigError, match=r"0\.png: its row in the manifest names another category"):
        calibrated(inspector(checkpoint), screws)
    assert calibrated(inspector(checkpoint, category="screw"), screws).settings["category"] == "screw"


def test_a_stored_calibration_judges_no_row_that_asks_in_another_way(
    checkpoint: Path, images: Path, tmp_path: Path
) -> None:
    eye = inspector(checkpoint)
    found = sources.find(images / "bad")[:2]
    calibration.store(checkpoint, calibrated(eye, found), otherwise=eye.card)
    eye = inspector(checkpoint)
    assert eye.threshold is not None
    same = replace(found[0], category="object")
    others = ({"category": "screw"}, {"knowledge": "It is bent."}, {"references": (found[1].path,)})
    for other in (replace(found[1], **changes) for changes in others):  # type: ignore[arg-type]  # of three fields
        with pytest.raises(ConfigError, match=r"1\.png: its row in the manifest names another .*threshold=<number>"):
            eye.inspect_sources([same, other])
        with pytest.raises(ConfigError, match=r"1\.png: its row in the manifest"):
            run.predict(eye, [same, other], tmp_path / "out", batch=1, team=Team(1, lambda: eye))
        assert not (tmp_path / "out").exists()
        assert [one.error for one in inspector(checkpoint, threshold=0.5).inspect_sources([same, other])] == [None] * 2
    assert eye.inspect_sources([same])[0].error is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["normals={images}/good"], "31 normal images count as 29, as some are near-duplicates; they are too few: "),
        (["normals={images}/good", "similarity=null"], "31 normal images are too few: at most 5 % false alarms with "),
        (["normals={images}", "anomalous={images}/bad"], "0.png: is given as normal and as anomalous (6 images are)"),
        (
            ["normals=x", "max_false_alarm=0", "confidence=1", "similarity=2"],
            "max_false_alarm is 0.0; it must be between 0 and 1, or null for the best that is possible\n"
            "confidence is 1.0; it must be between 0 and 1\n"
            "similarity is 2.0; it must be in (0, 1], or null to count every image\n",
        ),
        (["normals=no-such-folder"], "no-such-folder: there is no such file or folder"),
    ],
)
def test_what_cannot_work_is_said_before_a_model_loads(
    arguments: list[str],
    said: str,
    checkpoint: Path,
    images: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(Inspector, "of", lambda *_, **__: pytest.fail("a model was loaded"))
    filled = [argument.format(images=images) for argument in arguments]
    monkeypatch.setattr(sys, "argv", ["adfm.calibrate", f"model.path={checkpoint}", *filled])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err


def test_the_embedded_model_keeps_no_calibration(
    images: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Inspector, "of", lambda *_, **__: pytest.fail("a model was loaded"))
    monkeypatch.setattr(sys, "argv", ["adfm.calibrate", f"normals={images}/good"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert "model.path=tiny: the embedded model is a part of the installed program" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="keeps no calibration; give the export of a run"):
        calibration.home(str(tiny.folder()))
    assert (card := read_card(tiny.folder())) is not None
    assert card.calibration is None


def test_a_checkpoint_of_the_hub_keeps_no_calibration(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=re.escape("model.path=Qwen/Some-VL: is no folder, and a calibration is kept")
    ):
        calibration.home("Qwen/Some-VL")
    assert calibration.home(str(tmp_path)) == tmp_path
