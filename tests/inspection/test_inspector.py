"""What the inspector says about images, wherever they come from and whatever is beside them."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from adfm.config.compose import compose
from adfm.errors import ConfigError
from adfm.inspection import calibration
from adfm.inspection.calibration import Calibration, Probability
from adfm.inspection.checkpoints import settings_of
from adfm.inspection.inspected import Inspected
from adfm.inspection.inspector import Inspector
from adfm.inspection.sources import Source
from adfm.inspection.threshold import Threshold
from adfm.inspection.tiles import Tiling
from adfm.models.card import read_card, write_card

NAMES = ("3.png", "2 broken.png")


@pytest.fixture(scope="module")
def inspector(checkpoint: Path) -> Inspector:
    return Inspector(checkpoint)


def said(one: Inspected) -> tuple[object, ...]:
    return one.text, one.predicted, one.boxes, one.size, one.score and round(one.score, 3)


def test_a_card_says_how_the_model_is_asked(inspector: Inspector) -> None:
    assert inspector.vlm.config.completion_tokens == 12
    assert inspector.defect_types == ("crack", "dent")
    assert inspector.scoring["reasoning"]["question"] == "Anything odd?"
    assert inspector.card.reasoning["question"] == "Anything odd?"


def test_what_is_set_by_hand_counts_more_than_the_card(checkpoint: Path) -> None:
    overrides = ["model.max_pixels=25088", "reasoning.question=Well?", "defect_types=[hole]"]
    config = compose("predict", [f"model.path={checkpoint}", *overrides])
    model, reasoning, types = settings_of(config, ["model.path", *(entry.split("=")[0] for entry in overrides)])
    assert (model.max_pixels, model.frames.max_pixels, model.completion_tokens) == (25088, 25088, 12)
    assert (model.path, reasoning.question, types) == (str(checkpoint), "Well?", ["hole"])
    asked = settings_of(compose("predict", [f"model.path={checkpoint}", "reasoning=single_stage"]), ["reasoning"])[1]
    assert asked._target_.endswith("SingleStage")


def test_a_run_that_is_older_than_cards(checkpoint: Path, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "adfm-00000000"
    exported = run / "export" / "last"
    exported.mkdir(parents=True)
    own = compose("train", ["model.completion_tokens=9", "reasoning.question=Old?"])
    OmegaConf.save(OmegaConf.create(OmegaConf.to_container(own, resolve=True)), run / "config.yaml")
    for name in ("newest", str(run)):
        config = compose("predict", [f"run={name}", f"runs={run.parent}"])
        model, reasoning, types = settings_of(config, ["run"])
        assert (model.path, model.completion_tokens) == (str(exported), 9)
        assert (reasoning.question, types) == ("Old?", [])
    with pytest.raises(ConfigError, match=r"run and model\.path are both set"):
        settings_of(config, ["run", "model.path"])
    with pytest.raises(ConfigError, match="has no export/best yet"):
        settings_of(compose("predict", [f"run={run}", "which=best"]), ["run"])


def test_a_path_an_image_and_an_array_are_the_same(inspector: Inspector, parts: Path) -> None:
    file = parts / "3.png"
    pixels = np.array(Image.open(file))
    found = inspector.inspect([str(file), file, Image.open(file), pixels, np.dstack([pixels] * 3)])
    assert {said(one) for one in found} == {said(found[0])}
    assert [one.name for one in found] == [str(file), str(file), "image 2", "image 3", "image 4"]
    assert [one.path for one in found] == [file, file, None, None, None]
    assert found[0].sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert [said(one) for one in inspector.inspect(pixels)] == [said(found[0])]
    assert inspector.inspect([]) == []


@pytest.mark.parametrize("array", [np.zeros((4, 4)), np.zeros((4, 4, 2), np.uint8), np.zeros(4, np.uint8)])
def test_an_array_that_is_no_image_is_refused(inspector: Inspector, array: np.ndarray) -> None:
    with pytest.raises(TypeError, match="is no image: give uint8 values"):
        inspector.inspect(array)


def test_a_file_that_was_written_anew_is_read_anew(inspector: Inspector, tmp_path: Path) -> None:
    file = tmp_path / "camera.png"
    for size in ((112, 84), (56, 112)):
        Image.new("RGB", size).save(file)
        assert [one.size for one in inspector.inspect(file)] == [size]


def test_broken_images_do_not_touch_the_others(inspector: Inspector, parts: Path, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no image")
    good = [parts / "0.png", parts / "3.png"]
    names = [good[0], parts / "2 broken.png", tmp_path / "text.png", tmp_path / "lost.png", tmp_path, good[1]]
    found = inspector.inspect(names)
    assert [said(one) for one in (found[0], found[-1])] == [said(one) for one in inspector.inspect(good)]
    assert [one.verdict for one in found[1:-1]] == ["error"] * 4
    for one, reason in zip(
        found[1:-1], ("cannot be decoded", "is not an image", "no such image", "cannot"), strict=True
    ):
        assert reason in (one.error or "")
        assert (one.predicted, one.score, one.boxes) == (None, None, ())


def test_a_score_strictly_above_the_threshold_is_anomalous(checkpoint: Path, parts: Path) -> None:
    (one,) = Inspector(checkpoint).inspect(parts / "0.png")
    assert one.score is not None
    verdicts = [
        Inspector(checkpoint, threshold=value).inspect(parts / "0.png")[0].verdict
        for value in (one.score, np.nextafter(one.score, -np.inf))
    ]
    assert verdicts == ["normal", "anomalous"]


def test_what_calibration_stored_is_taken_and_only_for_the_same_way_of_scoring(checkpoint: Path, parts: Path) -> None:
    before = read_card(checkpoint)
    assert before is not None
    plain = Inspector(checkpoint)
    (one,) = plain.inspect(parts / "0.png")
    assert one.score is not None
    made = Threshold(value=one.score - 1, images=59, independent=59, above=0, max_false_alarm=0.05, confidence=0.95)
    curve = Probability(slope=2.0, intercept=-2 * one.score, normal=59, anomalous=9)
    date = "2026-01-01T00:00:00+00:00"
    found = Calibration(threshold=made, probability=curve, settings=plain.scoring, date=date)
    try:
        calibration.store(checkpoint, found, otherwise=plain.card)
        calibrated = Inspector(checkpoint)
        assert calibrated.settings["weights"] == plain.settings["weights"]
        assert calibrated.threshold == one.score - 1
        (again,) = calibrated.inspect(parts / "0.png")
        assert (again.verdict, again.score, again.probability) == ("anomalous", one.score, pytest.approx(0.5))
        with pytest.raises(ConfigError, match=r"category was .* and is"):
            Inspector(checkpoint, category="bolt")
        assert Inspector(checkpoint, category="bolt", threshold=None).threshold is None
    finally:
        write_card(checkpoint, before)


def test_a_large_image_is_the_worst_of_its_tiles(checkpoint: Path, parts: Path, tmp_path: Path) -> None:
    left, right = (Image.open(parts / name) for name in ("0.png", "3.png"))
    both = Image.new("RGB", (224, 84))
    both.paste(left.convert("RGB"), (0, 0))
    both.paste(right.convert("RGB"), (112, 0))
    both.save(tmp_path / "both.png")
    alone = [one.score or 0.0 for one in Inspector(checkpoint).inspect([left.convert("RGB"), right.convert("RGB")])]
    tiled = Inspector(checkpoint, tiles=112)
    tiled._asking = replace(tiled._asking, tiling=Tiling(112, overlap=0.0))  # so that the tiles are these images
    large, small = tiled.inspect([tmp_path / "both.png", parts / "0.png"])
    assert large.score == pytest.approx(max(alone), abs=1e-3)
    assert small.score == pytest.approx(alone[0], abs=1e-3)
    assert (large.size, small.size) == ((224, 84), (112, 84))


def test_references_and_knowledge_are_shown(checkpoint: Path, parts: Path, tmp_path: Path) -> None:
    folder = tmp_path / "normals"
    folder.mkdir()
    Image.new("RGB", (112, 84), (100, 100, 100)).save(folder / "n.png")
    (bare,) = Inspector(checkpoint).inspect(parts / "0.png")
    (shown,) = Inspector(checkpoint, references=folder).inspect(parts / "0.png")
    (told,) = Inspector(checkpoint, knowledge="It is grey.").inspect(parts / "0.png")
    assert shown.references == (folder / "n.png",)
    assert len({one.prompt for one in (bare, shown, told)}) == 3
    assert len({one.score for one in (bare, shown, told)}) == 3
    node = compose("predict", ["reasoning.references=1"]).reasoning
    with pytest.raises(ConfigError, match="shows 1 normal images beside each image, and there are 0; give references="):
        Inspector(checkpoint, reasoning=node).inspect(parts / "0.png")


def test_a_reference_that_is_broken_is_said_of_the_images_that_show_it(checkpoint: Path, parts: Path) -> None:
    node = compose("predict", ["reasoning.references=1"]).reasoning
    inspector = Inspector(checkpoint, reasoning=node)
    shown = {name: Source(path=parts / "0.png", name=name, references=(parts / name,)) for name in NAMES}
    whole, broken = inspector.inspect_sources([shown[name] for name in NAMES])
    assert (whole.error, whole.references) == (None, (parts / "3.png",))
    assert "2 broken.png: cannot be decoded" in (broken.error or "")


def test_several_samples_are_drawn_and_greedy_has_none(checkpoint: Path, parts: Path) -> None:
    (several,) = Inspector(checkpoint, samples=3, seed=1).inspect(parts / "0.png")
    assert len(several.draws) == 3
    assert Inspector(checkpoint).inspect(parts / "0.png")[0].draws == ()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"score": "certain"}, "score='certain'"), ({"masks": "sharp"}, "sharp"), ({"reasoning": "none"}, "none")],
)
def test_what_cannot_be_is_said(checkpoint: Path, wrong: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Inspector(checkpoint, **wrong)  # type: ignore[arg-type]  # texts all
