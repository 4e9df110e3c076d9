"""The order of samples, and their balance."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from adfm.config.compose import build, check, compose
from adfm.data.order import EpochOrder, Order, WeightedOrder, balanced
from adfm.errors import ConfigError
from adfm.grpo.collect import PromptStream
from adfm.types import Sample


def _samples(labels: str, dataset: str | None = None) -> list[Sample]:
    attributes = {} if dataset is None else {"dataset": dataset}
    return [
        Sample(
            id=f"{dataset or ''}{place}",
            image=Path("x.png"),
            stated_size=(56, 56),
            category="bolt",
            anomalous=label == "a",
            attributes=attributes,
        )
        for place, label in enumerate(labels)
    ]


def test_the_rarer_label_is_repeated_in_order() -> None:
    assert [sample.id for sample in balanced(_samples("nanannn"))] == [*"0123456", "1", "3", "1"]
    assert [sample.id for sample in balanced(_samples("aan"))] == [*"012", "2"]


def test_what_is_balanced_or_has_one_label_stays() -> None:
    for labels in ("", "nnn", "aa", "anna"):
        assert balanced(_samples(labels)) == _samples(labels)


MIXED = [*_samples("nnnnna", "tiles"), *_samples("an", "drawn"), *_samples("nnn", "nuts")]


def _met(order: Order, samples: list[Sample], places: range) -> list[Sample]:
    return [samples[order[place]] for place in places]


def _counts(order: Order, samples: list[Sample], places: range) -> Counter:
    return Counter(str(sample.attributes["dataset"]) for sample in _met(order, samples, places))


def test_every_epoch_has_all_samples_in_an_order_of_its_own() -> None:
    order = EpochOrder(50, seed=0)
    epochs = [[order[place] for place in range(start, start + 50)] for start in (0, 50)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(50))
    assert epochs[0] != epochs[1]


def test_weights_are_met_exactly_in_every_round() -> None:
    order = WeightedOrder(MIXED, seed=0, weights={"tiles": 3, "nuts": 0.5})  # 3 : 1 : 0.5 is 6 : 2 : 1
    assert order.length == 9
    for turn in range(20):
        assert _counts(order, MIXED, range(9 * turn, 9 * turn + 9)) == {"tiles": 6, "drawn": 2, "nuts": 1}


def test_data_sets_weigh_the_same_unless_told() -> None:
    order = WeightedOrder(MIXED, seed=0)
    assert _counts(order, MIXED, range(300)) == {"tiles": 100, "drawn": 100, "nuts": 100}


def test_within_a_share_all_are_met_equally_often() -> None:
    order = WeightedOrder(MIXED, seed=0, weights={"tiles": 3, "nuts": 0.5})
    times = Counter(sample.id for sample in _met(order, MIXED, range(9 * 6)))  # 36 tiles, 12 drawn, 6 nuts
    assert times == {
        **{f"tiles{place}": 6 for place in range(6)},
        **{f"drawn{place}": 6 for place in range(2)},
        **{f"nuts{place}": 2 for place in range(3)},
    }


def test_half_of_each_data_set_are_normals_where_it_has_both_labels() -> None:
    order = WeightedOrder(MIXED, seed=0, weights={"nuts": 2}, balanced=True)  # 1 : 1 : 2; eighths: 1+1, 1+1, 4
    assert order.length == 8
    for turn in range(10):
        met = _met(order, MIXED, range(8 * turn, 8 * turn + 8))
        assert Counter((sample.attributes["dataset"], sample.anomalous) for sample in met) == {
            ("tiles", False): 1,
            ("tiles", True): 1,
            ("drawn", False): 1,
            ("drawn", True): 1,
            ("nuts", False): 4,
        }


def test_one_data_set_is_balanced_pair_by_pair() -> None:
    samples = _samples("nnnnnnna")
    order = WeightedOrder(samples, seed=3, balanced=True)
    for pair in range(30):
        assert {sample.anomalous for sample in _met(order, samples, range(2 * pair, 2 * pair + 2))} == {False, True}
    assert Counter(sample.id for sample in _met(order, samples, range(14))) == {**dict.fromkeys("0123456", 1), "7": 7}


def test_the_seed_decides_the_order() -> None:
    def row(seed: int) -> list[int]:
        order = WeightedOrder(MIXED, seed=seed, balanced=True)
        return [order[place] for place in range(60)]

    assert row(0) == row(0) != row(1)


def _stream(order: Order, *, rank: int = 0, world_size: int = 1, per_step: int = 6) -> PromptStream:
    config = compose("train")
    template, frames = build(config.reasoning), build(config.model.frames)
    given = {"per_step": per_step, "seed": 0, "rank": rank, "world_size": world_size, "order": order}
    return PromptStream(MIXED, template, frames, **given)


def test_a_step_is_the_same_for_any_number_of_ranks_and_after_a_resume() -> None:
    def weighted() -> WeightedOrder:
        return WeightedOrder(MIXED, seed=0, weights={"tiles": 3, "nuts": 0.5}, balanced=True)

    whole = _stream(weighted())
    steps = [[prompt.id for prompt in whole.batch(step)] for step in range(8)]
    for world_size in (2, 3, 6):
        for step in (7, 0, 3):  # each of a new order, as after a resume there
            shares = [_stream(weighted(), rank=rank, world_size=world_size).batch(step) for rank in range(world_size)]
            together = [shares[place % world_size][place // world_size].id for place in range(6)]
            assert together == steps[step]


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"bolts": 1}, "sampling.weights.bolts: no such data set with training samples; there are drawn, nuts, tiles"),
        ({"nuts": 0}, "sampling.weights.nuts is 0; it must be above 0, or leave the data set out"),
        ({"nuts": float("nan")}, "sampling.weights.nuts is nan; it must be above 0"),
        ({"nuts": "many"}, "sampling.weights.nuts is 'many'; it must be above 0"),
        ({"nuts": 0.123457}, "sampling.weights: their ratios are too fine; use small whole numbers, as 3 and 1"),
    ],
)
def test_weights_that_cannot_be_met_are_refused(weights: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        WeightedOrder(MIXED, seed=0, weights=weights)


def test_weights_need_a_mixture_and_samples() -> None:
    with pytest.raises(ConfigError, match="there are none, for dataset is not a mixture"):
        WeightedOrder(_samples("na"), seed=0, weights={"tiles": 2})
    with pytest.raises(ConfigError, match="training part is empty"):
        WeightedOrder([], seed=0)


def test_sampling_is_chosen_by_config() -> None:
    config = compose("train", ["sampling=weighted", "+sampling.weights.tiles=3", "sampling.balanced=true"])
    check(config)
    order = build(config.sampling)(MIXED, seed=0)
    assert _counts(order, MIXED, range(10)) == {"tiles": 6, "drawn": 2, "nuts": 2}
