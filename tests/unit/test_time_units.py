# SPDX-License-Identifier: Apache-2.0
"""Times in another unit than ns: refused where they cannot be right, said where they may be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pyenergy._trace import Trace
from pyenergy.errors import OptionError
from pyenergy.recording.readings import recorded_from_readings
from pyenergy.units import NS_PER_MS, NS_PER_S

UNIX_NS = 1_795_183_402_123_456_789
RNG = np.random.default_rng(3)
PER_UNIT_NS = {"seconds": NS_PER_S, "milliseconds": NS_PER_MS, "microseconds": 1_000}


def notes(t_ns: Any, watts: Any = None, **options: Any) -> tuple[str, ...]:
    values = RNG.normal(200, 30, len(t_ns)) if watts is None else watts
    return recorded_from_readings({"gpu:0/power": (t_ns, values)}, **options).notes


def grid(interval_s: float, seconds: float, start_ns: int = UNIX_NS) -> np.ndarray:
    step = round(interval_s * NS_PER_S)
    return start_ns + step * np.arange(round(seconds / interval_s) + 1, dtype=np.int64)


@pytest.mark.parametrize("unit", PER_UNIT_NS)
@pytest.mark.parametrize("interval_s", [0.001, 0.02, 0.1, 1.0])
def test_unix_times_of_another_unit_are_refused_with_the_factor(
    unit: str, interval_s: float
) -> None:
    """Integers: by what they would be as ns. Microseconds may yet be a fast meter's ns."""
    t = grid(interval_s, 200 * interval_s + 2) // PER_UNIT_NS[unit]
    if unit == "microseconds" and interval_s >= 0.1:
        (note,) = notes(t)
        assert "Unix microseconds (times * 1_000)" in note
        return
    with pytest.raises(OptionError) as caught:
        notes(t)
    message = str(caught.value)
    assert message.startswith("gpu:0/power: taken as nanoseconds, ")
    assert f"they look like Unix {unit} (times * {PER_UNIT_NS[unit]:_})" in message


def test_what_they_would_be_as_nanoseconds_is_said() -> None:
    with pytest.raises(OptionError, match=r"301 readings come every 100 ns and last 30 µs in all"):
        notes(grid(0.1, 30, 0) // NS_PER_MS)


@pytest.mark.parametrize(
    ("interval_s", "per_ns", "first"),
    [
        (0.1, NS_PER_MS, "milliseconds (times * 1_000_000)"),
        (0.01, 1_000, "microseconds (times * 1_000)"),
        (1.0, NS_PER_MS, "milliseconds (times * 1_000_000)"),
        (60.0, NS_PER_S, "seconds (times * 1_000_000_000)"),
    ],
)
def test_times_from_zero_are_told_by_their_interval(
    interval_s: float, per_ns: int, first: str
) -> None:
    """Several units may be possible; the one that makes the interval usual comes first."""
    t = grid(interval_s, 300 * interval_s, 0) // per_ns
    if per_ns == 1_000:
        assert any(f"they look like {first}" in note for note in notes(t))
        return
    with pytest.raises(OptionError) as caught:
        notes(t)
    assert first in str(caught.value)


@pytest.mark.parametrize("interval_s", [0.02, 0.1, 1.0])
def test_a_driver_s_readings_cannot_change_in_microseconds(interval_s: float) -> None:
    """With the field that was asked for they are known to be a driver's."""
    t = grid(interval_s, 1000 * interval_s, 0) // 1_000
    with pytest.raises(
        OptionError, match=r"which a driver's do not.*microseconds \(times \* 1_000"
    ):
        notes(t, devices={"gpu:0": {"field": "instant"}})


@pytest.mark.parametrize(
    ("factor", "unit"),
    [(1.0, "seconds"), (1e3, "milliseconds"), (1e6, "microseconds")],
)
def test_floats_are_refused_with_what_makes_them_integers(factor: float, unit: str) -> None:
    t = (UNIX_NS / 1e9 + np.arange(100) * 0.1) * factor
    with pytest.raises(TypeError) as caught:
        notes(t)
    cure = f"Unix {unit} (np.round(times * {PER_UNIT_NS[unit]:_}).astype(np.int64))"
    assert f"must be integer nanoseconds, got dtype float64: they look like {cure}" in str(
        caught.value
    )
    converted = np.round(t * PER_UNIT_NS[unit]).astype(np.int64)
    assert notes(converted) == ()
    assert np.abs(converted - grid(0.1, 9.9)).max() < NS_PER_S * 1e-3 + NS_PER_S


def test_floats_of_nanoseconds_are_told_as_such() -> None:
    with pytest.raises(TypeError, match="look like Unix nanoseconds: keep them integers"):
        notes(grid(0.1, 10).astype(float))
    with pytest.raises(TypeError, match=r"look like nanoseconds"):
        notes(grid(0.1, 10, 0).astype(float))
    with pytest.raises(TypeError, match="int64 nanoseconds of one clock"):
        notes(np.array([np.nan, np.nan]), [1.0, 2.0])


def test_dates_are_refused_with_what_makes_them_nanoseconds() -> None:
    import datetime

    dates = grid(0.1, 10).astype("datetime64[ns]")
    cure = r"np.asarray\(times, 'datetime64\[ns\]'\).astype\(np.int64\) gives them"
    with pytest.raises(TypeError, match=cure):
        notes(dates)
    assert notes(np.asarray(dates, "datetime64[ns]").astype(np.int64)) == ()
    with pytest.raises(TypeError, match=r"'timedelta64\[ns\]'"):
        notes(dates - dates[0])
    objects = [datetime.datetime(2026, 1, 1), datetime.datetime(2026, 1, 2)]
    with pytest.raises(TypeError, match=rf"objects \(datetime\): {cure} \(in UTC\)"):
        notes(objects, [1.0, 2.0])


MONOTONIC_NS = 20 * 86_400 * NS_PER_S  # 20 days after the boot: in us a Unix time of 2024
YOUNG_NS = 1_795 * NS_PER_S  # half an hour after it: in ms a Unix time of 2026
POLLED = np.repeat(RNG.normal(200, 30, 40), 100)[:4000]  # a sensor that updates every 100 polls


@pytest.mark.parametrize(
    ("t", "watts"),
    [
        (grid(50e-6, 2.0), None),  # a measuring card at 20 kHz
        (grid(50e-6, 2.0, 0), None),
        (grid(1e-3, 2.0, MONOTONIC_NS), None),  # a meter at 1 kHz
        (grid(1e-3, 0.5), None),
        (grid(1e-3, 0.5, 0), None),
        (grid(1e-3, 3.999, MONOTONIC_NS), POLLED),
        (grid(1e-3, 3.999, YOUNG_NS), POLLED),
        (grid(50e-6, 0.19995, MONOTONIC_NS), POLLED),  # a sensor polled at 20 kHz for 0.2 s
        (grid(50e-6, 0.19995, 0), POLLED),
        (grid(1e-3, 0.5, 0), np.full(501, 80.0)),  # nothing ran
        (grid(1e-3, 10.0, 0), np.full(10_001, 80.0)),
        (grid(1e-3, 10.0, MONOTONIC_NS), np.full(10_001, 80.0)),
        (grid(1e-3, 10.0, 0) + RNG.integers(-50_000, 50_000, 10_001), np.full(10_001, 80.0)),
        (grid(1e-3, 0.3, YOUNG_NS), np.repeat([80.0, 300.0, 301.0], [100, 100, 101])),
        (grid(1.0, 4 * 3600), np.full(4 * 3600 + 1, 80.0)),  # nvidia-smi, for hours
        (grid(1.0, 4 * 3600), np.round(RNG.normal(80, 1, 4 * 3600 + 1))),
        (grid(0.1, 0.2), [80.0, 80.0, 80.0]),
        (grid(1.0, 2.0, 0), [80.0, 80.0, 80.0]),
        (grid(15.0, 3600, 0), np.full(241, 80.0)),  # Prometheus
        (grid(0.1, 0.2), None),
        (grid(0.1, 0.1), None),
        (grid(3600.0, 30 * 3600.0), None),  # an hourly log
        (grid(1.0, 100, MONOTONIC_NS), None),
    ],
)
def test_what_may_be_nanoseconds_passes_without_a_word(t: np.ndarray, watts: Any) -> None:
    assert notes(t, watts) == ()


@pytest.mark.parametrize("start_ns", [0, YOUNG_NS, MONOTONIC_NS, UNIX_NS])
@pytest.mark.parametrize(
    ("interval_s", "seconds", "per_ns", "unit"),
    [
        (0.02, 10, 1_000, "microseconds"),
        (0.1, 10, 1_000, "microseconds"),
        (0.1, 3600, 1_000, "microseconds"),
        (0.5, 60, 1_000, "microseconds"),
        (1.0, 900, 1_000, "microseconds"),
        (15.0, 3600, NS_PER_MS, "milliseconds"),
        (60.0, 120, NS_PER_MS, "milliseconds"),
        (3600.0, 86400, NS_PER_S, "seconds"),
    ],
)
@pytest.mark.parametrize("plateaus", [1, 3])
def test_times_of_another_unit_are_told_also_where_nothing_changes(
    start_ns: int, interval_s: float, seconds: float, per_ns: int, unit: str, plateaus: int
) -> None:
    """As nanoseconds they are polls that hardly anyone makes: a note that names the unit."""
    t = grid(interval_s, seconds, start_ns) // per_ns
    watts = np.repeat([80.0, 300.0, 80.0], len(t))[: plateaus * len(t) : plateaus]
    if interval_s == 1.0 and (start_ns != UNIX_NS or plateaus > 1):
        assert notes(t, watts) == ()  # nothing tells it from 1 kHz
        return
    (note,) = notes(t, watts)
    assert f"taken as nanoseconds, {len(t)} readings come every" in note
    assert f"{unit} (times * {per_ns:_})" in note
    energy = Trace(recorded_from_readings({"gpu:0/power": (t, watts)})).energy
    assert sum("taken as nanoseconds" in text for text in energy.notes) == 1


@pytest.mark.parametrize(
    "t",
    [
        grid(1e-6, 0.05),  # a scope's capture
        grid(50e-6, 0.2, MONOTONIC_NS),
        grid(50e-6, 0.2, 0),
        grid(50e-6, 0.2, YOUNG_NS),
    ],
)
def test_what_is_only_strange_is_said_with_every_energy(t: np.ndarray) -> None:
    assert_said_with_every_energy(t, RNG.normal(200, 30, len(t)))


def test_fast_polls_that_show_no_update_may_be_slow_ones_in_another_unit() -> None:
    assert_said_with_every_energy(grid(50e-6, 0.05, MONOTONIC_NS), np.full(1001, 80.0))


def assert_said_with_every_energy(t: np.ndarray, watts: np.ndarray) -> None:
    trace = Trace(recorded_from_readings({"gpu:0/power": (t, watts)}))
    (note,) = trace.notes
    assert "If that is not so:" in note
    assert note in trace.energy.notes
    assert str(trace).count("taken as nanoseconds") == 1  # not twice


def test_the_same_in_nanoseconds_has_the_energy_of_the_plateau() -> None:
    """What the error says to do works."""
    t_s = np.arange(0, 30, 0.1)
    with pytest.raises(TypeError, match="seconds") as caught:
        notes(t_s)
    assert "np.round(times * 1_000_000_000).astype(np.int64)" in str(caught.value)
    t = np.round(t_s * 1_000_000_000).astype(np.int64)
    trace = Trace(recorded_from_readings({"gpu:0/power": (t, np.full(len(t), 300.0))}))
    assert trace.energy.joules == pytest.approx(300 * 29.9, rel=1e-6)


# One clock ------------------------------------------------------------------------------------

READINGS = {"gpu:0/power": (grid(0.1, 30), np.full(301, 200.0))}


def _spans(per_ns: int, start_ns: int = UNIX_NS) -> list[tuple[str, int, int]]:
    edges = [start_ns + second * NS_PER_S for second in (2, 4, 6, 8)]
    return [("x", edges[0] // per_ns, edges[1] // per_ns),
            ("y", edges[2] // per_ns, edges[3] // per_ns)]  # fmt: skip


@pytest.mark.parametrize("unit", PER_UNIT_NS)
def test_spans_of_another_unit_are_refused(unit: str) -> None:
    factor = f"times * {PER_UNIT_NS[unit]:_}"
    with pytest.raises(OptionError) as caught:
        recorded_from_readings(READINGS, _spans(PER_UNIT_NS[unit]))
    assert f"span 'x' lies outside the readings, but inside if its times are {unit}" in str(
        caught.value
    )
    assert factor in str(caught.value)
    bounds = tuple(edge // PER_UNIT_NS[unit] for edge in (UNIX_NS, UNIX_NS + 20 * NS_PER_S))
    with pytest.raises(OptionError, match=f"bounds_ns lies outside .* if its times are {unit}"):
        recorded_from_readings(READINGS, bounds_ns=bounds)


@pytest.mark.parametrize("span_s", [(-1000, 10_000), (2000, 2001), (-5, 1), (4999, 5005)])
def test_readings_of_another_unit_than_their_spans_are_refused(span_s: tuple[int, int]) -> None:
    """Microseconds at 1 Hz, which alone would only be strange; around a span, or within it."""
    t = grid(1.0, 5000) // 1_000
    span = ("x", UNIX_NS + span_s[0] * NS_PER_S, UNIX_NS + span_s[1] * NS_PER_S)
    with pytest.raises(OptionError, match=r"if the readings' times are microseconds"):
        recorded_from_readings({"gpu:0/power": (t, np.full(len(t), 200.0))}, [span])


@pytest.mark.parametrize("unit", ["seconds", "milliseconds"])
def test_spans_from_zero_of_another_unit_are_refused(unit: str) -> None:
    t = grid(0.1, 30, 0)
    spans = _spans(PER_UNIT_NS[unit], 0)
    if unit == "milliseconds":  # 6 us from first to last: strange, no more
        (note,) = notes(t, spans=spans)
        assert "span 'x' and the others: from first to last they take 6 µs; as milliseconds" in note
        return
    with pytest.raises(OptionError, match=r"as seconds \(times \* 1_000_000_000\) they would fit"):
        notes(t, spans=spans)
    with pytest.raises(OptionError, match=r"bounds_ns: .*as seconds"):
        notes(t, bounds_ns=(0, 30))


def test_short_spans_that_fit_pass() -> None:
    t = grid(0.1, 30)
    spans = [("tiny", UNIX_NS + NS_PER_S, UNIX_NS + NS_PER_S + 300), ("none", UNIX_NS, UNIX_NS)]
    assert notes(t, spans=spans) == ()
    first = [("a", 0, 40 * NS_PER_MS), ("b", 50 * NS_PER_MS, 90 * NS_PER_MS)]
    assert notes(grid(0.1, 30, 0), spans=first) == ()


def test_channels_of_different_units_are_refused() -> None:
    t = grid(1.0, 300)
    joules = 200.0 * np.arange(301)
    both = {"gpu:0/power": (t, np.full(301, 200.0)), "gpu:0/energy": (t // 1_000, joules)}
    with pytest.raises(OptionError) as caught:
        recorded_from_readings(both)
    assert "microseconds" in str(caught.value)
    two = {"gpu:0/power": (t, np.full(301, 200.0)), "gpu:1/power": (t // 1_000, np.full(301, 90.0))}
    with pytest.raises(OptionError, match=r"gpu:1/power look like microseconds \(times \* 1_000\)"):
        recorded_from_readings(two)


def test_times_that_are_rounded_are_said() -> None:
    """Ten readings a second, stamped in whole seconds: no window's edge is better than that."""
    t = grid(0.1, 30) // NS_PER_S * NS_PER_S
    (note,) = notes(t)
    assert "bear the time of the one before: times are rounded, to about 1 s" in note
    twice = np.sort(np.concatenate([grid(0.1, 30), grid(10.0, 30)]))
    assert notes(twice) == ()


def test_two_devices_in_one_are_said() -> None:
    """A log of two cards, whose lines were not told apart."""
    (note,) = notes(np.repeat(grid(1.0, 30), 2))
    assert "every time is there 2 times, as where 2 devices are in one (give each its own" in note
