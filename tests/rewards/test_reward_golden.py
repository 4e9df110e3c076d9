"""The released rewards, read as released, equal the released code. Sources: tests/golden/rewards.md."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from reading_support import reward, template

from adfm.rewards.file import reward_file
from adfm.rewards.localization import Localization

OPTIONS = {"anomalyr1": ("roam", "single_stage"), "adfm": ("fine_grained", "three_stage")}


def earned_and_expected(source: Path, folder: Path, judge=None) -> list[tuple[dict[str, float], dict[str, float]]]:
    option, reasoning = OPTIONS[source.stem]
    judge = judge or reward(option)
    reward_file(source, folder / "rewards.jsonl", template(reasoning, reading="released"), judge)
    earned = [json.loads(line)["terms"] for line in (folder / "rewards.jsonl").read_text().splitlines()]
    expected = [json.loads(line)["expected"] for line in source.read_text().splitlines()]
    return list(zip(earned, expected, strict=True))


@pytest.mark.parametrize("name", OPTIONS)
def test_released_rewards_equal_the_released_code(name, golden, tmp_path):
    for earned, expected in earned_and_expected(golden / f"{name}.jsonl", tmp_path):
        assert earned == pytest.approx({term: expected[term] for term in earned}, abs=1e-6)


@pytest.mark.parametrize("name", OPTIONS)
def test_released_rewards_equal_the_released_code_on_every_line(name, shared, tmp_path):
    pairs = earned_and_expected(shared / "golden" / f"{name}.jsonl", tmp_path)
    assert len(pairs) == 600
    for earned, expected in pairs:
        assert earned == pytest.approx({term: expected[term] for term in earned}, abs=1e-6)


def test_clipped_localization_equals_the_byte_code(golden, tmp_path):
    judge = reward("fine_grained")
    judge.terms["localization"] = Localization(normalization="clipped")
    for earned, expected in earned_and_expected(golden / "adfm.jsonl", tmp_path, judge):
        assert earned["localization"] == pytest.approx(expected["localization_clipped"], abs=1e-6)
