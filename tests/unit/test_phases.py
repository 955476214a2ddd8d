# SPDX-License-Identifier: Apache-2.0
"""Phases: energies by name of the marks, and what is known of sums of many windows."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from attached import BOUNDS, S, taken
from simulate import START_NS, sampled

import pyenergy
from pyenergy import Trace
from pyenergy.recording.marks import Mark
from pyenergy.testing import simulated
from pyenergy.units import NS_PER_S

MS = 1_000_000


def phases(trace: Trace) -> dict[str, dict[str, Any]]:
    return trace.phases().rows_by_key("name", named=True, unique=True)  # type: ignore[return-value]


def test_columns_and_a_trace_without_marks() -> None:
    trace = taken()
    table = trace.phases()
    assert table.schema == {
        "name": pl.String,
        "count": pl.Int64,
        "time_s": pl.Float64,
        "energy_j": pl.Float64,
        "u_j": pl.Float64,
        "u_same_card_j": pl.Float64,
        "share": pl.Float64,
        "power_w": pl.Float64,
    }
    (row,) = table.iter_rows(named=True)
    assert row["name"] == "(unmarked)"
    assert row["energy_j"] == pytest.approx(trace.energy.joules, rel=1e-12)
    assert row["u_j"] == pytest.approx(trace.energy.u, rel=1e-12)
    assert row["share"] == pytest.approx(1.0)
    assert row["power_w"] == pytest.approx(trace.energy.joules / 8)


def test_names_and_the_rest_add_up_where_marks_do_not_overlap() -> None:
    trace = taken(spans=[("a", 2 * S, 3 * S), ("b", 3 * S, 4 * S), ("a", 5 * S, 6 * S)])
    rows = phases(trace)
    assert list(rows) == ["a", "b", "(unmarked)"]
    assert [row["count"] for row in rows.values()] == [2, 1, 3]
    assert [row["time_s"] for row in rows.values()] == [2.0, 1.0, 5.0]
    total = sum(row["energy_j"] for row in rows.values())
    assert total == pytest.approx(trace.energy.joules, rel=1e-9)
    assert sum(row["share"] for row in rows.values()) == pytest.approx(1.0, rel=1e-9)
    a = trace.window(2 * S, 3 * S).joules + trace.window(5 * S, 6 * S).joules
    assert rows["a"]["energy_j"] == pytest.approx(a, rel=1e-12)
    assert rows["b"]["u_j"] == pytest.approx(trace.window(3 * S, 4 * S).u, rel=1e-12)


def test_errors_of_one_name_are_common_where_only_the_readings_speak() -> None:
    trace = taken(spans=[("a", 2 * S, 3 * S), ("a", 5 * S, 6 * S)])
    each = [trace.window(2 * S, 3 * S), trace.window(5 * S, 6 * S)]
    assert phases(trace)["a"]["u_j"] == pytest.approx(sum(e.u for e in each), rel=1e-12)


def test_marks_of_one_name_that_overlap_count_once_in_energy() -> None:
    trace = taken(spans=[("a", 2 * S, 5 * S), ("a", 3 * S, 4 * S), ("a", 5 * S, 6 * S)])
    row = phases(trace)["a"]
    assert (row["count"], row["time_s"]) == (3, 4.0)
    assert row["energy_j"] == pytest.approx(trace.window(2 * S, 6 * S).joules, rel=1e-12)
    assert row["u_j"] == pytest.approx(trace.window(2 * S, 6 * S).u, rel=1e-12)


def test_marks_of_different_names_may_overlap_and_the_rest_is_counted_once() -> None:
    trace = taken(spans=[("outer", 2 * S, 6 * S), ("inner", 3 * S, 4 * S)])
    rows = phases(trace)
    assert rows["(unmarked)"]["time_s"] == 4.0
    both = rows["outer"]["energy_j"] + rows["(unmarked)"]["energy_j"]
    assert both == pytest.approx(trace.energy.joules, rel=1e-9)
    assert rows["inner"]["energy_j"] < rows["outer"]["energy_j"]


def test_of_a_mark_that_reaches_outside_the_part_inside_counts() -> None:
    trace = taken()
    for mark in (
        Mark("early", 0, 2 * S),
        Mark("instant", 3 * S, 3 * S),
        Mark("late", 8 * S, 10 * S),
    ):
        trace.add_span(mark)
    rows = phases(trace)
    early = trace.window(BOUNDS[0], 2 * S)
    assert rows["early"]["energy_j"] == pytest.approx(early.joules, rel=1e-12)
    assert (rows["late"]["time_s"], rows["late"]["count"]) == (1.0, 1)
    assert (rows["instant"]["count"], rows["instant"]["energy_j"]) == (1, 0.0)
    assert np.isnan(rows["instant"]["power_w"])
    total = sum(row["energy_j"] for row in rows.values())
    assert total == pytest.approx(trace.energy.joules, rel=1e-9)


def test_a_trace_that_is_all_marked_has_nothing_left() -> None:
    row = phases(taken(spans=[("a", *BOUNDS)]))["(unmarked)"]
    assert (row["energy_j"], row["u_j"], row["time_s"], row["count"]) == (0.0, 0.0, 0.0, 0)


def test_errors_of_devices_are_independent() -> None:
    trace = taken(("gpu:0", "gpu:1"), spans=[("a", 2 * S, 3 * S), ("a", 5 * S, 6 * S)])
    each = [
        sum(trace.window(t, t + S, device=device).u for t in (2 * S, 5 * S))
        for device in ("gpu:0", "gpu:1")
    ]
    assert phases(trace)["a"]["u_j"] == pytest.approx(np.hypot(*each), rel=1e-12)


def test_a_device_that_was_not_read_is_no_sum_without_it() -> None:
    t = np.arange(0, 10 * S, 10_000_000)
    trace = Trace.from_readings(
        {
            "gpu:0/power": (t, np.full(len(t), 100.0)),
            "gpu:1/power": (t, np.full(len(t), np.nan)),
        },
        bounds_ns=BOUNDS,
    )
    with pytest.raises(pyenergy.errors.NoReadingsError, match="gpu:1"):
        trace.phases()


def test_calls_shorter_than_the_sensor_are_known_by_their_name_together() -> None:
    """Calls of 5 to 40 ms on a sensor that updates every 100: truth lies in the interval, which is
    narrower than that of the calls one by one."""
    rng = np.random.default_rng(5)
    watts = {"prefill": 300.0, "decode": 180.0}
    script, spans, now = [(0, 60.0)], [], START_NS + 200 * MS
    while now < START_NS + 9 * NS_PER_S:
        name = "prefill" if rng.random() < 0.4 else "decode"
        end = now + int(rng.integers(5 * MS, 40 * MS))
        script += [(now, watts[name]), (end, 60.0)]
        spans.append(Mark(name, now, end))
        now = end + int(rng.integers(1 * MS, 20 * MS))
    with simulated("a100") as world:
        world[0].script(script)
        trace = sampled(seconds=10)
    for span in spans:
        trace.add_span(span)
    rows, listed = phases(trace), trace.spans()
    total = sum(row["energy_j"] for row in rows.values())
    assert total == pytest.approx(trace.energy.joules, rel=1e-9)
    for name, power in watts.items():
        row, each = rows[name], listed.filter(name=name)
        true_j = power * sum(m.end_ns - m.start_ns for m in spans if m.name == name) / NS_PER_S
        gain_free = abs(row["energy_j"] - true_j)
        assert gain_free < 3 * row["u_j"]
        assert row["u_same_card_j"] < 0.7 * each["u_same_card_j"].sum()
        # Never below what errors that have nothing to do with one another would leave.
        assert row["u_j"] >= 0.034 * row["energy_j"]
