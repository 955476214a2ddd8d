# SPDX-License-Identifier: Apache-2.0
"""A trace in which nothing is labelled: `with pyenergy.trace(): work()` and no more.

Its edges lie behind the sensor's response like those of a label, but nobody promised that work
fills it or is the same throughout: the interval holds for work that is neither.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from drawn import KINDS, KNOWN, MS, Drawn, Load, measured
from simulate import START_NS

from pyenergy import Energy
from pyenergy._trace import Trace
from pyenergy.units import NS_PER_S

BUSY_W = 350.0


def unlabelled(kind: str, seed: int, load: Load) -> tuple[Energy, float]:
    """(energy of the trace, its truth): bounds as the load's one span, which is not shown."""
    labelled, truth, spans = measured(kind, seed, load)
    _, start, end = spans[0]
    recorded = labelled._source
    trace = Trace(replace(recorded, marks=(), bounds_ns=(start, end)))  # type: ignore[type-var]
    trace._profile = KNOWN
    return trace.total(), float(truth([start], [end])[0])


Fill = Callable[[Drawn, int, int], None]


def trace_of(fill: Fill, seconds: tuple[float, float] = (1.0, 6.0)) -> Load:
    def load(drawn: Drawn) -> list[tuple[str, int, int]]:
        start = START_NS + 700 * MS
        end = start + round(drawn.rng.uniform(*seconds) * NS_PER_S)
        fill(drawn, start, end)
        drawn.power(drawn.idle_w, end)
        drawn.until_ns = end
        return [("trace", start, end)]

    return load


def steady(drawn: Drawn, start: int, end: int) -> None:
    drawn.power(BUSY_W, start)


def late(drawn: Drawn, start: int, end: int) -> None:
    """The host prepares for some milliseconds first, and tidies up afterwards."""
    drawn.power(BUSY_W, start + round(drawn.rng.exponential(0.006) * NS_PER_S))
    drawn.power(drawn.idle_w, end - round(drawn.rng.exponential(0.006) * NS_PER_S))


def phases(drawn: Drawn, start: int, end: int) -> None:
    """Loading, prefill, decode."""
    first = start + round((end - start) * drawn.rng.uniform(0.2, 0.5))
    second = first + round((end - first) * drawn.rng.uniform(0.3, 0.8))
    for t, watts in ((start, 90.0), (first, 330.0), (second, 250.0)):
        drawn.power(watts, t)


def steps(drawn: Drawn, start: int, end: int) -> None:
    t = start
    while t < end:
        drawn.power(float(drawn.rng.uniform(drawn.idle_w, 380)), t)
        t += round(drawn.rng.exponential(0.3) * NS_PER_S)


def ramp(drawn: Drawn, start: int, end: int) -> None:
    low, high = drawn.rng.uniform(100, 380, 2)
    for k in range(100):
        drawn.power(float(low + (high - low) * k / 100), start + (end - start) * k // 100)


def busy_before(drawn: Drawn, start: int, end: int) -> None:
    drawn.power(300.0, START_NS - NS_PER_S)
    drawn.power(drawn.idle_w, start - round(drawn.rng.uniform(0, 0.3) * NS_PER_S))
    drawn.power(BUSY_W, start)


@pytest.mark.parametrize("kind", KINDS)
def test_a_burst_of_one_second(kind: str) -> None:
    """Readings that are late by the response would miss 3 to 8 % of it."""
    for seed in range(2):
        energy, true = unlabelled(kind, seed, trace_of(steady, (1.0, 1.0)))
        assert energy.joules == pytest.approx(true, rel=0.002)
        assert energy.u < 0.05 * true
        assert energy.method.startswith("activity of the whole trace")


def test_the_interval_holds_for_work_that_is_not_steady() -> None:
    held, widths = [], []
    for fill in (late, phases, steps, ramp, busy_before):
        for seed, kind in enumerate(KINDS):
            energy, true = unlabelled(kind, seed, trace_of(fill))
            held.append(abs(energy.joules - true) <= 1.96 * energy.u)
            widths.append(1.96 * energy.u / true)
    assert np.mean(held) >= 0.9
    assert np.median(widths) < 0.2


def test_a_sensor_that_looks_away_says_so() -> None:
    energy, _ = unlabelled("a100", 1, trace_of(steady))
    assert any("would not show" in note for note in energy.notes)
    assert dict(energy.terms)["inside"] > 0


def test_a_trace_without_readings_from_around_it_is_the_readings_integral() -> None:
    labelled, _, spans = measured("a100", 1, trace_of(steady, (3.0, 3.0)))
    recorded = labelled._source
    whole = Trace(replace(recorded, marks=()))  # type: ignore[type-var]
    _, start, end = spans[0]
    energy = whole.window(start, end)
    assert energy.method.startswith("trapezoid")


@pytest.mark.parametrize("kind", ["a100", "v100", "h100", "a100 rc"])
def test_operations_that_ran_tell_the_whole_as_marks_would(kind: str) -> None:
    """Bursts of 50 ms between pauses, of which a part-time sensor misses most."""
    ran: list[tuple[str, int, int]] = []

    def bursts(drawn: Drawn) -> list[tuple[str, int, int]]:
        t = START_NS + 700 * MS
        for _ in range(60):
            drawn.pulse(t, 0.05, 300.0)
            # Two kernels after one another: a pause of microseconds is none.
            ran.append(("a", t, t + 20 * MS))
            ran.append(("b", t + 20 * MS + 5_000, t + 50 * MS))
            t += 50 * MS + round(drawn.rng.uniform(0.15, 0.25) * NS_PER_S)
        return []

    trace, truth, _ = measured(kind, 2, bursts)
    before = trace.energy
    trace.attach([{"name": n, "start_ns": a, "end_ns": b} for n, a, b in ran], clock="recording")
    after = trace.energy
    true_j = float(truth(*([t] for t in trace.bounds_ns))[0])
    assert after.joules == pytest.approx(true_j, rel=2e-3)
    assert abs(after.joules - true_j) < 3 * after.u_same_card
    assert after.u_same_card < 0.2 * before.u_same_card
    assert after.method.startswith("activity of what ran")
    table = trace.kernels()
    assert table["energy_j"].sum() + table["static_j"].sum() == pytest.approx(after.joules)
