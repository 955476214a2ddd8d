# SPDX-License-Identifier: Apache-2.0
"""Operations attached to a trace: joined to its clock, shared out, and nothing lost."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from attached import BOUNDS, S, around, rows, taken, whole

import pyenergy
from pyenergy import Trace
from pyenergy.attribution.timeline import ClockStepError
from pyenergy.errors import (
    NoReadingsError,
    OptionError,
    RecordingError,
    StateError,
    WindowError,
)
from pyenergy.recording.clock_anchor import ClockAnchor
from pyenergy.recording.operations import Operations

UNIX = 1_790_000_000 * S
KINETO = (
    "a100_four_streams_overlap",
    "cpu_only",
    "h100_bert_small",
    "h100_qwen1.5_0.5b",
    "v100_training_float_us",
    "vllm_cuda_graph_decode",
)


def anchored(trace: Trace, unix_ns: int = UNIX, seconds: int = 10) -> Trace:
    anchors = [ClockAnchor(t * S, unix_ns + t * S, 100) for t in range(seconds + 1)]
    return Trace(dataclasses.replace(trace.recorded, anchors=anchors))


# Tables --------------------------------------------------------------------------------------


def test_each_row_is_what_the_trace_says_of_its_time() -> None:
    trace = taken()
    trace.attach(rows())
    table = trace.kernels()
    assert table["name"].to_list() == ["gemm", "softmax", "(nothing ran)"]
    assert table["kind"].to_list() == ["operation", "operation", "gap"]
    assert table["count"].to_list() == [2, 1, 3]
    calls = trace.window(2 * S, 3 * S), trace.window(5 * S, 7 * S)
    gemm = sum(call.joules for call in calls)
    assert table["energy_j"][0] == pytest.approx(gemm, rel=1e-9)
    assert table["time_s"][0] == pytest.approx(3.0)
    assert table["power_w"][0] == pytest.approx(gemm / 3, rel=1e-9)
    assert whole(table) == pytest.approx(trace.energy.joules, rel=1e-12)
    assert table["share"].sum() == pytest.approx(1.0)
    # Long against the sensor's period: no less certain than the windows are.
    assert table["u_same_card_j"][0] <= sum(call.u_same_card for call in calls) * (1 + 1e-9)


@pytest.mark.parametrize("static", ["separate", "busy", "all"])
@pytest.mark.parametrize("by", ["name", "layer", "stream", "device", ("layer", "stream")])
def test_parts_sum_to_the_whole_however_they_are_grouped(by: Any, static: Any) -> None:
    trace = taken(("gpu:0", "gpu:1"))
    trace.attach(rows(device=[0, 1, 1], stream=[7, 7, 13], layer=["a", None, "b"]))
    table = trace.kernels(by, static=static)
    both = trace.energy.joules
    assert whole(table) == pytest.approx(both, rel=1e-9)
    one = trace.kernels(by, device="gpu:1", static=static)
    assert whole(one) == pytest.approx(trace.energies["gpu:1"].joules, rel=1e-9)
    assert bool((table["u_j"] >= table["u_same_card_j"]).all())
    assert bool((table["u_j"] > 0).all())


def test_operations_outside_are_not_in_the_energy_and_those_cut_only_in_part() -> None:
    trace = taken()
    trace.attach({"name": ["a", "b"], "start_ns": [0, 8 * S], "end_ns": [S // 2, 20 * S]})
    table = trace.kernels()
    assert table["name"].to_list() == ["b", "(nothing ran)"]
    assert table["time_s"].to_list() == pytest.approx([1.0, 7.0])
    assert whole(table) == pytest.approx(trace.energy.joules, rel=1e-12)


def test_what_ran_at_one_time_is_bounded() -> None:
    trace = taken()
    trace.attach({"name": ["a", "b"], "start_ns": [2 * S, 2 * S], "end_ns": [4 * S, 3 * S]})
    table = trace.kernels().sort("name")
    both = trace.window(2 * S, 3 * S).joules
    a = table.row(by_predicate=pl.col("name") == "a", named=True)
    b = table.row(by_predicate=pl.col("name") == "b", named=True)
    assert b["energy_j"] == pytest.approx(both / 2)
    assert (b["lower_j"], b["upper_j"]) == (pytest.approx(0.0, abs=1e-9), pytest.approx(both))
    assert a["upper_j"] - a["lower_j"] == pytest.approx(both)


def test_gaps_are_in_order_of_time() -> None:
    trace = taken()
    trace.attach(rows())
    table = trace.gaps()
    assert table["start_ns"].to_list() == [1 * S, 4 * S, 7 * S]
    assert table["end_ns"].to_list() == [2 * S, 5 * S, 9 * S]
    gap = trace.kernels().row(by_predicate=pl.col("kind") == "gap", named=True)
    assert table["energy_j"].sum() == pytest.approx(gap["energy_j"])


def test_powers_that_are_not_told_apart_may_be_anything() -> None:
    """Alternating every 2 ms behind a sensor of 100 ms: 300 and 100 W look like 200 and 200."""
    t = np.arange(0, 10 * S, 100_000_000)
    trace = Trace.from_readings(
        {"gpu:0/power": (t, np.full(len(t), 200.0))},
        bounds_ns=BOUNDS,
        devices={"gpu:0": {"power_max_w": 400.0, "power_min_w": 0.0}},
    )
    starts = np.arange(BOUNDS[0], BOUNDS[1], 2_000_000)
    trace.attach(
        {
            "name": np.where(np.arange(len(starts)) % 2, "low", "high"),
            "start_ns": starts,
            "end_ns": starts + 2_000_000,
        }
    )
    table = trace.kernels().filter(kind="operation")
    assert table["energy_j"].to_list() == pytest.approx([800.0, 800.0], rel=1e-3)
    assert table["u_same_card_j"].min() > 0.5 * 400  # truth: 1200 and 400


# Sources -------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["polars", "lazy", "columns", "rows"])
def test_tables_of_every_form(form: str) -> None:
    columns = rows(device=["gpu:0"] * 3)
    given_as = {
        "polars": lambda: pl.DataFrame(columns),
        "lazy": lambda: pl.LazyFrame(columns),
        "columns": lambda: {name: np.array(values) for name, values in columns.items()},
        "rows": lambda: pl.DataFrame(columns).to_dicts(),
    }
    trace = taken()
    trace.attach(given_as[form]())
    operations = trace.operations
    assert operations is not None
    assert len(operations) == 3
    assert operations.names == ("gemm", "softmax")


@pytest.mark.parametrize("name", KINETO)
def test_real_traces_are_shared_out_whole(name: str, shared_data: Path) -> None:
    trace = around(shared_data / "kineto" / f"{name}.json.gz")
    for by in ("name", "stream", "layer", "layer_type"):
        assert whole(trace.kernels(by)) == pytest.approx(trace.energy.joules, rel=1e-9)


def test_unix_times_are_joined_by_the_anchors() -> None:
    trace = anchored(taken())
    unix = {"start_ns": [UNIX + 2 * S], "end_ns": [UNIX + 3 * S]}
    trace.attach({"name": ["gemm"], **unix})
    operations = trace.operations
    assert operations is not None
    assert (operations.start_ns[0], operations.end_ns[0]) == (2 * S, 3 * S)
    assert 0 < operations.bound_ns < 1_000_000
    with pytest.raises(WindowError, match="no operation ran during this trace"):
        trace.attach({"name": ["gemm"], **unix}, clock="recording")


def test_a_clock_step_says_what_somebody_who_attaches_can_do() -> None:
    trace = anchored(taken())
    stepped = [
        dataclasses.replace(a, real_ns=a.real_ns + 2_000_000 * (a.mono_ns > 4 * S))
        for a in trace.recorded.anchors
    ]
    trace = Trace(dataclasses.replace(trace.recorded, anchors=stepped))

    def ran(start_s: int, end_s: int) -> dict[str, Any]:
        start_ns, end_ns = UNIX + start_s * S, UNIX + end_s * S
        return {"name": ["gemm"], "start_ns": [start_ns], "end_ns": [end_ns]}

    with pytest.raises(ClockStepError, match=r"\+2\.000 ms.*profile again.*clock='rec") as raised:
        trace.attach(ran(3, 6))
    assert "on_step" not in str(raised.value)
    # What it says is possible.
    trace.attach(ran(2, 3))
    trace.attach(ran(6, 7))
    trace.attach({"name": ["gemm"], "start_ns": [3 * S], "end_ns": [6 * S]}, clock="recording")


def test_attached_operations_are_saved(tmp_path: Path) -> None:
    trace = taken()
    trace.attach(rows(layer=["a", None, "b"], stream=[1, 2, 3]))
    again = pyenergy.load(trace.save(tmp_path / "run.pyenergy"))
    assert again.kernels(("name", "layer", "stream")).equals(
        trace.kernels(("name", "layer", "stream"))
    )


@pytest.mark.filterwarnings("ignore::pyenergy.errors.EstimateWarning")
def test_a_torch_profiler_is_a_source() -> None:
    torch = pytest.importorskip("torch")
    from torch.profiler import ProfilerActivity, profile

    with (
        pyenergy.trace(devices="cpu") as trace,
        profile(activities=[ProfilerActivity.CPU]) as prof,
    ):
        for _ in range(20):
            torch.ones(64, 64) @ torch.ones(64, 64)
    with pytest.raises(OptionError, match="no device"):
        trace.attach(prof, device="gpu:9")
    trace.attach(prof)
    table = trace.kernels()
    assert whole(table) == pytest.approx(trace.energy.joules, rel=1e-9)
    assert table.filter(name="aten::mm")["count"].to_list() == [20]
    assert table.filter(name="aten::mm")["energy_j"][0] > 0
    with pyenergy.trace(devices="sim:ideal") as elsewhere:
        pass
    with pytest.raises(WindowError, match="of another run"):
        elsewhere.attach(prof)


# What cannot be ------------------------------------------------------------------------------


def test_without_operations_there_is_nothing_to_tell() -> None:
    with pytest.raises(StateError, match="no operations are attached"):
        taken().kernels()


@pytest.mark.parametrize(
    ("columns", "error", "says"),
    [
        ({"name": ["a"], "start_ns": [2 * S]}, OptionError, "no column end_ns"),
        ({"name": ["a"], "start_ns": [2.0 * S], "end_ns": [3.0 * S]}, TypeError, "integers, ns"),
        (rows(stream=["x", "y", "z"]), OptionError, "stream must be integers"),
        (rows(start_ns=[4 * S] * 3, end_ns=[2 * S] * 3), OptionError, "no operation with a time"),
        (rows(start_ns=[20 * S] * 3, end_ns=[21 * S] * 3), WindowError, "of another run"),
        ({"name": [], "start_ns": [], "end_ns": []}, OptionError, "no operation with a time"),
        (3, OptionError, "operations are a frame"),
        ("no-such-trace.json", Exception, "no-such-trace.json"),
    ],
)
def test_what_is_no_table_of_operations(columns: Any, error: type, says: str) -> None:
    trace = taken()
    with pytest.raises(error, match=says):
        trace.attach(columns)
    assert trace.operations is None


def test_what_is_bad_is_left_out_and_said() -> None:
    trace = taken()
    times = {"start_ns": [2 * S, 5 * S, 3 * S, None], "end_ns": [3 * S, 4 * S, 3 * S, 4 * S]}
    trace.attach({"name": ["a", "b", None, "d"], **times, "colour": [1, 2, 3, 4]})
    said = "\n".join(trace.notes)
    assert "1 of 4 operations without a time" in said
    assert "1 of 3 operations that end before they start" in said
    assert "columns that mean nothing here: colour" in said
    table = trace.kernels()
    row = table.row(by_predicate=pl.col("name") == "(no name)", named=True)
    assert (row["count"], row["energy_j"], row["power_w"]) == (1, 0.0, None)


def test_devices_that_were_not_read_have_no_energy() -> None:
    trace = taken()
    trace.attach(rows(device=["gpu:0", "gpu:5", "gpu:0"]))
    table = trace.kernels(("device", "name"))
    unread = table.filter(kind="unread")
    assert unread["device"].to_list() == ["gpu:5"]
    assert unread["energy_j"].to_list() == [None]
    assert unread["time_s"].to_list() == [1.0]
    notes = trace.attribution_notes()
    assert notes[0].startswith("gpu:0: shares by time: the powers of operations are not told apart")
    assert notes[1:] == ["gpu:5: operations ran there, and this trace did not read it"]
    with pytest.raises(NoReadingsError, match="gpu:5"):
        trace.kernels(device="gpu:5")
    with pytest.raises(OptionError, match="no operation ran on 'gpu:7'"):
        trace.kernels(device="gpu:7")


def test_operations_of_no_device_need_one() -> None:
    trace = taken(("gpu:0", "gpu:1"))
    with pytest.raises(OptionError, match="name no device"):
        trace.attach(rows())
    trace.attach(rows(), device="gpu:1")
    assert trace.kernels("device").filter(kind="operation")["device"].to_list() == ["gpu:1"]


@pytest.mark.parametrize("by", ["kernel", (), ("name", "colour")])
def test_groups_that_cannot_be(by: Any) -> None:
    trace = taken()
    trace.attach(rows())
    with pytest.raises(OptionError, match="by is one or more of"):
        trace.kernels(by)
    with pytest.raises(OptionError, match="static must be one of"):
        trace.kernels(static="half")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="clock must be one of"):
        trace.attach(rows(), clock="tai")  # type: ignore[arg-type]


def test_a_million_equal_times() -> None:
    trace = taken()
    n = 1_000_000
    trace.attach({"name": ["a"] * n, "start_ns": np.full(n, 2 * S), "end_ns": np.full(n, 3 * S)})
    table = trace.kernels()
    assert table["count"][0] == n
    assert whole(table) == pytest.approx(trace.energy.joules, rel=1e-9)


def test_damaged_operations_are_refused() -> None:
    trace = taken()
    trace.attach(rows())
    operations = trace.operations
    assert operations is not None
    members, said = operations.members(), operations.described()
    for column, values in (
        ("name", np.array([0, 9, 0], np.int32)),
        ("layer", np.array([0, -2, 0], np.int32)),
        ("end_ns", np.zeros(3, np.int64)),
        ("start_ns", np.zeros(2, np.int64)),
        ("stream", np.zeros(3)),
    ):
        with pytest.raises(RecordingError):
            Operations.read(said, {**members, f"operations/{column}": values})


def test_a_device_is_busy_over_short_pauses() -> None:
    trace = taken(("gpu:0", "gpu:1"))
    trace.attach(
        {
            "name": list("abcdef"),
            "start_ns": [2 * S, 3 * S + 900, 5 * S, 4 * S, 4 * S + 5, 2 * S],
            "end_ns": [3 * S, 4 * S - 100, 5 * S, 6 * S, 4 * S + 9, 9 * S],
            "device": [0, 0, 0, 0, 0, 1],
        }
    )
    ran = trace.operations
    assert ran is not None
    assert [times.tolist() for times in ran.busy("gpu:0", 1000)] == [[2 * S], [6 * S]]
    parted = [times.tolist() for times in ran.busy("gpu:0", 500)]
    assert parted == [[2 * S, 3 * S + 900], [3 * S, 6 * S]]
    assert [len(times) for times in ran.busy("gpu:7", 0)] == [0, 0]
