from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from adfm.config.run_folder import checkpoint_hash
from adfm.errors import ConfigError
from adfm.models.card import NAME, Card, read_card, write_card
from adfm.models.vlm import VLM

MODEL = {"path": "/somewhere", "revision": "main", "min_pixels": 3136, "frames": {"_target_": "x"}, "lora": None}
REASONING = {"_target_": "y", "question": "Riß?", "letters": ["a", "b"]}
CARD = Card.of(MODEL, REASONING, ("crack", "hole"))


def test_a_card_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_card(tmp_path) is None
    for card in (CARD, replace(CARD, calibration={"threshold": 1.5}), replace(CARD, trained_on=("visa", "btad"))):
        write_card(tmp_path, card)
        assert read_card(tmp_path) == card
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_a_card_says_nothing_of_where_the_weights_lay() -> None:
    assert set(CARD.model) == {"min_pixels", "frames", "lora"}
    assert CARD.model_node("/elsewhere") == {**CARD.model, "path": "/elsewhere", "revision": None}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a card"),
        ("[]", "not a card"),
        ("{}", "not a card .*format"),
        ('{"format": 1, "model": {}, "reasoning": {}}', "not a card .*defect_types"),
        ('{"format": 1, "model": {}, "reasoning": {}, "defect_types": [], "colour": 1}', "not a card .*colour"),
        ('{"format": "1", "model": {}, "reasoning": {}, "defect_types": []}', "not a card"),
        ('{"format": 1, "model": [], "reasoning": {}, "defect_types": [], "adfm": "1"}', "must be config nodes"),
        ('{"format": 3, "adfm": "9.0", "weather": "fine"}', r"newer adfm \(9\.0, format 3\); update adfm"),
    ],
)
def test_a_broken_or_newer_card_says_so_and_names_its_file(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / NAME).write_text(text)
    with pytest.raises(ConfigError, match=message) as raised:
        read_card(tmp_path)
    assert str(tmp_path / NAME) in str(raised.value)


def test_a_card_changes_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    before = checkpoint_hash(str(tmp_path), None)
    write_card(tmp_path, CARD)
    assert checkpoint_hash(str(tmp_path), None) == before
    assert json.loads((tmp_path / NAME).read_text())["format"] == 2


def test_a_card_of_the_first_format_says_no_trained_on(tmp_path: Path) -> None:
    write_card(tmp_path, replace(CARD, trained_on=("visa",)))
    values = json.loads((tmp_path / NAME).read_text())
    assert values.pop("trained_on") == ["visa"]
    (tmp_path / NAME).write_text(json.dumps(values | {"format": 1}))
    assert read_card(tmp_path) == CARD


def test_a_saved_model_has_its_card(make_config: Callable, tmp_path: Path) -> None:
    vlm = VLM.load(make_config(), train=False)
    vlm.save(tmp_path / "export", card=CARD)
    assert read_card(tmp_path / "export") == CARD
    vlm.save(tmp_path / "export")
    assert read_card(tmp_path / "export") is None
