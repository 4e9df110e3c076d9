import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from fake_run import FakeRun

from adfm.config.compose import build, compose, problems
from adfm.errors import ConfigError
from adfm.tracking.alarms import Alarms
from adfm.tracking.jsonl import JsonLines
from adfm.tracking.watch import DetectionFalls, Event, LowEntropy, NoSpread, ParseFailures, Watch
from adfm.types import StepRecord

FINE: Mapping[str, float] = {"groups/without_spread": 0.4, "entropy": 0.3, "reward/total_mean": 1.2}


def run_steps(run: FakeRun, made: Mapping[int, Mapping[str, float]], **options: Any) -> list[Event]:
    heard: list[Event] = []
    callbacks = [JsonLines(), Alarms(**options, listeners={"test": heard.append})]
    for callback in callbacks:
        callback.before_run(run)
    for step, metrics in made.items():
        for callback in callbacks:
            callback.after_step(StepRecord(step=step, groups=(), metrics=metrics))
    for callback in callbacks:
        callback.after_run()
    return heard


def lines(run: FakeRun) -> list[tuple[Any, ...]]:
    path = run.path / "events.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [(row["step"], row["alarm"], row["state"], row["since"]) for row in rows]


def flat(first: int, last: int, **changed: float) -> dict[int, dict[str, float]]:
    return {
        step: {**FINE, **{name.replace("__", "/"): v for name, v in changed.items()}} for step in range(first, last)
    }


def test_all_groups_without_spread_rings_once_and_recovers(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = FakeRun(run_folder)
    steps = flat(1, 4) | flat(4, 12, groups__without_spread=1.0) | flat(12, 20)
    heard = run_steps(run, steps, steps=3)
    assert lines(run) == [(6, "no_spread", "ringing", 4), (14, "no_spread", "recovered", 12)]
    assert [(event.step, event.state) for event in heard] == [(6, "ringing"), (14, "recovered")]
    shown = capsys.readouterr().err.splitlines()
    assert len(shown) == 2
    assert shown[0].startswith(
        "ALARM no_spread at step 6: 100% of the groups are without spread, since step 4. Try: a higher rollout.temp"
    )
    assert shown[1] == "RECOVERED no_spread at step 14: 40% of the groups are without spread, since step 12."


def test_one_good_step_starts_the_patience_again(run_folder: Path) -> None:
    run = FakeRun(run_folder)
    run_steps(run, flat(1, 3, entropy=0.01) | flat(3, 4) | flat(4, 6, entropy=0.01), steps=3)
    assert lines(run) == []


def test_a_ringing_alarm_rings_again_only_after_it_recovered(run_folder: Path) -> None:
    run = FakeRun(run_folder)
    low = {"entropy": 0.049}
    steps = flat(1, 3, **low) | flat(3, 4) | flat(4, 6, **low) | flat(6, 8) | flat(8, 10, **low)
    run_steps(run, steps, steps=2)
    assert [(step, state) for step, _, state, _ in lines(run)] == [(2, "ringing"), (7, "recovered"), (9, "ringing")]


def test_parse_failures_are_compared_with_their_lowest_mean() -> None:
    judge = ParseFailures(rise=0.2, window=2)
    found = [judge(FINE | share) for share in ({"parse/bad_box": 0.3}, {"parse/bad_box": 0.1})]
    assert found == [None, None]  # the first mean is 0.2
    assert judge(FINE | {"parse/bad_box": 0.05, "parse/no_answer": 0.39}) == (
        False,
        "no_answer in 39% of completions, lowest 20%",
    )
    assert judge(FINE) == (False, "no parse failure in 0% of completions, lowest 20%")  # then (0.39 + 0) / 2 < 0.2
    assert judge(FINE | {"parse/bad_box": 0.39}) == (False, "bad_box in 39% of completions, lowest 20%")
    assert judge({"val/parse_failure": 1.0}) is None


def test_parse_failures_that_rise_ring(run_folder: Path) -> None:
    run = FakeRun(run_folder)
    run_steps(run, flat(1, 6) | flat(6, 12, parse__no_answer=0.5), steps=5)
    assert lines(run) == [(10, "parse_failures", "ringing", 6)]


def test_detection_falls_below_its_best_on_two_looks(run_folder: Path) -> None:
    run = FakeRun(run_folder)
    looks = {0: 0.86, 10: 0.9, 20: 0.84, 30: 0.88, 40: 0.85, 50: 0.8, 60: 0.84, 70: 0.86, 80: 0.87}
    steps = {step: dict(FINE) | {"val/balanced_accuracy": value} for step, value in looks.items()}
    (event, recovered) = run_steps(run, steps | flat(81, 90), fall=0.0499)
    assert (event.step, event.since, event.seen) == (50, 40, "val balanced_accuracy 0.800, best 0.900")
    assert "export/best" in event.advice
    assert (recovered.step, recovered.since) == (80, 70)


def test_a_metric_of_which_less_is_better_falls_by_rising() -> None:
    judge = DetectionFalls("miss", 0.1)
    verdicts = [judge({"val/miss": value}) for value in (0.3, 0.2, 0.25, 0.31)]
    assert [verdict[0] for verdict in verdicts if verdict] == [False, False, False, True]
    with pytest.raises(ConfigError, match=r"logger\.alarms\.metric is accuracy; it must be one of balanced_accuracy"):
        DetectionFalls("accuracy", 0.1)


def test_what_is_not_measured_says_nothing() -> None:
    assert NoSpread(1.0)({"val/miss": 0.1}) is None
    assert LowEntropy(0.05)({}) is None
    assert DetectionFalls("auroc", 0.1)(FINE) is None


@pytest.mark.parametrize("killed_at", [9, 15])
def test_a_resumed_run_does_not_ring_again(run_folder: Path, killed_at: int) -> None:
    """At 9 the alarm is before the checkpoint of step 8; at 15 so is the recovery that the run makes again."""
    steps = flat(1, 4) | flat(4, 12, entropy=0.01) | flat(12, 20)
    first = run_steps(FakeRun(run_folder), {step: steps[step] for step in range(1, killed_at + 1)}, steps=3)
    second = run_steps(FakeRun(run_folder, step=8), {step: steps[step] for step in range(9, 20)}, steps=3)
    assert [event.step for event in (*first, *second)] == [6, 14]
    assert lines(FakeRun(run_folder)) == [(6, "low_entropy", "ringing", 4), (14, "low_entropy", "recovered", 12)]


def test_a_run_that_starts_over_does_not_announce_what_it_announced(run_folder: Path) -> None:
    steps = flat(1, 10, entropy=0.01)
    assert len(run_steps(FakeRun(run_folder), steps)) == 1
    assert run_steps(FakeRun(run_folder), steps) == []
    assert lines(FakeRun(run_folder)) == [(5, "low_entropy", "ringing", 1)]


def test_patience_goes_on_over_a_resume(run_folder: Path) -> None:
    low = flat(1, 10, entropy=0.01)
    run_steps(FakeRun(run_folder), {step: low[step] for step in (1, 2, 3)})
    (event,) = run_steps(FakeRun(run_folder, step=3), {step: low[step] for step in (4, 5, 6)})
    assert (event.step, event.since) == (5, 1)


def test_a_bound_of_null_switches_off(run_folder: Path) -> None:
    run = FakeRun(run_folder)
    run_steps(run, flat(1, 9, entropy=0.0, groups__without_spread=1.0), entropy=None, without_spread=None)
    assert lines(run) == []


def test_other_ranks_are_silent(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = FakeRun(run_folder, is_main=False)
    assert run_steps(run, flat(1, 9, entropy=0.0)) == []
    assert capsys.readouterr().err == ""
    assert not (run_folder / "events.jsonl").exists()


def test_every_watch_says_what_to_try() -> None:
    for judge in (NoSpread(1.0), LowEntropy(0.1), ParseFailures(0.1, 3), DetectionFalls("auroc", 0.1)):
        watch = Watch("any", judge, judge.advice, patience=1)
        assert len(watch.advice) > 40


def test_thresholds_are_config_fields() -> None:
    config = compose("train", ["logger=jsonl", "logger.alarms.entropy=0.1", "logger.alarms.fall=null"])
    assert problems(config) == []
    alarms = build(config.logger.alarms)
    assert [watch.name for watch in alarms._watches] == ["no_spread", "low_entropy", "parse_failures"]
    wrong = problems(compose("train", ["+logger.alarms.entropie=0.1"]))
    assert any("logger.alarms.entropie" in problem and "did you mean 'entropy'" in problem for problem in wrong)
