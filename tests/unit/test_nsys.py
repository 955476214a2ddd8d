# SPDX-License-Identifier: Apache-2.0
"""SQLite exports of Nsight Systems, built as NVIDIA documents them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyenergy import Trace
from pyenergy.attribution import Category, read_nsys
from pyenergy.errors import OptionError, RecordingError
from pyenergy.recording.clock_anchor import ClockAnchor

S = 1_000_000_000
EPOCH = 1_790_000_000 * S
STRINGS = {1: "gemm<float>", 2: "softmax", 3: "cudaLaunchKernel", 4: "registered"}
ONE, TWO = 0x0100_0000_0000_0000, 0x0100_0000_0100_0000  # two processes' globalPid


def export(path: Path, *, session: bool = True, kernels: Any = None) -> Path:
    tables = {
        "StringIds (id INTEGER PRIMARY KEY, value TEXT)": list(STRINGS.items()),
        "CUPTI_ACTIVITY_KIND_KERNEL (start INT, end INT, deviceId INT, streamId INT, "
        "correlationId INT, globalPid INT, demangledName INT, shortName INT)": kernels
        or [
            (2 * S, 3 * S, 0, 7, 11, ONE, 1, 1),
            (4 * S, 5 * S, 0, 7, 12, ONE, 2, 2),
            (5 * S, 6 * S, 1, 9, 11, TWO, 2, 2),
        ],
        "CUPTI_ACTIVITY_KIND_MEMCPY (start INT, end INT, deviceId INT, streamId INT, "
        "correlationId INT, globalPid INT, copyKind INT)": [(S, S + 1000, 0, 7, 10, ONE, 1)],
        "CUPTI_ACTIVITY_KIND_RUNTIME (start INT, end INT, globalTid INT, correlationId INT, "
        "nameId INT)": [
            (S + 500, S + 900, ONE + 5, 11, 3),
            (S + 950, S + 990, ONE + 5, 12, 3),
            (S + 500, S + 900, TWO + 8, 11, 3),
        ],
        "NVTX_EVENTS (start INT, end INT, eventType INT, text TEXT, textId INT, globalTid INT)": [
            (S, 2 * S, 59, "attention", None, ONE + 5),
            (S, 2 * S, 59, None, 4, TWO + 8),
            (S, None, 34, "a mark", None, ONE + 5),
            (S, None, 59, "never closed", None, ONE + 5),
        ],
    }
    if session:
        tables["TARGET_INFO_SESSION_START_TIME (utcEpochNs INT)"] = [(EPOCH,)]
    with closing(sqlite3.connect(path)) as file:
        for declared, rows in tables.items():
            file.execute(f"CREATE TABLE {declared}")
            for row in rows:
                marks = ", ".join("?" * len(row))
                file.execute(f"INSERT INTO {declared.split()[0]} VALUES ({marks})", row)
        file.commit()
    return path


def recorded() -> Trace:
    from dataclasses import replace

    t = np.arange(0, 10 * S, 10_000_000)
    trace = Trace.from_readings(
        {f"gpu:{i}/power": (t, np.full(len(t), 200.0)) for i in range(2)},
        bounds_ns=(S // 2, 9 * S),
    )
    anchors = [ClockAnchor(i * S, EPOCH + i * S, 100) for i in range(11)]
    return Trace(replace(trace.recorded, anchors=anchors))


def test_operations_ranges_and_times(tmp_path: Path) -> None:
    events = read_nsys(export(tmp_path / "report.sqlite"))
    assert events.is_unix_time
    kernels = events.rows(Category.KERNEL)
    assert [events.name_of(row) for row in kernels] == ["gemm<float>", "softmax", "softmax"]
    assert events.start_ns[kernels].tolist() == [EPOCH + t * S for t in (2, 4, 5)]
    assert events.device[kernels].tolist() == [0, 0, 1]
    assert events.stream[kernels].tolist() == [7, 7, 9]
    ranges = events.rows(Category.ANNOTATION)
    assert sorted(events.name_of(row) for row in ranges) == ["attention", "registered"]
    # Correlation ids count anew in every process.
    assert len(set(events.correlation[kernels].tolist())) == 3


def test_nvtx_ranges_are_the_layers_of_what_they_launched(tmp_path: Path) -> None:
    trace = recorded()
    trace.attach(export(tmp_path / "report.sqlite"))
    layers = dict(trace.kernels(("name", "layer", "device")).select("name", "layer").iter_rows())
    assert layers["gemm<float>"] == "attention"
    table = trace.kernels(("device", "layer"))
    second = table.filter(device="gpu:1", kind="operation")
    assert second["layer"].to_list() == ["registered"]
    whole = table["energy_j"].sum() + table["static_j"].sum()
    assert whole == pytest.approx(trace.energy.joules, rel=1e-9)


def test_without_a_session_start_the_times_mean_nothing(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="nothing says what the profiler's times count from"):
        recorded().attach(export(tmp_path / "report.sqlite", session=False))


def test_bad_events_are_left_out_and_counted(tmp_path: Path) -> None:
    bad = [
        (0, 0, 0, 7, 1, ONE, 1, 1),
        (3 * S, 2 * S, 0, 7, 2, ONE, 1, 1),
        (None, 2 * S, 0, 7, 3, ONE, 1, 1),
        (2 * S, 3 * S, 0, 7, 4, ONE, 99, 1),
    ]
    events = read_nsys(export(tmp_path / "report.sqlite", kernels=bad))
    kernels = events.rows(Category.KERNEL)
    assert [events.name_of(row) for row in kernels] == ["(no name)"]
    assert sum(events.dropped.values()) == 3


def test_what_is_no_export(tmp_path: Path) -> None:
    other = tmp_path / "other.sqlite"
    with closing(sqlite3.connect(other)) as file:
        file.execute("CREATE TABLE t (a INT)")
        file.commit()
    with pytest.raises(RecordingError, match="no table StringIds"):
        recorded().attach(other)
    cut = tmp_path / "cut.sqlite"
    whole = export(tmp_path / "report.sqlite").read_bytes()
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RecordingError, match=r"cut\.sqlite is no export"):
        recorded().attach(cut)


def test_names_that_are_not_utf8_are_said(tmp_path: Path) -> None:
    path = export(tmp_path / "report.sqlite")
    with closing(sqlite3.connect(path)) as file:
        file.execute("UPDATE StringIds SET value = CAST(x'6bff' AS TEXT) WHERE id = 2")
        file.commit()
    events = read_nsys(path)
    assert "k\ufffd" in events.names
    assert any("2 events have a name that is not UTF-8" in note for note in events.notes)
