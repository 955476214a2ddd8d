# SPDX-License-Identifier: Apache-2.0
"""Bounds and spans beyond the readings: a gap that is said, at either end, and never a power."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from pyenergy import Trace
from pyenergy.errors import OptionError
from pyenergy.units import NS_PER_MS, NS_PER_S

T0 = 1_795_183_402_123_456_789
POLLS = T0 + 10 * NS_PER_MS * np.arange(3001, dtype=np.int64)  # 30 s
END = int(POLLS[-1])
BUSY = np.arange(3001) // 70 % 2  # the load comes and goes every 0.7 s
# A sensor that averages its whole period of 100 ms, polled every 10 ms.
SEEN = np.repeat((80.0 + 220.0 * BUSY)[:3000].reshape(-1, 10).mean(axis=1), 10)
WATTS = (
    np.concatenate([[80.0] * 10, SEEN])[:3001]
    + np.repeat(np.random.default_rng(5).normal(0, 0.3, 301), 10)[:3001]
)
SPANS = [("x", T0 + 700 * k * NS_PER_MS, T0 + 700 * (k + 1) * NS_PER_MS) for k in range(1, 42, 2)]
CARD = {"architecture": "ampere", "field": "instant", "power_min_w": 20.0, "power_max_w": 400.0}
DENSITY_W = (400.0 - 20.0) / math.sqrt(3)  # any power between the limits


def taken(spans: Any = (), **options: Any) -> Trace:
    devices = {"gpu:0": CARD}
    return Trace.from_readings({"gpu:0/power": (POLLS, WATTS)}, spans, devices=devices, **options)


def uncovered(trace: Trace) -> list[str]:
    return [note for note in trace.notes if "nothing was read in" in note]


@pytest.mark.parametrize("spans", [[], SPANS], ids=["plain", "labelled"])
@pytest.mark.parametrize(
    ("head_s", "tail_s", "said"),
    [
        (
            10,
            20,
            "the first 10 s (bounds_ns begin earlier) and the last 20 s (bounds_ns end later)",
        ),
        (5, 0, "the first 5 s (bounds_ns begin earlier)"),
        (0, 1, "the last 1 s (bounds_ns end later)"),
    ],
)
def test_bounds_beyond_the_readings_are_a_gap(
    spans: Any, head_s: int, tail_s: int, said: str
) -> None:
    bounds = (T0 - head_s * NS_PER_S, END + tail_s * NS_PER_S)
    trace, inside = taken(spans, bounds_ns=bounds), taken(spans)
    assert uncovered(trace) == [
        f"gpu:0/power: nothing was read in {said}: a gap, with any power that the device can draw"
    ]
    gaps_j = dict(trace.energy.terms)["gaps"]
    # The model of labelled work holds that a reading tells of the update period that it ends in.
    told_s = 0.1 if spans else 1e-3
    assert gaps_j == pytest.approx(DENSITY_W * (head_s + tail_s), abs=DENSITY_W * told_s * 1.01)
    assert trace.energy.u > gaps_j > 10 * dict(inside.energy.terms)["gaps"]
    within = trace.window(T0 + 5 * NS_PER_S, T0 + 25 * NS_PER_S)
    assert dict(within.terms)["gaps"] == 0.0
    assert any("nothing was read for" in note for note in trace.energy.notes)


def test_a_window_where_nothing_was_read_is_any_power_at_all() -> None:
    trace = taken(bounds_ns=(T0 - 10 * NS_PER_S, END))
    energy = trace.window(T0 - 8 * NS_PER_S, T0 - 4 * NS_PER_S)
    assert energy.u > DENSITY_W * 4
    assert any("nothing was read for 4 s (100% of the window)" in note for note in energy.notes)


def test_bounds_with_no_reading_at_all() -> None:
    trace = taken(bounds_ns=(T0 - 30 * NS_PER_S, T0 - 20 * NS_PER_S))
    assert any("is it on the same clock?" in note for note in trace.notes)
    assert "nothing was read in all 10 s of the recording" in uncovered(trace)[0]
    assert trace.energy.u > DENSITY_W * 10


def test_spans_beyond_the_readings_are_named() -> None:
    first = ("warm up", T0 - 2 * NS_PER_S, T0 + NS_PER_S)
    last = ("work", T0 + 20 * NS_PER_S, END + 3 * NS_PER_S)
    (note,) = uncovered(taken([first, last, ("late", END, END + NS_PER_S)]))
    assert "the first 2 s (span 'warm up' begins earlier) and the last 3 s (span 'work' end" in note
    row = taken([last]).spans().row(0, named=True)
    assert row["u_j"] > DENSITY_W * 3


def test_what_is_within_a_poll_or_two_is_not_news() -> None:
    edge = 25 * NS_PER_MS
    assert uncovered(taken(bounds_ns=(T0 - edge, END + edge))) == []
    assert uncovered(taken(bounds_ns=(T0 + NS_PER_S, END - NS_PER_S))) == []
    log = T0 + NS_PER_S * np.arange(60, dtype=np.int64)  # of nvidia-smi: 2.5 s are no silence
    bounds = (T0 - 2_500 * NS_PER_MS, int(log[-1]))
    steady = Trace.from_readings({"gpu:0/power": (log, np.full(60, 90.0))}, bounds_ns=bounds)
    assert uncovered(steady) == []


def test_a_device_that_was_read_for_less_is_named_with_all_its_channels() -> None:
    half = slice(0, 1500)
    joules = np.cumsum(WATTS) * 0.01
    trace = Trace.from_readings(
        {
            "gpu:0/power": (POLLS, WATTS),
            "gpu:1/power": (POLLS[half], WATTS[half]),
            "gpu:1/energy": (POLLS[half], joules[half]),
        }
    )
    (note,) = uncovered(trace)
    assert note.startswith("gpu:1/power, gpu:1/energy: nothing was read in the last 15 s (other re")
    assert trace.energies["gpu:1"].u > trace.energies["gpu:0"].u


def test_one_reading_covers_nothing() -> None:
    trace = Trace.from_readings({"gpu:0/power": ([T0], [90.0])}, bounds_ns=(T0, T0 + NS_PER_S))
    assert "the last 1 s (bounds_ns end later)" in uncovered(trace)[0]
    assert trace.energy.u > 100


@pytest.mark.parametrize("spans", [True, False])
def test_a_span_on_another_clock_is_refused(spans: bool) -> None:
    t = np.arange(0, 10 * NS_PER_S, 100_000_000) + 10**15
    unix = 1_790_000_000 * NS_PER_S
    away = (unix, unix + 5 * NS_PER_S)
    asked: Any = {"spans": [("x", *away)]} if spans else {"bounds_ns": away}
    with pytest.raises(OptionError, match="away from the readings: it is on another clock"):
        Trace.from_readings({"gpu:0/power": (t, np.full(len(t), 100.0))}, **asked)
