# SPDX-License-Identifier: Apache-2.0
"""Readings taken elsewhere: nothing is lost on the way, nothing is made up, nonsense is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyenergy import _core
from pyenergy._trace import Trace
from pyenergy.errors import OptionError
from pyenergy.recording.check import check
from pyenergy.recording.marks import Mark
from pyenergy.recording.readings import recorded_from_readings
from pyenergy.recording.series import Runs
from pyenergy.recording.store import load, save
from pyenergy.units import NS_PER_MS, NS_PER_S

T0 = 1_795_183_402_123_456_789  # Unix time: ns that a float would lose


def power(values: Any, step_ns: int = 100 * NS_PER_MS, start_ns: int = T0) -> tuple[Any, Any]:
    return start_ns + step_ns * np.arange(len(values), dtype=np.int64), values


def runs_of(values: Any, name: str = "power", **options: Any) -> Runs:
    recorded = recorded_from_readings({f"gpu:0/{name}": power(values)}, **options)
    return recorded.devices["gpu:0"].runs[name]


readings = st.lists(
    st.sampled_from([0.0, 1.0, 50.0, 50.5, 400.0, 1e6, -1.0, 2e6, math.nan]),
    min_size=2,
    max_size=60,
)
steps = st.lists(st.integers(0, 10**10), min_size=60, max_size=60)


@given(values=readings, gaps=steps)
def test_runs_hold_every_reading(values: list[float], gaps: list[int]) -> None:
    # Ordinary readings behind them, and more: as a whole they are watts at nanoseconds.
    gaps = [*gaps[: len(values) - 1], *[100 * NS_PER_MS] * (len(values) + 1)]
    values = [*values, *[50.0] * (len(values) + 1)]
    t = np.cumsum([T0, *gaps])
    bounds = T0 - 1, int(t[-1]) + 1
    recorded = recorded_from_readings({"gpu:0/power": (t, values)}, bounds_ns=bounds)
    check(recorded)
    runs = recorded.devices["gpu:0"].runs["power"]
    assert int(runs.count.sum()) == len(values)
    first = np.concatenate([[0], np.cumsum(runs.count)[:-1]]).astype(int)
    last = np.cumsum(runs.count).astype(int) - 1
    for seen, index in (
        (runs.t_first_ns, first), (runs.read_first_ns, first),
        (runs.t_last_ns, last), (runs.read_last_ns, last),
    ):  # fmt: skip
        assert np.array_equal(seen, t[index])
    given_values = np.array(values)
    usable = (given_values >= 0) & (given_values <= 1e6)
    expected = np.where(usable, given_values, np.nan)
    assert np.array_equal(np.repeat(runs.value, runs.count), expected, equal_nan=True)
    flags = np.repeat(runs.flags, runs.count)
    assert np.array_equal((flags & _core.FLAG_MISSING) != 0, np.isnan(given_values))
    assert np.array_equal((flags & _core.FLAG_INVALID) != 0, ~usable & ~np.isnan(given_values))


@given(values=st.lists(st.integers(0, 1000), min_size=2, max_size=40))
def test_counter_differences_come_back_except_across_a_fall(values: list[int]) -> None:
    runs = runs_of(np.array(values, float), "energy")
    total = np.repeat(runs.value, runs.count)
    rises = np.diff(np.array(values, float))
    assert np.array_equal(np.diff(total), np.maximum(rises, 0.0))
    resets = int(((runs.flags & _core.FLAG_RESET) != 0).sum())
    assert resets == int((rises < 0).sum())


def test_a_counter_that_never_falls_keeps_its_values() -> None:
    joules = [7299606.661, 7299606.661, 7299612.25, 7299620.0]
    assert runs_of(joules, "energy").value.tolist() == [7299606.661, 7299612.25, 7299620.0]


def test_missing_and_impossible_readings_are_flagged_and_counted() -> None:
    values = [100.0, math.nan, math.nan, -5.0, 3e6, 100.0, 100.0]
    recorded = recorded_from_readings({"gpu:0/power": power(values)})
    runs = recorded.devices["gpu:0"].runs["power"]
    assert runs.count.tolist() == [1, 2, 2, 2]
    assert runs.flags.tolist() == [0, _core.FLAG_MISSING, _core.FLAG_INVALID, 0]
    assert "gpu:0/power: 2 of 7 readings are missing" in recorded.notes
    assert "gpu:0/power: 2 of 7 readings are impossible and not used" in recorded.notes


def test_masked_and_none_are_missing() -> None:
    masked = np.ma.masked_array([1.0, 9999.0, 3.0], mask=[False, True, False])
    for values in (masked, [1.0, None, 3.0]):
        assert runs_of(values).flags.tolist() == [0, _core.FLAG_MISSING, 0]


def test_a_silence_is_a_gap_even_between_equal_readings() -> None:
    t, values = power(np.full(100, 200.0))
    t[50:] += 2 * NS_PER_S
    recorded = recorded_from_readings({"gpu:0/power": (t, values)})
    device = recorded.devices["gpu:0"]
    assert device.gap_ns == 300 * NS_PER_MS
    assert device.runs["power"].flags.tolist() == [0, _core.FLAG_GAP_BEFORE]
    assert any("1 silences of more than 300 ms (the longest 2.1 s)" in n for n in recorded.notes)
    whole = recorded_from_readings({"gpu:0/power": power(np.full(121, 200.0))})
    quiet = [Trace(r).window(T0 + 5 * NS_PER_S, T0 + 7 * NS_PER_S) for r in (recorded, whole)]
    assert quiet[0].u > 5 * quiet[1].u
    assert any("nothing was read for 2" in note for note in quiet[0].notes)


def test_metadata_says_what_is_known_and_no_more() -> None:
    facts = {"name": "NVIDIA A100", "uuid": "GPU-1", "architecture": "ga100", "power_max_w": 400}
    recorded = recorded_from_readings(
        {
            "gpu:0/power": power([1.0, 2.0]),
            "gpu:0/energy": power([1.0, 2.0]),
            "cpu:0/power_average": power([5.0, 6.0]),
        },
        devices={"gpu:0": facts},
        notes=["from a meter"],
    )
    gpu, cpu = recorded.devices["gpu:0"], recorded.devices["cpu:0"]
    assert (gpu.meta.name, gpu.meta.uuid, gpu.meta.power_max_w) == ("NVIDIA A100", "GPU-1", 400.0)
    assert math.isnan(gpu.meta.power_min_w)
    assert (gpu.meta.source, gpu.meta.kind, cpu.meta.kind) == ("readings", "gpu", "cpu")
    channel = gpu.channels["energy"]
    assert (channel.kind, channel.unit, channel.source) == ("counter", "J", "readings")
    assert (channel.update_ns, channel.window_ns, channel.delay_ns) == (-1, -1, -1)
    assert recorded.notes == ("from a meter",)


def test_none_is_not_known_and_no_text() -> None:
    facts = dict.fromkeys(("name", "uuid", "architecture", "field", "power_min_w", "power_max_w"))
    recorded = recorded_from_readings({"gpu:0/power": power([1.0, 2.0])}, devices={"gpu:0": facts})
    meta = recorded.devices["gpu:0"].meta
    assert (meta.name, meta.uuid, meta.architecture) == ("unnamed", "", "")
    assert math.isnan(meta.power_max_w)
    assert recorded.devices["gpu:0"].channels["power"].source == "readings"


def test_numbers_of_numpy_are_numbers() -> None:
    facts = {"power_min_w": np.int64(50), "power_max_w": np.float32(400)}
    recorded = recorded_from_readings(
        {"gpu:0/power": power(np.float32([100, 200]))},
        [("x", np.int64(T0), T0 + 5)],
        bounds_ns=np.array([T0, T0 + NS_PER_S]),
        devices={"gpu:0": facts},
    )
    meta = recorded.devices["gpu:0"].meta
    assert (meta.power_min_w, meta.power_max_w) == (50.0, 400.0)
    assert recorded.bounds_ns == (T0, T0 + NS_PER_S)


def test_one_card_that_is_given_as_two_is_pointed_at() -> None:
    two = {"gpu:0/power": power([1.0, 2.0]), "gpu:1/power": power([1.0, 2.0])}
    facts = {name: {"uuid": "GPU-1"} for name in ("gpu:0", "gpu:1")}
    notes = recorded_from_readings(two, devices=facts).notes
    assert notes == ("gpu:0 and gpu:1 have one UUID, GPU-1: is the same card counted 2 times?",)


def test_spans_widen_the_bounds_and_are_sorted() -> None:
    spans = [("b", T0 + 5, T0 + NS_PER_S), Mark("a", T0 - 10, T0 + 20, depth=1)]
    recorded = recorded_from_readings({"gpu:0/power": power([1.0, 2.0])}, spans)
    assert [m.name for m in recorded.marks] == ["a", "b"]
    assert recorded.marks[0].depth == 1
    assert recorded.bounds_ns == (T0 - 10, T0 + NS_PER_S)
    assert Trace(recorded).spans()["name"].to_list() == ["a", "b"]


def test_a_span_far_from_all_readings_is_pointed_at() -> None:
    span = ("elsewhere", T0 - 3600 * NS_PER_S, T0 - 3599 * NS_PER_S)
    recorded = recorded_from_readings({"gpu:0/power": power([1.0, 2.0])}, [span])
    assert any("is it on the same clock?" in note for note in recorded.notes)


def test_it_can_be_saved_and_loaded(tmp_path: Any) -> None:
    values = [1.0, math.nan, 3.0, 3.0]
    recorded = recorded_from_readings({"gpu:0/power": power(values)}, [("x", T0, T0 + 5)])
    again = load(save(recorded, tmp_path / "r.pyenergy"))
    assert again.marks == recorded.marks
    for name in Runs.names():
        before = getattr(recorded.devices["gpu:0"].runs["power"], name)
        assert getattr(again.devices["gpu:0"].runs["power"], name).tobytes() == before.tobytes()


def test_the_arrays_given_stay_as_they_were() -> None:
    t, values = power(np.array([5.0, 4.0, 3.0]))
    recorded_from_readings({"gpu:0/energy": (t, values)})
    assert values.tolist() == [5.0, 4.0, 3.0]
    assert t.flags.writeable
    assert values.flags.writeable


@pytest.mark.parametrize(
    ("step_ms", "dwell_s"), [(20, 0.5), (100, 0.05), (1_000, 0.5), (5_000, 0.5), (15_000, 0.05)]
)
def test_two_sigma_cover_the_truth_also_where_readings_are_rare(
    step_ms: int, dwell_s: float
) -> None:
    """A load that switches at random, seen through a sensor that looks at 25 ms out of 100."""
    rng = np.random.default_rng(step_ms)
    covered = 0
    for _ in range(40):
        edges = np.cumsum(rng.exponential(dwell_s, int(180 / dwell_s) + 50))
        watts = np.where(np.searchsorted(edges, np.arange(62_000) / 1000) % 2, 350.0, 80.0)
        total = np.concatenate([[0.0], np.cumsum(watts)])
        polls = np.arange(200 + rng.integers(0, 100), len(watts), step_ms)
        seen = (total[polls // 100 * 100] - total[polls // 100 * 100 - 25]) / 25
        recorded = recorded_from_readings(
            {"gpu:0/power": (T0 + polls * NS_PER_MS, seen)},
            bounds_ns=(T0 + NS_PER_S, T0 + 61 * NS_PER_S),
            devices={"gpu:0": {"power_min_w": 50.0, "power_max_w": 400.0}},
        )
        energy = Trace(recorded).energy
        covered += abs(energy.joules - watts[1000:61_000].sum() / 1000) <= 2 * energy.u
    assert covered >= 38


T, V = power([1.0, 2.0, 3.0])
BAD: dict[str, tuple[dict[str, Any], dict[str, Any], type[Exception], str]] = {
    "nothing": ({}, {}, OptionError, "no readings"),
    "lengths": ({"gpu:0/power": (T, [1.0, 2.0])}, {}, OptionError, "3 times but 2 values"),
    "unsorted": ({"gpu:0/power": (T[::-1], V)}, {}, OptionError, "times decrease at reading 1"),
    "float times": ({"gpu:0/power": (T.astype(float), V)}, {}, TypeError, "integer nanoseconds"),
    "bool times": ({"gpu:0/power": (T > 0, V)}, {}, TypeError, "integer nanoseconds"),
    "empty": ({"gpu:0/power": ([], [])}, {}, OptionError, "no readings"),
    "channel": ({"gpu:0/watts": (T, V)}, {}, OptionError, "no channel 'watts'"),
    "unit": ({"gpu:0/power_mw": (T, V)}, {}, OptionError, "power (W), power_average (W), energy"),
    "device": ({"gpu/power": (T, V)}, {}, OptionError, "named as 'gpu:0/power'"),
    "number of a device": ({"gpu:x/power": (T, V)}, {}, OptionError, "named as"),
    "a list": ([1, 2], {}, OptionError, "readings are a mapping such as"),
    "a text": ("gpu:0/power", {}, OptionError, "readings are a mapping such as"),
    "None": (None, {}, OptionError, "readings are a mapping such as"),
    "a name that is none": ({7: (T, V)}, {}, OptionError, "named as 'gpu:0/power', got 7"),
    "no times": ({"gpu:0/power": (None, None)}, {}, OptionError, "got one NoneType"),
    "masked times": (
        {"gpu:0/power": (np.ma.masked_array(T, mask=[False, True, False]), V)},
        {},
        OptionError,
        "a time is masked",
    ),
    "dates in text": (
        {"gpu:0/power": (["2026-01-01", "2026-01-02", "2026-01-03"], V)},
        {},
        TypeError,
        "integer nanoseconds, got text",
    ),
    "depth of a mark": (
        {},
        {"spans": [Mark("x", T0, T0 + 5, "deep")]},  # type: ignore[arg-type]
        OptionError,
        "depth and thread are integers",
    ),
    "a generator": ({"gpu:0/power": (iter(T), V)}, {}, OptionError, "one-dimensional, got one"),
    "no pair": ({"gpu:0/power": V}, {}, OptionError, "pair"),
    "infinite": ({"gpu:0/power": (T, [1, math.inf, 2])}, {}, OptionError, "reading 1 is infinite"),
    "2-d values": ({"gpu:0/power": (T, [V, V, V])}, {}, OptionError, "one-dimensional"),
    "2-d times": ({"gpu:0/power": ([T, T, T], V)}, {}, OptionError, "one-dimensional"),
    "ragged": ({"gpu:0/power": (T, [[1], [2, 3], 4])}, {}, OptionError, "one-dimensional"),
    "beyond int64": ({"gpu:0/power": ([1, 2, 2**63], V)}, {}, OptionError, "beyond int64"),
    "beyond uint64": ({"gpu:0/power": ([1, 2, 2**70], V)}, {}, OptionError, "beyond int64"),
    "far apart": ({"gpu:0/power": ([-(2**62), 0, 2**62], V)}, {}, OptionError, "too far apart"),
    "text": ({"gpu:0/power": (T, ["1", "2", "3"])}, {}, TypeError, "must be numbers"),
    "objects": ({"gpu:0/power": (T, [1.0, "x", None])}, {}, TypeError, "must be numbers"),
    "one moment": ({"gpu:0/power": ([5], [1.0])}, {}, OptionError, "no duration"),
    "text among numbers": (
        {"gpu:0/power": (T, np.array([1.0, "5", None], dtype=object))},
        {},
        TypeError,
        "must be numbers, got '5'",
    ),
    "a truth among numbers": (
        {"gpu:0/power": (T, np.array([1.0, True, None], dtype=object))},
        {},
        TypeError,
        "must be numbers, got True",
    ),
    "beyond any float": ({"gpu:0/power": (T, [1, 10**400, 2])}, {}, TypeError, "must be numbers"),
    "spans of one": ({}, {"spans": ("x", 3, 7)}, OptionError, "(name, start_ns, end_ns), got 'x'"),
    "spans by name": ({}, {"spans": {"x": (3, 7)}}, OptionError, "spans are a list of"),
    "spans of text": ({}, {"spans": "abc"}, OptionError, "spans are a list of"),
    "no spans": ({}, {"spans": None}, OptionError, "spans are a list of"),
    "a number of spans": ({}, {"spans": 5}, OptionError, "spans are a list of"),
    "one bound": ({}, {"bounds_ns": (0,)}, OptionError, "a pair (start_ns, end_ns), got (0,)"),
    "three bounds": ({}, {"bounds_ns": (0, 1, 2)}, OptionError, "a pair (start_ns, end_ns)"),
    "a number as bounds": ({}, {"bounds_ns": 5}, OptionError, "a pair (start_ns, end_ns), got 5"),
    "bounds of text": ({}, {"bounds_ns": "ab"}, OptionError, "a pair (start_ns, end_ns)"),
    "a list of devices": ({}, {"devices": ["gpu:0"]}, OptionError, "devices are a mapping such as"),
    "a device's name": ({}, {"devices": {"gpu:0": "A100"}}, OptionError, "got 'A100'"),
    "a device of None": ({}, {"devices": {"gpu:0": None}}, OptionError, "is a mapping such as"),
    "a limit in text": (
        {},
        {"devices": {"gpu:0": {"power_max_w": "300"}}},
        OptionError,
        "gpu:0: power_max_w must be a number, got '300'",
    ),
    "a limit that is true": (
        {},
        {"devices": {"gpu:0": {"power_max_w": True}}},
        OptionError,
        "power_max_w must be a number",
    ),
    "an endless limit": (
        {},
        {"devices": {"gpu:0": {"power_max_w": math.inf}}},
        OptionError,
        "power_max_w must be finite",
    ),
    "a numbered architecture": (
        {},
        {"devices": {"gpu:0": {"architecture": 8}}},
        OptionError,
        "architecture must be text, got 8",
    ),
    "field": ({}, {"devices": {"gpu:0": {"field": "now"}}}, OptionError, "no field 'now'; there"),
    "fact of no name": (
        {},
        {"devices": {"gpu:0": {3: "x"}}},
        OptionError,
        "gpu:0: no fact 3; there",
    ),
    "reversed span": ({}, {"spans": [("x", 7, 3)]}, OptionError, "ends before it starts"),
    "span without name": ({}, {"spans": [("", 3, 7)]}, OptionError, "printable"),
    "unprintable span": ({}, {"spans": [("a\nb", 3, 7)]}, OptionError, "printable"),
    "float span": ({}, {"spans": [("x", 3.0, 7)]}, TypeError, "integer nanoseconds"),
    "span of two": ({}, {"spans": [("x", 3)]}, OptionError, "(name, start_ns, end_ns)"),
    "late span": ({}, {"spans": [("x", 0, 2**63)]}, OptionError, "beyond int64"),
    "span outside": (
        {},
        {"spans": [("x", T0 - 5, T0)], "bounds_ns": (T0, T0 + 9)},
        OptionError,
        "outside the bounds",
    ),
    "reversed bounds": ({}, {"bounds_ns": (5, 3)}, OptionError, "end before they start"),
    "float bounds": ({}, {"bounds_ns": (1.0, 3)}, TypeError, "integer nanoseconds"),
    "fact": ({}, {"devices": {"gpu:0": {"colour": "red"}}}, OptionError, "no fact 'colour'"),
    "stranger": ({}, {"devices": {"gpu:7": {}}}, OptionError, "no readings of device 'gpu:7'"),
    "limits": (
        {},
        {"devices": {"gpu:0": {"power_min_w": 9, "power_max_w": 3}}},
        OptionError,
        "impossible power bounds",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_nonsense_is_refused(case: str) -> None:
    given_readings, options, error, message = BAD[case]
    if options:
        given_readings = {"gpu:0/power": (T, V)}
    with pytest.raises(error) as caught:
        recorded_from_readings(given_readings, **options)
    assert message in str(caught.value)


def test_times_that_no_clock_shows() -> None:
    readings = {"gpu:0/power": (np.array([0, 2**62]), np.array([300.0, 300.0]))}
    with pytest.raises(OptionError, match="no clock shows"):
        Trace.from_readings(readings)
