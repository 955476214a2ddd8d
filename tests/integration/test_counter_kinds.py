# SPDX-License-Identifier: Apache-2.0
"""Energy counters of every convention beside labelled work: windows stay within their intervals.

What a counter integrates, and how late it is published, is not documented. Power is piecewise
constant here and its integrals are sums: nothing is shared with the estimator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from pyenergy import Trace
from pyenergy.sensor import Profile

END_S = 22.0
KNOWN = Profile(gain=1.0, gain_u=0.0, offset_w=0.0, offset_u_w=0.0)
WATTS = {"a": 200.0, "b": 320.0, "c": 420.0}
SENSORS = {"volta": (0.020, 0.010), "ga100": (0.1, 0.025), "hopper": (0.1, 0.025)}


@dataclass
class Card:
    """A drawn load behind a drawn boxcar sensor, polled every millisecond."""

    architecture: str
    seed: int

    def __post_init__(self) -> None:
        rng = np.random.default_rng([self.seed, len(self.architecture)])
        period_s, window_s = SENSORS[self.architecture]
        self.period_s = period_s * (1 + rng.uniform(-0.02, 0.02))
        window_s *= 1 + rng.uniform(-0.1, 0.1)
        self.spans: list[tuple[str, float, float]] = []
        t = 1.0
        while t < END_S - 1.6:
            end = t + rng.uniform(0.02, 0.6)
            self.spans.append((str(rng.choice(list(WATTS))), t, end))
            t = end + rng.choice([0, 1]) * rng.uniform(0, 0.3)
        self._t = np.array([-9.0, *(x for _, a, b in self.spans for x in (a, b)), END_S + 9])
        watts = np.full(len(self._t) - 1, 60.0)
        watts[1::2] = [WATTS[name] for name, _, _ in self.spans]
        self._sum = np.concatenate([[0.0], np.cumsum(np.diff(self._t) * watts)])
        first = -2 * self.period_s + rng.uniform(0, self.period_s)
        self.tick_s = np.arange(first, END_S + self.period_s, self.period_s)
        seen = self.tick_s - rng.uniform(0, 0.02)
        self.reading_w = (self.energy_j(seen) - self.energy_j(seen - window_s)) / window_s
        self.reading_w = np.round(self.reading_w + rng.normal(0, 0.7, len(seen)), 3)
        self.poll_s = np.arange(0, END_S, 1e-3) + rng.uniform(0, 1e-4, round(END_S * 1000))
        self.rng = rng

    def energy_j(self, t: np.ndarray) -> np.ndarray:
        return np.interp(t, self._t, self._sum)

    def trace(self, tick_s: np.ndarray, counted_j: np.ndarray, quantum_j: float = 1e-3) -> Trace:
        def polled(at_s: np.ndarray, value: np.ndarray) -> np.ndarray:
            return value[np.searchsorted(at_s, self.poll_s, side="right") - 1]

        shown_j = np.round((polled(tick_s, counted_j) + 1000) / quantum_j) * quantum_j
        return Trace.from_readings(
            {
                "gpu:0/power": (ns(self.poll_s), polled(self.tick_s, self.reading_w)),
                "gpu:0/energy": (ns(self.poll_s), shown_j),
            },
            [(name, int(a * 1e9), int(b * 1e9)) for name, a, b in self.spans],
            profile=KNOWN,
            devices={
                "gpu:0": {
                    "architecture": self.architecture, "field": "instant", "power_max_w": 500.0
                }
            },
        )  # fmt: skip


def ns(seconds: np.ndarray) -> np.ndarray:
    return np.round(np.asarray(seconds) * 1e9).astype(np.int64)


def misses(card: Card, trace: Trace) -> np.ndarray:
    """Errors of 200 windows of half a second, over their stated uncertainty."""
    starts = card.rng.uniform(1, 19, 200)
    joules, u = trace.windows(ns(starts), ns(starts + 0.5))
    true = card.energy_j(starts + 0.5) - card.energy_j(starts)
    assert np.median(1.96 * u / true) < 0.003  # a counter that is not used makes nothing wide
    return (joules - true) / u


def with_the_newest(y: np.ndarray) -> np.ndarray:
    return np.cumsum(y)


def without_it(y: np.ndarray) -> np.ndarray:
    return np.concatenate([[0.0], np.cumsum(y[:-1])])


def trapezoids(y: np.ndarray) -> np.ndarray:
    return np.concatenate([[0.0], np.cumsum((y[1:] + y[:-1]) / 2)])


@pytest.mark.parametrize("architecture", SENSORS)
@pytest.mark.parametrize("added_up", [with_the_newest, without_it, trapezoids])
def test_sums_of_readings_are_told_in_every_convention(
    added_up: Callable[[np.ndarray], np.ndarray], architecture: str
) -> None:
    z = []
    for seed in range(2):
        card = Card(architecture, seed)
        trace = card.trace(card.tick_s, added_up(card.reading_w) * card.period_s)
        z.append(misses(card, trace))
        assert "energy counter" not in trace.energy.method
    assert np.abs(np.concatenate(z)).max() < 4.5


def ticks(card: Card, period_s: float) -> np.ndarray:
    """A counter's own, beside the sensor's."""
    return np.arange(-2 * period_s + card.rng.uniform(0, period_s), END_S + period_s, period_s)


@pytest.mark.parametrize(
    ("architecture", "period_s", "seed"),
    [
        ("ga100", 0.005, 0),
        ("ga100", 0.02, 1),
        ("ga100", 0.05, 2),
        ("volta", 0.01, 1),
        ("volta", 0.05, 3),
        ("hopper", 0.1, 4),
    ],
)
def test_a_sum_of_what_is_shown_at_ticks_of_its_own_is_told(
    architecture: str, period_s: float, seed: int
) -> None:
    card = Card(architecture, seed)
    tick_s = ticks(card, period_s)
    shown = np.maximum(np.searchsorted(card.tick_s, tick_s, side="right") - 1, 0)
    trace = card.trace(tick_s, np.cumsum(card.reading_w[shown]) * period_s)
    assert np.abs(misses(card, trace)).max() < 4.5
    assert "energy counter" not in trace.energy.method


@pytest.mark.parametrize("architecture", SENSORS)
@pytest.mark.parametrize("period_s", [0.02, 0.1])
def test_a_counter_that_was_logged_in_whole_joules(period_s: float, architecture: str) -> None:
    card = Card(architecture, 7)
    tick_s = ticks(card, period_s)
    trace = card.trace(tick_s, card.energy_j(tick_s), quantum_j=1.0)
    assert np.abs(misses(card, trace)).max() < 4.5


@pytest.mark.parametrize("architecture", SENSORS)
@pytest.mark.parametrize("late_s", [0.0, 0.005, 0.02])
@pytest.mark.parametrize("period_s", [0.02, 0.1])
def test_a_counter_of_the_truth_may_be_late(
    period_s: float, late_s: float, architecture: str
) -> None:
    card = Card(architecture, 3)
    tick_s = ticks(card, period_s)
    trace = card.trace(tick_s, card.energy_j(tick_s - late_s))
    assert np.abs(misses(card, trace)).max() < 4.5
    start, end = (np.array([t / 1e9]) for t in trace.bounds_ns)
    true = float((card.energy_j(end) - card.energy_j(start))[0])
    assert abs(trace.energy.joules - true) < 3 * trace.energy.u_same_card


def test_a_counter_that_follows_nothing_is_not_believed() -> None:
    """Its total is right, its increments are those of another load."""
    card, other = Card("ga100", 5), Card("ga100", 6)
    right = card.energy_j(np.array([END_S]))[0] / other.energy_j(np.array([END_S]))[0]
    trace = card.trace(card.tick_s, right * other.energy_j(card.tick_s))
    assert any("follows neither the work nor the sum" in note for note in trace.energy.notes)
    starts = card.rng.uniform(1, 19, 100)
    joules, u = trace.windows(ns(starts), ns(starts + 0.5))
    true = card.energy_j(starts + 0.5) - card.energy_j(starts)
    assert np.abs((joules - true) / u).max() < 4.5
    assert np.median(np.abs(joules / true - 1)) < 0.002
