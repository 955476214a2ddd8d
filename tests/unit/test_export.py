# SPDX-License-Identifier: Apache-2.0
"""Readings as tables: every number, what is missing as null, and all else beside them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from simulate import START_NS, sampled

import pyenergy
from pyenergy._trace import Trace
from pyenergy.errors import OptionError, RecordingError
from pyenergy.export.runs import COLUMNS
from pyenergy.recording.clock_anchor import ClockAnchor
from pyenergy.recording.marks import Mark
from pyenergy.testing import simulated
from pyenergy.units import NS_PER_S

UNIX_NS = 1_700_000_000_000_000_000


@pytest.fixture
def trace() -> Trace:
    with simulated("h100") as world:
        world[0].script([(0, 100.0), (START_NS + NS_PER_S, 333.3)])
        world[0].inject("fails", "fields", every=17)
        recorded = sampled(seconds=3).recorded
    anchors = (
        ClockAnchor(START_NS, UNIX_NS, 37),
        ClockAnchor(START_NS + NS_PER_S, UNIX_NS + NS_PER_S, 37),
    )
    marks = (Mark("öuter", START_NS + 5, START_NS + NS_PER_S),)
    return Trace(replace(recorded, anchors=anchors, marks=marks))


def assert_same(table: pl.DataFrame, trace: Trace) -> None:
    assert list(table.columns) == list(COLUMNS)
    device = trace.recorded.devices["gpu:0"]
    assert len(table) == sum(len(runs) for runs in device.runs.values())
    for name, runs in device.runs.items():
        rows = table.filter(pl.col("channel") == name)
        assert set(rows["device"]) == {"gpu:0"}
        assert set(rows["unit"]) == {device.channels[name].unit}
        for column in (
            "t_first_ns",
            "read_first_ns",
            "t_last_ns",
            "read_last_ns",
            "count",
            "flags",
        ):
            assert (rows[column].to_numpy() == getattr(runs, column)).all(), column
        value = rows["value"]
        assert (value.is_null().to_numpy() == ~runs.usable).all()
        assert (value.drop_nulls().to_numpy() == runs.value[runs.usable]).all()
        unix = rows["time_utc"].dt.timestamp("ns").to_numpy()
        assert np.abs(unix - UNIX_NS - (runs.t_first_ns - START_NS)).max() <= 1
    power = table.filter((pl.col("channel") == "power") & pl.col("value").is_null())
    assert len(power) > 0  # the case with missing readings is one


def test_parquet_has_every_number_and_the_rest_as_metadata(trace: Trace, tmp_path: Path) -> None:
    path = trace.to_parquet(tmp_path / "r.parquet")
    table = pl.read_parquet(path)
    assert_same(table, trace)
    assert table.schema["time_utc"] == pl.Datetime("ns", "UTC")
    assert table.schema["count"] == pl.UInt32
    facts = json.loads(pl.read_parquet_metadata(path)["pyenergy"])
    assert facts["devices"]["gpu:0"]["channels"]["power"]["unit"] == "W"
    assert facts["devices"]["gpu:0"]["meta"]["architecture"] == "hopper"
    assert facts["marks"][0]["name"] == "öuter"
    assert facts["bounds_ns"] == list(trace.bounds_ns)
    assert set(facts["columns"]) == set(table.columns)


def test_csv_has_every_number_and_the_rest_in_a_comment(trace: Trace, tmp_path: Path) -> None:
    path = trace.to_csv(tmp_path / "r.csv")
    first = path.read_text().split("\n", 1)[0]
    assert first.startswith("# pyenergy {")
    assert json.loads(first.removeprefix("# pyenergy "))["marks"][0]["name"] == "öuter"
    table = pl.read_csv(path, comment_prefix="#", infer_schema_length=None)
    times = pl.col("time_utc").str.to_datetime(time_unit="ns", time_zone="UTC", strict=True)
    assert_same(table.with_columns(times), trace)


def test_pandas_reads_the_csv(trace: Trace, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_csv(trace.to_csv(tmp_path / "r.csv"), comment="#")
    assert list(frame.columns) == list(COLUMNS)
    assert frame["value"].isna().sum() > 0


def test_without_anchors_unix_times_are_null(trace: Trace, tmp_path: Path) -> None:
    bare = Trace(replace(trace.recorded, anchors=()))
    table = pl.read_parquet(bare.to_parquet(tmp_path / "r.parquet"))
    assert table["time_utc"].null_count() == len(table)


def test_readings_that_were_given_are_exported_too(tmp_path: Path) -> None:
    t_ns = np.arange(0, 10_000_000_000, 20_000_000)
    given = pyenergy.Trace.from_readings({"gpu:0/power": (t_ns, np.full(len(t_ns), 300.0))})
    table = pl.read_parquet(given.to_parquet(tmp_path / "r.parquet"))
    assert set(table["value"]) == {300.0}
    assert table["count"].sum() == len(t_ns)


@pytest.mark.parametrize("write", ["to_parquet", "to_csv"])
def test_a_file_that_cannot_be_written_says_why(trace: Trace, tmp_path: Path, write: str) -> None:
    with pytest.raises(RecordingError, match="No such file or directory"):
        getattr(trace, write)(tmp_path / "absent" / "r")
    with pytest.raises(RecordingError, match="not a file"):
        getattr(trace, write)(tmp_path)
    with pytest.raises(OptionError, match="not a file's name"):
        getattr(trace, write)("")
    assert list(tmp_path.iterdir()) == []
