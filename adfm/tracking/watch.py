"""What a collapse looks like in the metrics of a run, one rule each, and the patience with which a rule is believed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any, Literal

from adfm.config.schema import METRICS
from adfm.errors import ConfigError

Metrics = Mapping[str, Any]
"""Of one step, named as in `metrics.jsonl`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An alarm that begins to ring, or that recovers."""

    step: int
    alarm: str
    state: Literal["ringing", "recovered"]
    since: int
    """The first of the steps in a row that showed it."""
    seen: str
    advice: str
    """What to try; empty for a recovery."""

    def fields(self) -> dict[str, Any]:
        """Give a line of `events.jsonl`, without its time."""
        return asdict(self)

    def line(self) -> str:
        """Say it in one line of the terminal."""
        where = f"at step {self.step}: {self.seen}, since step {self.since}."
        if self.state == "recovered":
            return f"RECOVERED {self.alarm} {where}"
        return f"ALARM {self.alarm} {where} Try: {self.advice}"


Judgement = tuple[bool, str] | None
"""Whether a step is bad, and what was seen; None where it says nothing about the matter."""


class Watch:
    """One rule with its patience: it rings after `patience` bad looks in a row, recovers after as many good ones."""

    def __init__(self, name: str, judge: Callable[[Metrics], Judgement], advice: str, *, patience: int) -> None:
        self.name = name
        self.judge = judge
        self.advice = advice
        self.patience = patience
        self.ringing = False
        self._against = 0
        """Looks in a row that speak against `ringing`."""
        self._since = 0

    def look(self, step: int, metrics: Metrics) -> Event | None:
        """Judge a step's metrics; return the event where it makes the alarm ring or recover."""
        found = self.judge(metrics)
        if found is None:
            return None
        bad, seen = found
        if bad == self.ringing:
            self._against = 0
            return None
        self._since = self._since if self._against else step
        self._against += 1
        if self._against < self.patience:
            return None
        self.ringing, self._against = bad, 0
        return Event(
            step=step,
            alarm=self.name,
            state="ringing" if bad else "recovered",
            since=self._since,
            seen=seen,
            advice=self.advice if bad else "",
        )


class NoSpread:
    """Too many groups whose completions all earned the same."""

    advice = (
        "a higher rollout.temperature or rollout.group_size, drawing equal groups again with rollout.resample=2, "
        "or harder images: equal rewards teach nothing"
    )

    def __init__(self, share: float) -> None:
        self.share = share

    def __call__(self, metrics: Metrics) -> Judgement:
        """Judge `groups/without_spread`."""
        found = metrics.get("groups/without_spread")
        return None if found is None else (found >= self.share, f"{found:.0%} of the groups are without spread")


class LowEntropy:
    """A policy that has become certain of every token."""

    advice = (
        "a lower model.learning_rate, objective.beta=0.04 to hold it near its start, or a higher rollout.temperature: "
        "a policy without entropy explores nothing"
    )

    def __init__(self, bound: float) -> None:
        self.bound = bound

    def __call__(self, metrics: Metrics) -> Judgement:
        """Judge `entropy`, in nats a token."""
        found = metrics.get("entropy")
        return None if found is None else (found < self.bound, f"entropy {found:.3f}, bound {self.bound:g}")


class ParseFailures:
    """The most frequent reason why completions cannot be read, against its lowest mean over `window` steps so far."""

    advice = (
        "reading samples/ for what it writes now, a larger reward.terms.format.weight, a lower model.learning_rate, "
        "and model.completion_tokens if completion/truncated rose too"
    )

    def __init__(self, rise: float, window: int) -> None:
        self.rise = rise
        self._recent: deque[float] = deque(maxlen=window)
        self._lowest: float | None = None

    def __call__(self, metrics: Metrics) -> Judgement:
        """Judge the shares `parse/<reason>`; a reason that no completion had is not among the metrics."""
        if not any(name.startswith("reward/") for name in metrics):
            return None
        shares = {name: value for name, value in metrics.items() if name.startswith("parse/")}
        worst = max(shares, key=lambda name: shares[name], default="")
        share = shares.get(worst, 0.0)
        before = self._lowest
        self._recent.append(share)
        if len(self._recent) == self._recent.maxlen:
            mean = fmean(self._recent)
            self._lowest = mean if before is None else min(before, mean)
        if before is None:
            return None
        seen = (
            f"{worst.removeprefix('parse/') or 'no parse failure'} in {share:.0%} of completions, lowest {before:.0%}"
        )
        return share >= before + self.rise, seen


class DetectionFalls:
    """A validation metric that stays below its best."""

    def __init__(self, metric: str, fall: float) -> None:
        """Raise a ConfigError if there is no such metric."""
        if metric not in METRICS:
            raise ConfigError(f"logger.alarms.metric is {metric}; it must be one of {', '.join(METRICS)}")
        self.metric = metric
        self.fall = fall
        self.advice = (
            f"a lower model.learning_rate, objective.beta=0.04, or going on from export/best "
            f"(chosen by evaluate.metric; evaluate.metric={metric} chooses by this one)"
        )
        self._best: float | None = None

    def __call__(self, metrics: Metrics) -> Judgement:
        """Judge `val/<metric>`."""
        found, sign = metrics.get(f"val/{self.metric}"), METRICS[self.metric]
        if found is None:
            return None
        self._best = found if self._best is None else sign * max(sign * self._best, sign * found)
        return sign * (self._best - found) >= self.fall, f"val {self.metric} {found:.3f}, best {self._best:.3f}"


def watches(
    without_spread: float | None,
    entropy: float | None,
    parse_rise: float | None,
    steps: int,
    *,
    metric: str,
    fall: float | None,
    looks: int,
) -> list[Watch]:
    """Make the watches whose bound is not None; see `adfm.tracking.alarms.Alarms` for what the bounds mean."""
    judges: list[tuple[str, Any, int]] = []
    if without_spread is not None:
        judges.append(("no_spread", NoSpread(without_spread), steps))
    if entropy is not None:
        judges.append(("low_entropy", LowEntropy(entropy), steps))
    if parse_rise is not None:
        judges.append(("parse_failures", ParseFailures(parse_rise, steps), steps))
    if fall is not None:
        judges.append(("detection_falls", DetectionFalls(metric, fall), looks))
    return [Watch(name, judge, judge.advice, patience=patience) for name, judge, patience in judges]
