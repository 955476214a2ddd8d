# SPDX-License-Identifier: Apache-2.0
"""Files that others made: nothing in them is executed, waited for or believed about its size."""

from __future__ import annotations

import io
import json
import os
import resource
import sqlite3
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_nsys import export

import pyenergy
from pyenergy import Trace
from pyenergy.attribution import read_nsys
from pyenergy.errors import RecordingError
from pyenergy.recording.live_read import load_live
from pyenergy.recording.store import load

GOLDEN = Path(__file__).resolve().parent.parent / "golden/live-1.live"


class Touches:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    t = np.arange(0, 10**9, 10**7)
    trace = Trace.from_readings({"gpu:0/power": (t, 100.0 + np.arange(len(t)) % 3)})
    return trace.save(tmp_path / "run.pyenergy")


def _members(path: Path) -> dict[str, Any]:
    with np.load(path) as archive:
        return {name: archive[name] for name in archive.files}


def test_a_pickle_in_a_recording_is_refused_and_not_run(saved: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    members = _members(saved)
    members["gpu:0/power/value"] = np.array([Touches(ran)], dtype=object)
    with saved.open("wb") as file:
        np.savez(file, **members)
    with pytest.raises(RecordingError, match="no plain array") as caught:
        pyenergy.load(saved)
    assert "allow_pickle" not in str(caught.value)
    np.save(saved, np.array([Touches(ran)], dtype=object))
    with pytest.raises(RecordingError):
        pyenergy.load(saved.with_name(saved.name + ".npy"))
    assert not ran.exists()


def test_a_column_that_claims_to_be_huge_takes_no_memory(saved: Path) -> None:
    """A header of 1e12 rows over a member of a few bytes."""
    with zipfile.ZipFile(saved) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)}
    )
    members["gpu:0/power/value.npy"] = header.getvalue() + b"\0" * 64
    with zipfile.ZipFile(saved, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(RecordingError):
        load(saved)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024  # KiB


def test_an_archive_that_unfolds_to_millions_of_times_its_size_is_refused(saved: Path) -> None:
    """bzip2 keeps a billion zeros in less than a kilobyte."""
    with zipfile.ZipFile(saved) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(saved, "w", zipfile.ZIP_BZIP2) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(RecordingError, match="not packed as one"):
        load(saved)


@pytest.mark.parametrize("write", ["save", "report", "to_csv"])
def test_a_pipe_is_not_replaced_by_a_file(write: str, saved: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(RecordingError, match="it is not a file"):
        getattr(pyenergy.load(saved), write)(pipe)
    assert pipe.is_fifo()


def test_threads_that_write_one_file_leave_a_whole_one(saved: Path, tmp_path: Path) -> None:
    trace, target = pyenergy.load(saved), tmp_path / "same.pyenergy"
    with ThreadPoolExecutor(4) as pool:
        assert len(list(pool.map(trace.save, [target] * 12))) == 12
    assert pyenergy.load(target).energy.joules == trace.energy.joules
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".part")] == []


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "run.pyenergy"
    os.mkfifo(path)
    with pytest.raises(RecordingError, match="no ordinary file"):
        load(path)


@pytest.mark.parametrize("name", ["log.jsonl", "gpu:0/power.npy", "gpu:0/tail.npy"])
@pytest.mark.parametrize("what", ["pipe", "/dev/zero"])
def test_a_live_folder_of_pipes_and_devices_is_refused(
    name: str, what: str, tmp_path: Path
) -> None:
    folder = tmp_path / "run.live"
    for path in GOLDEN.rglob("*"):
        if path.is_file():
            copy = folder / path.relative_to(GOLDEN)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    (folder / name).unlink()
    if what == "pipe":
        os.mkfifo(folder / name)
    else:
        (folder / name).symlink_to(what)
    with pytest.raises(RecordingError, match="no ordinary file"):
        load_live(folder)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("bounds_ns", 1), 2**70, "no times"),
        (("devices", "gpu:0", "channels", "power", "update_ns"), "soon", "description"),
        (("devices", "gpu:0", "channels", "power", "kind"), "guess", "kind of channel"),
        (("devices", "gpu:0", "meta", "id"), "../x", "description"),
        (("devices", "gpu:0", "gap_ns"), 10**30, "statistics"),
        (("notes",), ["\ud800"], "notes"),
    ],
    ids=["bounds", "type", "kind", "id", "gap", "half a character"],
)
def test_a_description_that_no_trace_writes_is_refused(
    saved: Path, path: tuple[Any, ...], value: object, said: str
) -> None:
    members = _members(saved)
    meta = json.loads(bytes(members["meta"]))
    place = meta
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    members["meta"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    with saved.open("wb") as file:
        np.savez(file, **members)
    with pytest.raises(RecordingError, match=said):
        load(saved)


# Databases ------------------------------------------------------------------------------------


def _changed(path: Path, *statements: str) -> Path:
    with closing(sqlite3.connect(export(path))) as file:
        for statement in statements:
            file.execute(statement)
        file.commit()
    return path


def test_a_view_of_a_database_is_not_run(tmp_path: Path) -> None:
    """It could go on for ever."""
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)"
    path = _changed(
        tmp_path / "a.sqlite",
        "ALTER TABLE CUPTI_ACTIVITY_KIND_KERNEL RENAME TO old",
        f"CREATE VIEW CUPTI_ACTIVITY_KIND_KERNEL AS {endless} SELECT old.* FROM old, n",
    )
    assert "gemm<float>" not in read_nsys(path).names


def test_more_rows_than_bytes_are_refused(tmp_path: Path) -> None:
    """A name that stands in the table of names again and again multiplies every row."""
    path = _changed(
        tmp_path / "a.sqlite",
        "CREATE TABLE names (id INT, value TEXT)",
        "DROP TABLE StringIds",
        "ALTER TABLE names RENAME TO StringIds",
        "INSERT INTO StringIds WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n "
        "LIMIT 2000) SELECT 1, 'a' FROM n",
        "UPDATE CUPTI_ACTIVITY_KIND_KERNEL SET demangledName = 1",
        "INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL "
        "SELECT x + 1 FROM n LIMIT 100) SELECT k.* FROM CUPTI_ACTIVITY_KIND_KERNEL k, n",
    )
    with pytest.raises(RecordingError, match="more rows than it has bytes"):
        read_nsys(path)


@pytest.mark.parametrize("value", ["'soon'", "1e300", "9223372036854775807", "x'00ff'"])
def test_cells_of_any_type_are_left_out_and_counted(value: str, tmp_path: Path) -> None:
    change = f"UPDATE CUPTI_ACTIVITY_KIND_KERNEL SET start = {value} WHERE correlationId = 12"
    events = read_nsys(_changed(tmp_path / "a.sqlite", change))
    assert sum(events.dropped.values()) == 1
    odd = f"UPDATE CUPTI_ACTIVITY_KIND_KERNEL SET deviceId = {value} WHERE correlationId = 12"
    events = read_nsys(_changed(tmp_path / "b.sqlite", odd))
    assert -1 in events.device
    assert any("type that it never has" in note for note in events.notes)


def test_a_session_that_began_at_no_time_is_refused(tmp_path: Path) -> None:
    change = "UPDATE TARGET_INFO_SESSION_START_TIME SET utcEpochNs = 'now'"
    with pytest.raises(RecordingError, match="began at no time"):
        read_nsys(_changed(tmp_path / "a.sqlite", change))
