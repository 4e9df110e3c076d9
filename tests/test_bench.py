"""The benchmark against TRL: both compute the same loss and gradient, and what is made of their seconds."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import bench
import comparison
import numpy as np
import pytest
import qwen3b
import torch
from cases import Case, Layout, Work, small_cases
from peers import Gradient, Peer, PeerError, moved

from adfm.models import tiny

TIMES = {"rollout": 1.0, "reward": 0.0, "reference": 0.0, "update": 2.0, "whole": 3.0}


@pytest.fixture
def trl() -> None:
    pytest.importorskip("trl", reason="needs TRL, from the extra `bench`")


@pytest.fixture
def case() -> Case:
    (case,) = small_cases(["W1"], [8])
    return replace(case, workload=replace(case.workload, prompts=2, group_size=4, completion_tokens=6))


@pytest.mark.slow
@pytest.mark.parametrize("beta", [0.0, 0.04])
@pytest.mark.usefixtures("trl")
def test_peers_agree_and_step(case: Case, beta: float, tmp_path: Path) -> None:
    seen = bench.measure(Work(case, tmp_path, 2), beta, case.layouts[0], 1)
    assert max(seen["check"].values()) < 1e-4
    assert ("reference" in seen["check"]) == (beta > 0)
    for kind in ("adfm", "adfm_warm", "trl"):
        (step,) = seen[kind]
        assert step["whole"] >= step["rollout"] + step["update"] + step["reference"] > 0
        assert (step["reference"] > 1e-3) == (beta > 0)
    for name in ("adfm_memory", "trl_memory"):
        assert 0 < seen[name]["before"] < seen[name]["peak"]
    assert seen["trl_settings"]["generation"]["min_new_tokens"] == 6
    assert "path" not in seen["adfm_settings"]["model"]


@pytest.mark.slow
@pytest.mark.usefixtures("trl")
@pytest.mark.parametrize("lora", [True, False])
def test_the_large_preset_goes_the_same_way_small(case: Case, lora: bool, tmp_path: Path) -> None:
    checkpoint = qwen3b.write(tmp_path / "checkpoint", shrunk=True)
    large = replace(case, name="small", checkpoint=checkpoint, preset="qwen3b", dtype="bfloat16", lora=lora)
    work = Work(large, tmp_path / "images", 1)
    with Peer("adfm_step.py", work.adfm(0.0)) as adfm:
        assert adfm.step(work.samples[0]).whole > 0
        assert adfm.described["model"]["dtype"] == "bfloat16"
        assert (adfm.described["model"]["lora"] is not None) == lora
    with Peer("trl_step.py", work.trl(0.0, Layout(rows=8))) as trl:
        assert trl.step().whole > 0
        assert trl.described["bf16"]


def test_layer_parameters_are_those_of_the_layers(tmp_path: Path) -> None:
    embedded = qwen3b.layer_parameters(tiny.folder())
    attention = 160 * 160 + 160 + 2 * (160 * 80 + 80) + 160 * 160  # q, k and v with biases, o without
    assert embedded == 4 * (attention + 3 * 160 * 384 + 2 * 160)


def test_both_are_asked_the_same(case: Case, tmp_path: Path) -> None:
    work = Work(case, tmp_path, 2)
    first, second = (step[0] for step in work.prompts)
    assert first["images"] == [work.samples[0][0].image]
    assert first["images"] != second["images"]
    assert len(set(first["rewards"])) == case.workload.group_size


def test_a_peer_that_cannot_be_built_says_why(case: Case, tmp_path: Path) -> None:
    work = Work(replace(case, checkpoint=tmp_path / "nowhere"), tmp_path / "images", 1)
    with pytest.raises(PeerError, match="nowhere"):
        Peer("adfm_step.py", work.adfm(0.0))


def test_moved_weights_come_back() -> None:
    layer = torch.nn.Linear(3, 2)
    before = [weight.detach().clone() for weight in layer.parameters()]
    with moved(list(layer.named_parameters())):
        assert not any(torch.equal(*pair) for pair in zip(before, layer.parameters(), strict=True))
    assert all(torch.equal(*pair) for pair in zip(before, layer.parameters(), strict=True))


def gradient(loss: float, **by_name: list[float]) -> Gradient:
    arrays = {name: np.array(numbers) for name, numbers in by_name.items()}
    return Gradient(loss=loss, by_name=arrays, reference_logprob=np.zeros(2), prompt_tokens=[[1]])


def test_a_difference_in_one_small_parameter_is_seen() -> None:
    ours, theirs = gradient(1.0, large=[1e3], small=[1e-3]), gradient(1.0, large=[1e3], small=[1.1e-3])
    differences = bench.compared(ours, theirs)
    assert differences["loss"] == 0
    assert differences["gradient"] == pytest.approx(0.1 / 1.1)
    with pytest.raises(SystemExit, match="different weights"):
        bench.compared(ours, gradient(1.0, large=[1e3]))


class Told:
    """A peer that answers every check alike."""

    def __init__(self, answer: Gradient) -> None:
        self.answer = answer

    def check(self, *_: Any) -> Gradient:
        return self.answer


def test_nothing_is_timed_when_the_peers_disagree(case: Case, tmp_path: Path) -> None:
    work = Work(case, tmp_path, 1)
    ours: Any = Told(gradient(1.0, weight=[1.0]))
    theirs: Any = Told(gradient(1.002, weight=[1.0]))
    with pytest.raises(SystemExit, match="disagree"):
        bench.check_equal(work, ours, theirs)
    assert bench.check_equal(work, ours, ours)["loss"] == 0


def entry(name: str, seconds: float) -> dict[str, Any]:
    slow = {part: seconds * value for part, value in TIMES.items()}
    known = {
        "case": name,
        "beta": 0.0,
        "workload": {"prompts": 2, "group_size": 4, "completion_tokens": 5},
        "prompt_tokens": 10,
        "layer_parameters": 100,
        "lora": True,
        "adfm": [TIMES, TIMES, {**TIMES, "whole": 90.0}],
        "adfm_warm": [TIMES],
        "trl": [slow],
        "adfm_memory": {"before": 1.0, "peak": 10.0},
        "trl_memory": {"before": 2.0, "peak": 40.0},
        "check": {"loss": 0.0, "gradient": 1e-6},
        "machine": {
            "gpus": ["NVIDIA H200"],
            "processor": "any",
            "threads": 2,
            "date": "2026-01-01",
            "packages": dict.fromkeys(("torch", "transformers", "trl", "deepspeed"), "1"),
        },
    }
    return known | comparison.summary(known)


def test_medians_ratios_and_rates() -> None:
    made = entry("W1", 4.0)
    assert made["medians"]["adfm"]["whole"] == 3.0
    assert made["ratios"] == {"whole": 4.0, "rollout": 4.0, "update": 4.0, "whole_warm": 4.0, "memory": 0.25}
    assert made["rates"]["tokens_per_second"] == 8 * (10 + 5) / 3
    assert made["rates"]["completion_tokens_per_second"] == 8 * 5 / 3
    # LoRA: 4 operations for each of 100 weights and 2 x 10 + 8 x 5 tokens, in 2 seconds
    assert made["rates"]["update_operations_per_second"] == 4 * 100 * 60 / 2
    assert made["rates"]["update_mfu"] == 4 * 100 * 60 / 2 / 989e12


def test_results_and_tables(tmp_path: Path) -> None:
    results, readme = tmp_path / "results.json", tmp_path / "README.md"
    readme.write_text(f"before\n{comparison.BEGIN}\nold\n{comparison.END}\nafter\n")
    assert "not measured" in comparison.tables(results)
    comparison.keep(results, entry("W1", 3.0))
    comparison.keep(results, entry("W1", 4.0))
    comparison.keep(results, entry("3B LoRA", 5.0))
    assert [known["case"] for known in json.loads(results.read_text())] == ["3B LoRA", "W1"]
    comparison.write_tables(results, readme)
    text = readme.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert "| **4.0** | 2.5 |" in text
    assert "| 3B full |  | not measured |" in text
    assert "NVIDIA H200" in text
    with pytest.raises(ValueError, match="go between"):
        comparison.write_tables(results, results)


def test_images_are_new_at_every_step(case: Case, tmp_path: Path) -> None:
    workload = replace(case.workload, references=2)
    work = Work(replace(case, workload=workload), tmp_path, 2)
    shown = [path for step in work.prompts for prompt in step for path in prompt["images"]]
    assert len({path.read_bytes() for path in shown}) == 2 * workload.prompts * 3
    assert asdict(workload)["references"] == 2
