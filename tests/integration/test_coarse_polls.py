# SPDX-License-Identifier: Apache-2.0
"""Logs that poll about as rarely as the sensor updates, or more rarely: joules against the truth.

Sensors are drawn and never shown, as in `test_accuracy`; of their readings only those are kept
that a tool like ``nvidia-smi -lms 100`` would have printed, at times in whole milliseconds.
"""

from __future__ import annotations

import numpy as np
import pytest
from drawn import KNOWN, START_NS, Load, measured, mix, pulses, steady

from pyenergy._trace import Trace
from pyenergy.units import NS_PER_MS, NS_PER_S

ARCHITECTURES = {"v100": "volta", "a100": "ga100", "a100 rc": "ga100", "h100": "hopper"}


def logged(
    trace: Trace, spans: list[tuple[str, int, int]], kind: str, every_ms: float, seed: int
) -> Trace:
    """The same measurement as a log of polls that are late by 1 ms in the mean."""
    rng = np.random.default_rng(seed)
    runs = trace.recorded.devices["gpu:0"].runs["power"]
    first, last = int(runs.t_first_ns[0]), int(runs.read_last_ns[-1])
    n = round((last - first) / (every_ms * NS_PER_MS))
    steps = (every_ms + rng.exponential(1.0, n)) * NS_PER_MS
    polls = first + np.cumsum(steps).astype(np.int64)
    polls = polls[polls < last]
    value = runs.value[np.searchsorted(runs.t_first_ns, polls, side="right") - 1]
    facts = {"architecture": ARCHITECTURES[kind], "field": "instant", "power_max_w": 400.0}
    return Trace.from_readings(
        {"gpu:0/power": (polls // NS_PER_MS * NS_PER_MS, np.round(value, 2))},
        spans,
        devices={"gpu:0": facts},
        profile=KNOWN,
    )


def misses(
    kind: str, load: Load, every_ms: float, seed: int
) -> tuple[np.ndarray, np.ndarray, Trace]:
    """(errors over u, u over the truth, trace) of all spans together, of 1 s and of 5 s."""
    dense, truth, spans = measured(kind, seed, load)
    trace = logged(dense, spans, kind, every_ms, seed)
    a, b = np.array([s for _, s, _ in spans]), np.array([e for _, _, e in spans])
    joules, u = trace.windows(a, b, same_card=True)
    rng = np.random.default_rng(seed)
    length = np.array([NS_PER_S, 5 * NS_PER_S])
    starts = START_NS + (rng.random(2) * (b[-1] - START_NS - length)).astype(np.int64)
    found, of_it = trace.windows(starts, starts + length, same_card=True)
    joules, u = np.append(joules.sum(), found), np.append(u.sum(), of_it)
    true = np.append(truth(a, b).sum(), truth(starts, starts + length))
    return (joules - true) / u, u / true, trace


@pytest.mark.parametrize(
    ("kind", "every_ms", "seed"),
    [("a100", 80.0, 1), ("a100", 98.0, 2), ("h100", 99.0, 3), ("h100", 50.0, 4)],
)
def test_labelled_pulses_in_a_log_of_a_sensors_own_pace(
    kind: str, every_ms: float, seed: int
) -> None:
    z, width, trace = misses(kind, pulses(60), every_ms, seed)
    assert "activity" in trace.energy.method
    assert np.all(np.abs(z) < 3)
    # Without the labels all of them together were known to two thirds of themselves.
    assert width[0] < 0.05
    assert np.all(width[1:] < 0.03)


def test_a_log_rarer_than_the_updates_of_a_fast_sensor() -> None:
    z, width, trace = misses("v100", mix(), 60.0, 5)
    assert "activity" in trace.energy.method
    assert np.all(np.abs(z) < 3)
    assert width[0] < 0.1


@pytest.mark.parametrize("kind", ["a100", "h100"])
def test_one_long_span_tells_no_clock_and_the_interval_says_so(kind: str) -> None:
    z, width, trace = misses(kind, steady(), 99.0, 6)
    assert np.all(np.abs(z) < 3)
    assert np.all(width < 0.2)
    assert trace.energy.u_same_card > 0


def test_an_unknown_card_is_refused_with_what_would_help() -> None:
    dense, _, spans = measured("h100", 7, pulses(20))
    trace = logged(dense, spans, "h100", 99.0, 7)
    runs = trace.recorded.devices["gpu:0"].runs["power"]
    unknown = Trace.from_readings({"gpu:0/power": (runs.t_first_ns, runs.value)}, spans)
    notes = " ".join(unknown.energy.notes)
    assert "spans are not used: every poll shows another value" in notes
    assert "state the architecture" in notes
