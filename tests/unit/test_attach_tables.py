# SPDX-License-Identifier: Apache-2.0
"""Tables of any make that are attached: what columns may hold, and what is said of the others."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from attached import S, rows, taken, whole

from pyenergy import Trace
from pyenergy.attribution.table import frame_of
from pyenergy.errors import OptionError, WindowError


def objects(*values: Any) -> Any:
    return np.array(values, object)


def pandas(**columns: Any) -> Any:
    return pytest.importorskip("pandas").DataFrame(rows(**columns))


# Columns of Python objects -------------------------------------------------------------------


@pytest.mark.parametrize("number", [int, np.int64, np.uint32])
@pytest.mark.parametrize("make", [pandas, rows], ids=["pandas", "mapping"])
def test_integers_among_objects_are_times(make: Any, number: Any) -> None:
    start = objects(number(2 * S), number(3 * S), number(4 * S))
    trace = taken()
    trace.attach(make(start_ns=start))
    assert trace.operations is not None
    assert trace.operations.start_ns.tolist() == [2 * S, 3 * S, 4 * S]


@pytest.mark.parametrize("missing", [None, float("nan"), "NA"])
def test_a_missing_time_among_objects_is_left_out(missing: Any) -> None:
    if missing == "NA":
        missing = pytest.importorskip("pandas").NA
    trace = taken()
    trace.attach(pandas(start_ns=objects(2 * S, missing, 5 * S)))
    assert "left out: 1 of 3 operations without a time" in trace.notes


def test_integers_of_pandas_that_may_be_missing_keep_their_digits() -> None:
    pd = pytest.importorskip("pandas")
    start = 1_790_000_000 * S + 123
    frame = pandas(start_ns=pd.array([start, None, start + 1], dtype="Int64"))
    assert frame_of(frame)["start_ns"].to_list()[::2] == [start, start + 1]


@pytest.mark.parametrize(
    ("column", "error", "says"),
    [
        (objects(2 * S, 3 * S, 2.5), TypeError, "start_ns must be integers, ns; 2.5 is float"),
        (objects(2 * S, True, 4 * S), TypeError, "True is bool"),
        (objects(2 * S, "3", 4 * S), TypeError, "'3' is str"),
        (objects(2 * S, 2**70, 4 * S), OptionError, "start_ns has 1180591620717411303424"),
        (np.array([1, 2, 2**63 + 5], np.uint64), OptionError, "do not fit in int64 ns"),
        (["1", "2", "3"], TypeError, "start_ns must be integers, ns"),
        ([[1], [2], [3]], TypeError, "start_ns must be integers, ns"),
    ],
)
def test_what_is_no_time_is_named(column: Any, error: Any, says: str) -> None:
    with pytest.raises(error, match=says):
        taken().attach(pandas(start_ns=column))


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_a_missing_text_of_pandas_is_none(missing: Any) -> None:
    trace = taken()
    trace.attach(pandas(name=["a", missing, "a"], layer=["x", missing, "y"]))
    assert trace.operations is not None
    assert trace.operations.layers == ("x", "y")
    assert sorted(trace.kernels().filter(kind="operation")["name"]) == ["(no name)", "a"]
    nothing = taken()
    nothing.attach(pandas(layer=[float("nan")] * 3))
    assert nothing.operations is not None
    assert nothing.operations.layers == ()


def test_numbers_of_pandas_with_gaps_are_devices_and_streams() -> None:
    trace = taken(("gpu:0", "gpu:1"))
    trace.attach(pandas(device=[0, float("nan"), 1], stream=[7, float("nan"), 9]), device="gpu:1")
    assert trace.operations is not None
    assert trace.operations.used_devices() == ["gpu:0", "gpu:1"]
    assert trace.operations.stream.tolist() == [7, -1, 9]
    for column in ("device", "stream"):
        with pytest.raises(OptionError, match=f"{column} must be integers"):
            taken().attach(rows(**{column: [0.5, 0.0, 1.0]}))


def test_a_mixture_is_named() -> None:
    with pytest.raises(OptionError, match="device must be texts, or integers, and not both"):
        taken().attach(pandas(device=objects(0, "gpu:0", 0)))


# What is no table ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (None, "a list of rows with name, start_ns, end_ns; None is none$"),
        ([], "the table is empty: the columns name, start_ns, end_ns are needed"),
        ({}, "the table is empty"),
        ([("a", 2 * S, 3 * S)], "each row names its values.* the first is a tuple without names$"),
        ([["a", 2 * S, 3 * S]], "the first is a list without names$"),
        ({"name": ["a", "b"], "start_ns": [S], "end_ns": [S]}, "height of column 'start_ns'"),
        ([{"name": "a", "start_ns": 1, "end_ns": 2}] * 200 + [{"name": "a", "start_ns": "x"}], "x"),
    ],
)
def test_what_is_no_table_is_told_in_one_line(table: Any, says: str) -> None:
    with pytest.raises(OptionError, match=says) as caught:
        taken().attach(table)
    assert "\n" not in str(caught.value)
    assert "it has ," not in str(caught.value)


def test_two_columns_of_one_name_are_refused() -> None:
    pd = pytest.importorskip("pandas")
    with pytest.raises(OptionError, match="two columns of one name"):
        taken().attach(pd.DataFrame([["a", "b", 1, 2]], columns=["name", "name", "a", "b"]))


# Names of devices, and of operations ---------------------------------------------------------


def test_what_pytorch_calls_cuda_is_a_gpu() -> None:
    trace = taken(("gpu:0", "gpu:1"))
    trace.attach(rows(device=["cuda:1", "gpu:1", "cuda:0"]))
    table = trace.kernels(("name", "device")).filter(kind="operation")
    found = dict(zip(table["name"] + "@" + table["device"], table["count"], strict=True))
    assert found == {"gemm@gpu:1": 1, "softmax@gpu:1": 1, "gemm@gpu:0": 1}


def test_a_device_that_was_recorded_as_cuda_is_itself() -> None:
    trace = taken(("cuda:0",))
    trace.attach(rows(device=["cuda:0"] * 3))
    assert trace.operations is not None
    assert trace.operations.used_devices() == ["cuda:0"]


@pytest.mark.parametrize("devices", [("gpu:0",), ("gpu:0", "gpu:1")])
def test_names_like_our_own_rows_are_kept_apart(devices: tuple[str, ...]) -> None:
    trace = taken(devices)
    names = ["(nothing ran)", "b", '"(nothing ran)"']
    layers = ["(unattributed)", None, "(nothing ran)"]
    trace.attach(rows(name=names, layer=layers, device=[0, 0, len(devices) - 1]))
    table = trace.kernels()
    assert table.filter(name="(nothing ran)")["kind"].to_list() == ["gap"]
    assert table.filter(kind="operation")["count"].to_list() == [1, 1, 1]
    assert '""(nothing ran)""' in table["name"].to_list()
    by_layer = trace.layers("layer")
    assert by_layer["layer"].n_unique() == len(by_layer) == 4
    assert by_layer.filter(layer="(unattributed)")["time_s"].to_list() == [1.0]
    tree = trace.tree()
    assert tree["path"].n_unique() == len(tree)
    assert tree.filter(path='"(unattributed)"')["depth"].to_list() == [1]
    assert tree["own_j"].sum() == pytest.approx(whole(table), rel=1e-9)
    assert any('is shown as "(unattributed)", apart' in note for note in trace.notes)


def test_names_that_are_only_ours_need_no_note() -> None:
    trace = taken()
    trace.attach(rows())
    assert not [note for note in trace.notes if "apart" in note]


# How far off ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start_ns", "says"),
    [
        (2, "53.9 years before it"),
        (1_700_000_000 * S - 40 * 86_400 * S, "40.0 days before it"),
        (1_700_000_000 * S + 5 * 3600 * S, "5.0 hours after it"),
        (1_700_000_000 * S + 1010 * S, "16.7 minutes after it"),
        (1_700_000_000 * S + 100 * S, "90 s after it"),
    ],
)
def test_how_far_off_another_run_is(start_ns: int, says: str) -> None:
    t = 1_700_000_000 * S + np.arange(0, 10 * S, 20_000_000)
    trace = Trace.from_readings({"gpu:0/power": (t, np.full(len(t), 200.0))})
    frame = pl.DataFrame({"name": ["a"], "start_ns": [start_ns], "end_ns": [start_ns + 1]})
    with pytest.raises(WindowError) as caught:
        trace.attach(frame)
    assert says in str(caught.value)
