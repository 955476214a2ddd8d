# SPDX-License-Identifier: Apache-2.0
"""A trace as a file for Perfetto: joules in the slices, one clock with the profiler's file."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attached import BOUNDS, S, around, rows, taken
from simulate import START_NS, sampled

from pyenergy import Trace, _core
from pyenergy.attribution import read_kineto
from pyenergy.attribution.timeline import ClockStepError
from pyenergy.errors import OptionError, RecordingError, WindowError
from pyenergy.recording.clock_anchor import ClockAnchor
from pyenergy.recording.marks import Mark
from pyenergy.recording.series import Runs
from pyenergy.report.perfetto import write_perfetto
from pyenergy.report.trace_events import lanes, microseconds
from pyenergy.testing import simulated

PERIOD_NS = 7_889_238 * S
UNIX_NS = 1_750_000_000 * S


def read(path: Path) -> dict[str, Any]:
    """With times as they are written: floats would lose digits."""
    raw = path.read_bytes()
    text = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    found: dict[str, Any] = json.loads(text, parse_float=Decimal)
    return found


def tracks(events: list[dict[str, Any]]) -> dict[tuple[int, int], tuple[str, str]]:
    """(process, thread) by their numbers."""
    of = {e["pid"]: e["args"]["name"] for e in events if e["name"] == "process_name"}
    return {
        (e["pid"], e["tid"]): (of[e["pid"]], e["args"]["name"])
        for e in events
        if e["name"] == "thread_name"
    }


def slices(events: list[dict[str, Any]]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    names, found = tracks(events), defaultdict(list)
    for event in events:
        if event["ph"] == "X" and event["cat"] == "energy":
            found[names[event["pid"], event["tid"]]].append(event)
    return dict(found)


def counters(events: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found = defaultdict(list)
    for event in events:
        if event["ph"] == "C":
            found[event["name"]].append(event)
    return dict(found)


def overlaps(events: list[dict[str, Any]]) -> int:
    spans = sorted((e["ts"], e["ts"] + e["dur"]) for e in events)
    return sum(b[0] < a[1] for a, b in pairwise(spans))


def test_slices_hold_the_joules_of_the_whole(tmp_path: Path) -> None:
    trace = taken()
    trace.attach(rows(layer=["h.0", "h.0", None], stream=[7, 7, 9]))
    events = read(write_perfetto(trace, tmp_path / "t.json"))["traceEvents"]
    found = slices(events)
    process = "pyenergy gpu:0 unnamed"
    assert {track for _, track in found} == {
        "stream 7", "layers, stream 7", "stream 9", "nothing ran",
    }  # fmt: skip
    parts = [e for (_, name), each in found.items() if "layers" not in name for e in each]
    joules = sum(float(e["args"]["energy_j"] + e["args"]["static_j"]) for e in parts)
    assert joules == pytest.approx(trace.energy.joules, rel=1e-12)
    gemm, softmax = found[process, "stream 7"]
    assert (gemm["name"], gemm["ts"], gemm["dur"]) == ("gemm", 2_000_000, 1_000_000)
    table = {row["name"]: row for row in trace.kernels().to_dicts()}
    assert float(softmax["args"]["energy_j"]) == pytest.approx(table["softmax"]["energy_j"])
    assert float(softmax["args"]["u_j"]) == pytest.approx(table["softmax"]["u_j"])
    (layer,) = found[process, "layers, stream 7"]
    assert (layer["name"], layer["dur"], layer["args"]["operations"]) == ("h.0", 2_000_000, 2)
    row = trace.layers("layer").row(by_predicate=pl_layer("h.0"), named=True)
    assert float(layer["args"]["u_j"]) == pytest.approx(row["u_j"])
    assert float(layer["args"]["energy_j"]) == pytest.approx(row["energy_j"])


def pl_layer(name: str) -> Any:
    import polars as pl

    return pl.col("layer") == name


def test_the_steps_of_the_model_hold_the_energy(tmp_path: Path) -> None:
    trace = taken()
    events = read(write_perfetto(trace, tmp_path / "t.json"))["traceEvents"]
    model = counters(events)["power of the model"]
    t = np.array([int(1000 * e["ts"]) for e in model] + [BOUNDS[1]])
    watts = np.array([float(e["args"]["W"]) for e in model])
    assert t[0] == BOUNDS[0]
    assert watts @ np.diff(t) / S == pytest.approx(trace.energy.joules, rel=1e-12)
    seen = counters(events)["power as read"]
    inside = [e for e in seen if BOUNDS[0] < 1000 * e["ts"] < BOUNDS[1]]
    series = trace.series("gpu:0/power")
    assert {float(e["args"]["W"]) for e in inside} <= set(series.values.tolist())
    assert len(inside) > 700


def test_overlapping_operations_of_a_stream_are_on_other_tracks(tmp_path: Path) -> None:
    trace = taken()
    starts = [2 * S, 2 * S + 5, 3 * S, 3 * S + 1]
    trace.attach(
        {
            "name": ["a", "b", "c", "d"],
            "start_ns": starts,
            "end_ns": [3 * S, 4 * S, 4 * S, 3 * S + 2],
            "stream": [7] * 4,
        }
    )
    found = slices(read(write_perfetto(trace, tmp_path / "t.json"))["traceEvents"])
    names = {track: [e["name"] for e in each] for (_, track), each in found.items()}
    assert names["stream 7"] == ["a", "c"]
    assert names["stream 7, overlapping 1"] == ["b"]
    assert names["stream 7, overlapping 2"] == ["d"]
    assert all(overlaps(each) == 0 for each in found.values())
    (b,) = found["pyenergy gpu:0 unnamed", "stream 7, overlapping 1"]
    assert b["ts"] == Decimal("2000000.005")
    assert b["args"]["lower_j"] <= b["args"]["energy_j"] <= b["args"]["upper_j"]


def test_tracks_of_spans_that_nest() -> None:
    starts, ends = np.array([0, 0, 2, 3, 9]), np.array([9, 4, 4, 6, 10])
    assert lanes(starts, ends, nests=True) == [0, 0, 0, 1, 0]
    assert lanes(starts, ends) == [0, 1, 2, 3, 0]


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0.000"),
        (1, "0.001"),
        (-1, "-0.001"),
        (1_767_189_312_000_000_123, "1767189312000000.123"),
    ],
)
def test_microseconds_keep_every_digit(ns: int, text: str) -> None:
    assert microseconds(ns) == text


# Clocks -------------------------------------------------------------------------------------


def anchored(trace: Trace, offset: int, step: int = 0) -> Trace:
    low, high = trace.bounds_ns
    anchors = (ClockAnchor(low, low + offset, 100), ClockAnchor(high, high + offset + step, 100))
    return Trace(replace(trace.recorded, anchors=anchors))


def test_unix_time_from_kinetos_base_where_the_clock_is_known(tmp_path: Path) -> None:
    offset = UNIX_NS + 123
    trace = anchored(taken(spans=[("work", 2 * S + 7, 3 * S + 7)]), offset)
    found = read(trace.perfetto(tmp_path / "t.json.gz"))
    base = found["baseTimeNanoseconds"]
    assert base == (BOUNDS[0] + offset) // PERIOD_NS * PERIOD_NS
    (mark,) = slices(found["traceEvents"])["pyenergy", "marks"]
    assert base + 1000 * mark["ts"] == 2 * S + 7 + offset
    assert 1000 * mark["dur"] == S
    row = trace.spans().row(0, named=True)
    assert float(mark["args"]["energy_j"]) == row["energy_j"]
    assert float(mark["args"]["u_j"]) == row["u_j"]
    assert found["pyenergy"]["clock"] == "unix"
    first = (tmp_path / "t.json.gz").read_bytes()
    trace.perfetto(tmp_path / "t.json.gz")
    assert (tmp_path / "t.json.gz").read_bytes() == first


def test_the_recordings_own_clock_without_anchors_or_when_it_was_set(tmp_path: Path) -> None:
    bare = read(write_perfetto(taken(), tmp_path / "t.json"))
    assert (bare["baseTimeNanoseconds"], bare["pyenergy"]["clock"]) == (0, "recording")
    stepped = anchored(taken(), UNIX_NS, step=S)
    set_meanwhile = read(write_perfetto(stepped, tmp_path / "s.json"))
    assert set_meanwhile["traceEvents"] == bare["traceEvents"]
    assert "clock was set" in set_meanwhile["pyenergy"]["notes"][-1]


# Merging ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["h100_bert_small", "vllm_cuda_graph_decode", "cpu_only"])
def test_a_profile_keeps_its_text_and_gets_the_joules(
    shared_data: Path, tmp_path: Path, name: str
) -> None:
    profile = shared_data / "kineto" / f"{name}.json.gz"
    trace = around(profile)
    merged = trace.perfetto(tmp_path / "both.json", merge=profile)
    before, after = gzip.decompress(profile.read_bytes()), merged.read_bytes()
    same = next(i for i in range(len(before)) if before[i] != after[i])
    assert before[same:].lstrip() == after[len(after) - len(before) + same :].lstrip()
    original, both = json.loads(before, parse_float=Decimal), read(merged)
    events = original.pop("traceEvents")
    ours = both["traceEvents"][len(events) :]
    assert both.pop("traceEvents")[: len(events)] == events
    assert both == original  # also its base
    # Every kernel of the profile has a slice of ours at the same time, to the nanosecond.
    kinds = ("kernel", "gpu_memcpy", "gpu_memset")
    theirs = {(e["name"], e["ts"], e["dur"]) for e in events if e.get("cat") in kinds}
    found = {(e["name"], Decimal(e["ts"]), e["dur"]) for e in ours if e["ph"] == "X"}
    assert theirs <= found
    assert {e["pid"] for e in ours}.isdisjoint(e.get("pid") for e in events)
    again = read_kineto(merged)
    assert len(again) >= len(read_kineto(profile))


@pytest.mark.parametrize(
    "text",
    [
        '[{"ph":"X","cat":"kernel","name":"k","pid":0,"tid":7,"ts":1750000002000000,"dur":5}]',
        '{"a":{"traceEvents":[1]},"traceEvents" : [ {"ph":"X","cat":"kernel","name":"]}{",'
        '"pid":0,"tid":7,"ts":2000000,"dur":5} ] ,"baseTimeNanoseconds":1750000000000000000}',
    ],
)
def test_other_shapes_of_a_profile(tmp_path: Path, text: str) -> None:
    profile = tmp_path / "p.json"
    profile.write_text(text)
    trace = anchored(taken(spans=[("work", 2 * S, 3 * S)]), UNIX_NS)
    found = json.loads(write_perfetto(trace, tmp_path / "m.json", merge=profile).read_text())
    events = found if isinstance(found, list) else found["traceEvents"]
    (mark,) = slices(events)["pyenergy", "marks"]
    assert events[0]["ts"] == mark["ts"]


def test_profiles_that_cannot_be_merged(tmp_path: Path) -> None:
    trace, profile = anchored(taken(), UNIX_NS), tmp_path / "p.json"
    event = '{"ph":"X","cat":"kernel","name":"k","pid":0,"tid":7,"ts":%d,"dur":5}'
    with pytest.raises(RecordingError, match="cannot read"):
        write_perfetto(trace, tmp_path / "m.json", merge=profile)
    profile.write_text(f'{{"traceEvents":[{event % 99_000_000}],"baseTimeNanoseconds":{UNIX_NS}}}')
    with pytest.raises(WindowError, match="another run"):
        write_perfetto(trace, tmp_path / "m.json", merge=profile)
    profile.write_text(f'{{"traceEvents":[{event % 2_000_000}]}}')
    with pytest.raises(OptionError, match="nothing says what its times count from"):
        write_perfetto(trace, tmp_path / "m.json", merge=profile)
    profile.write_text('{"traceEvents":[],"baseTimeNanoseconds":0}')
    with pytest.raises(OptionError, match="no events"):
        write_perfetto(trace, tmp_path / "m.json", merge=profile)
    profile.write_text(f'{{"traceEvents":[{event % 2_000_000}')
    with pytest.raises(RecordingError, match="at byte"):
        write_perfetto(trace, tmp_path / "m.json", merge=profile)
    profile.write_text(f"[{event % 1_750_000_002_000_000}]")
    with pytest.raises(OptionError, match="the profile itself"):
        write_perfetto(trace, profile, merge=profile)
    with pytest.raises(ClockStepError, match="clock was set"):
        write_perfetto(anchored(trace, UNIX_NS, step=S), tmp_path / "m.json", merge=profile)
    with pytest.raises(OptionError, match=r"\.json or \.json\.gz"):
        write_perfetto(trace, tmp_path / "t.pftrace")
    with pytest.raises(RecordingError, match="cannot write"):
        write_perfetto(trace, tmp_path / "absent" / "t.json")
    assert [path.name for path in tmp_path.iterdir()] == ["p.json"]


# What is missing ----------------------------------------------------------------------------


def test_what_was_not_read_is_a_slice_and_no_value(tmp_path: Path) -> None:
    trace = taken()
    device = trace.recorded.devices["gpu:0"]
    runs = device.runs["power"]
    flags = runs.flags.copy()
    bad = (runs.t_first_ns > 4 * S) & (runs.t_first_ns < 5 * S)
    flags[bad] |= _core.FLAG_MISSING
    value = np.where(bad, np.nan, runs.value)
    devices = {"gpu:0": replace(device, runs={"power": replace(runs, flags=flags, value=value)})}
    again = Trace(replace(trace.recorded, devices=devices))
    events = read(write_perfetto(again, tmp_path / "t.json"))["traceEvents"]
    (gap,) = slices(events)["pyenergy gpu:0 unnamed", "power: not read"]
    assert 0.98 < gap["dur"] / 1_000_000 < 1.04
    seen = [e["ts"] / 1_000_000 for e in counters(events)["power as read"]]
    assert not any(4 < t < 5 for t in seen)


def test_devices_that_were_not_read_have_slices_without_joules(tmp_path: Path) -> None:
    trace = taken(("gpu:0", "gpu:1"), spans=[("work", 2 * S, 3 * S)])
    trace.attach(rows(device=[0, 1, 5]))
    lost = trace.recorded.devices["gpu:1"]
    nothing = Runs(**{c: getattr(lost.runs["power"], c)[:0] for c in Runs.names()})
    devices = {**trace.recorded.devices, "gpu:1": replace(lost, runs={"power": nothing})}
    trace = Trace(replace(trace.recorded, devices=devices))
    found = read(write_perfetto(trace, tmp_path / "t.json"))
    each = slices(found["traceEvents"])
    assert "energy_j" in each["pyenergy gpu:0 unnamed", "operations"][0]["args"]
    for process in ("pyenergy gpu:1 unnamed", "pyenergy gpu:5"):
        assert each[process, "operations"][0]["args"] == {"note": "its device was not read"}
    assert each["pyenergy", "marks"][0]["args"] == {}  # a sum without a device would be wrong
    assert list(found["pyenergy"]["not_readable"]) == ["gpu:1"]


def test_operations_beyond_the_trace_say_so(tmp_path: Path) -> None:
    trace = taken()
    trace.attach(
        {"name": ["before", "cut", "in"], "start_ns": [0, S // 2, 3 * S],
         "end_ns": [5, 2 * S, 4 * S]}
    )  # fmt: skip
    found = slices(read(write_perfetto(trace, tmp_path / "t.json"))["traceEvents"])
    before, cut, _ = found["pyenergy gpu:0 unnamed", "operations"]
    assert before["args"] == {"note": "outside the trace: nothing is known of its energy"}
    assert cut["args"]["note"] == "the trace has 1 s of it"


def test_a_simulated_card_with_clocks_temperature_and_marks(tmp_path: Path) -> None:
    with simulated("a100") as world:
        world[0].script([(0, 80.0), (START_NS + S, 300.0), (START_NS + 2 * S, 80.0)])
        recorded = sampled(0, seconds=4).recorded
    marks = (
        Mark("<outer>", START_NS + S, START_NS + 3 * S),
        Mark('in "ner"', START_NS + S, START_NS + 2 * S, 1),
        Mark("other", START_NS + S, START_NS + 4 * S, thread=3),
    )
    trace = Trace(replace(recorded, marks=marks))
    events = read(write_perfetto(trace, tmp_path / "t.json"))["traceEvents"]
    read_too = counters(events)
    assert list(read_too["sm_clock as read"][0]["args"]) == ["Hz"]
    assert list(read_too["temperature as read"][0]["args"]) == ["degC"]
    found = slices(events)
    assert not any("not read" in track for _, track in found)  # clocks are read more rarely
    assert [e["name"] for e in found["pyenergy", "marks"]] == ["<outer>", 'in "ner"']
    assert [e["name"] for e in found["pyenergy", "marks of thread 3"]] == ["other"]
    energy = trace.window(START_NS + S, START_NS + 3 * S)
    assert float(found["pyenergy", "marks"][0]["args"]["energy_j"]) == energy.joules
    labels = [e["args"]["labels"] for e in events if e["name"] == "process_labels"]
    assert labels == [str(trace.energy), str(trace.energies["gpu:0"])]
