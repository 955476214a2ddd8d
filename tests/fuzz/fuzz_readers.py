# SPDX-License-Identifier: Apache-2.0
"""Readers of files that others may have made, each with changes that get past its first checks.

Whatever the bytes: an object that is sound and can be used, or a `PyEnergyError` with a message.
"""

from __future__ import annotations

import io
import os
import shutil
import sqlite3
import tempfile
import zlib
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from random import Random
from typing import Any

import numpy as np
from fuzz_mutate import (
    ODD,
    damaged,
    odd_array,
    odd_json,
    odd_members,
    odd_text,
    odd_value,
    unzipped,
    zipped,
)

from pyenergy._energy import Energy
from pyenergy._trace import Trace
from pyenergy.attribution import read_nsys
from pyenergy.attribution.kineto_json import read_kineto
from pyenergy.errors import PyEnergyError
from pyenergy.recording import logs
from pyenergy.recording.live_layout import ROW, SLOT, _checks, sealed, unsealed
from pyenergy.recording.live_read import load_live
from pyenergy.recording.store import load, save
from pyenergy.sensor.meter import read_meter
from pyenergy.sensor.profile import Profile

CORPUS = Path(__file__).parent / "corpus"
_HEADER = 512  # bytes before the rows of a live file
_IN_FULL = 20  # one of so many recordings is evaluated in full, which takes a second


@dataclass(frozen=True)
class Reader:
    """``read`` raises `PyEnergyError` or nothing; ``change`` makes an input of another."""

    read: Callable[[bytes, Path], None]
    change: Callable[[bytes, Random], bytes]

    def refuses(self, data: bytes, folder: Path) -> bool:
        """Whether the input is refused; any other exception is a finding."""
        try:
            self.read(data, folder)
        except PyEnergyError as error:
            if not str(error).strip():
                raise AssertionError("the error says nothing") from error
            return True
        return False


def seeds(name: str) -> list[bytes]:
    """The inputs that are kept."""
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]


# Recordings ----------------------------------------------------------------------------------


def _used(trace: Trace, data: bytes) -> None:
    """What is done with a recording that was loaded; of some also what takes long."""
    for device in trace.recorded.devices:
        for channel in trace.recorded.devices[device].channels:
            trace.series(f"{device}/{channel}")
    _is_energy(trace.total(method="trapezoid"))
    if zlib.crc32(data) % _IN_FULL:
        return
    str(trace)
    _is_energy(trace.energy)
    trace.spans()
    if trace.recorded.operations is not None:
        trace.kernels()


def _is_energy(energy: Energy) -> None:
    low, high = energy.interval()
    assert np.isfinite([energy.joules, energy.u, low, high]).all()
    assert low <= energy.joules <= high


def _recording(data: bytes, folder: Path) -> None:
    path = folder / "run.pyenergy"
    path.write_bytes(data)
    recorded = load(path)
    again = folder / "again.pyenergy"
    save(recorded, again)
    _used(Trace(recorded), data)


def _odd_recording(data: bytes, rng: Random) -> bytes:
    members = unzipped(data)
    if not members or rng.random() < 0.1:
        return damaged(data, rng)
    if rng.random() < 0.1:
        return zipped(odd_members(members, rng))
    at = 0 if rng.random() < 0.6 else rng.randrange(len(members))
    name, content = members[at]
    if name.removesuffix(".npy") == "meta":
        text = np.frombuffer(odd_json(content[128:], rng), np.uint8)
        members[at] = (name, _npy(text))
    else:
        members[at] = (name, odd_array(content, rng))
    return zipped(members, rng.random() < 0.2)


def _npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


# Live recordings: an archive of the folder, the tail inside ----------------------------------

_LINKS = {b"-> zero": "/dev/zero", b"-> here": ".", b"-> outside": "../outside"}


def _live(data: bytes, folder: Path) -> None:
    members = unzipped(data)
    if members is None:
        return
    live = folder / "run.live"
    shutil.rmtree(live, ignore_errors=True)
    live.mkdir()
    for name, content in members[:40]:
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or ".." in parts or "\0" in name or len(name) > 200:
            continue
        path = live.joinpath(*parts)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if content in _LINKS:
                path.symlink_to(_LINKS[content])
            elif content == b"-> pipe":
                os.mkfifo(path)
            else:
                _new_file(path, content)
        except OSError:  # a folder where a file must be, a name that comes twice: no such input
            return
    _used(Trace(load_live(live)), data)


def _new_file(path: Path, content: bytes) -> None:
    """Never through a link or into a pipe that an earlier member of the same name has made."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW), "wb") as file:
        file.write(content)


def _odd_live(data: bytes, rng: Random) -> bytes:
    members = unzipped(data)
    if not members or rng.random() < 0.05:
        return damaged(data, rng)
    if rng.random() < 0.1:
        return zipped(odd_members(members, rng))
    at = rng.randrange(len(members))
    name, content = members[at]
    if rng.random() < 0.05:
        change = rng.choice([*_LINKS, b"-> pipe"])
    elif name == "meta.json":
        change = _resealed(content, rng)
    elif name == "log.jsonl":
        lines = content.split(b"\n")
        line = rng.randrange(len(lines))
        lines[line] = _resealed(lines[line], rng)
        change = b"\n".join(lines)
    elif name.endswith(".npy"):
        change = _resummed(name, content, members, rng)
    else:
        change = damaged(content, rng)
    members[at] = (name, change)
    return zipped(members)


def _resealed(text: bytes, rng: Random) -> bytes:
    values = unsealed(text)
    if values is None or rng.random() < 0.05:
        return damaged(text, rng)
    number = values.get("n")
    changed = odd_value(values, rng)
    if not isinstance(changed, dict):
        return damaged(text, rng)
    if number is not None and rng.random() < 0.9:
        changed["n"] = number
    try:
        return sealed(changed)
    except UnicodeEncodeError:
        return text


def _resummed(name: str, content: bytes, members: Any, rng: Random) -> bytes:
    """Rows that never were, with the checks that they would have."""
    dtype = SLOT if name.endswith("tail.npy") else ROW
    body = content[_HEADER:]
    if rng.random() < 0.1 or len(body) < dtype.itemsize:
        return damaged(content, rng)
    rows = np.frombuffer(body[: len(body) // dtype.itemsize * dtype.itemsize], dtype).copy()
    row, field = rng.randrange(len(rows)), rng.choice(dtype.names[:-1])
    odd = (-1, 0, 1, 2**62, 2**63 - 1, -(2**63), 4, 2**31, 10**15)
    if dtype[field].kind == "f":
        rows[field][row] = rng.choice((float("nan"), float("inf"), -5.0, 1e308, 1e7, 1e20))
    else:
        rows[field][row] = np.array(rng.choice(odd)).astype(dtype[field])
    seed = _seed_of(name, members)
    if seed is not None:
        rows["check"] = _checks(rows, seed)
    return content[:_HEADER] + rows.tobytes()


def _seed_of(name: str, members: Any) -> int | None:
    meta = unsealed(dict(members).get("meta.json", b""))
    try:
        for device in (meta or {})["devices"].values():
            for file in (*device["channels"].values(), device["tail"]):
                if file["file"] == name:
                    return int(file["seed"])
    except (KeyError, TypeError, AttributeError, ValueError):
        pass
    return None


# Logs of other tools -------------------------------------------------------------------------


def _logs(data: bytes, folder: Path) -> None:
    path = folder / "log"
    path.write_bytes(data)
    options: list[dict[str, Any]] = [
        {"timezone": "UTC"},
        {"start": "2026-11-20T13:03:22Z", "interval_s": 0.1},
        {},
    ]
    refused = []
    for each in options:
        try:
            log = logs.read_log(path, **each)
        except PyEnergyError as error:
            refused.append(error)
            continue
        for t, values in log.readings.values():
            assert t.dtype == np.int64
            assert t.shape == values.shape
        trace = Trace.from_readings(log.readings, devices=log.devices)
        _used(trace, data)
    if len(refused) == len(options):
        raise refused[0]


def _odd_log(data: bytes, rng: Random) -> bytes:
    return odd_json(data, rng) if data[:1] == b"{" else odd_text(data, rng)


def _meter(data: bytes, folder: Path) -> None:
    path = folder / "meter.csv"
    path.write_bytes(data)
    log = read_meter(path)
    assert (np.diff(log.t_ns) > 0).all()
    assert np.isfinite(log.watts).all()


# Profiles ------------------------------------------------------------------------------------


def _profile(data: bytes, folder: Path) -> None:
    path = folder / "profile.json"
    path.write_bytes(data)
    found = Profile.load(path)
    found.save(folder / "again.json")
    assert Profile.load(folder / "again.json") == found


def _kineto(data: bytes, folder: Path) -> None:
    path = folder / "trace.json"
    path.write_bytes(data)
    events = read_kineto(path)
    assert (events.end_ns >= events.start_ns).all()


def _odd_kineto(data: bytes, rng: Random) -> bytes:
    return odd_json(data, rng) if rng.random() < 0.6 else odd_text(data, rng)


def _nsys(data: bytes, folder: Path) -> None:
    path = folder / "report.sqlite"
    path.write_bytes(data)
    events = read_nsys(path)
    assert (events.end_ns >= events.start_ns).all()


def _odd_nsys(data: bytes, rng: Random) -> bytes:
    """A cell, column or table of a database that is otherwise whole."""
    if rng.random() < 0.2:
        return damaged(data, rng)
    with tempfile.TemporaryDirectory() as folder:
        return _spoiled(data, Path(folder) / "report.sqlite", rng)


def _spoiled(data: bytes, path: Path, rng: Random) -> bytes:
    path.write_bytes(data)
    try:
        with closing(sqlite3.connect(path)) as file:
            file.text_factory = lambda raw: raw.decode(errors="replace")
            _spoil(file, rng)
            file.commit()
        return path.read_bytes()
    except (sqlite3.Error, OverflowError, UnicodeEncodeError):
        return damaged(data, rng)


def _spoil(file: sqlite3.Connection, rng: Random) -> None:
    tables = [name for (name,) in file.execute("SELECT name FROM sqlite_master WHERE type='table'")]
    table = rng.choice(tables)
    columns = [row[1] for row in file.execute(f"PRAGMA table_info({table})")]
    column = rng.choice(columns)
    kind = rng.random()
    value = rng.choice([v for v in ODD if not isinstance(v, (list, dict))] + [b"\xff\0"])
    if kind < 0.6:
        file.execute(f'UPDATE {table} SET "{column}" = ? WHERE rowid % 2 = 0', (value,))
    elif kind < 0.7:
        file.execute(f'ALTER TABLE {table} RENAME COLUMN "{column}" TO other')
    elif kind < 0.8:
        file.execute(f"DROP TABLE {table}")
    elif kind < 0.9:
        file.execute(f"INSERT INTO {table} SELECT * FROM {table}")
    else:
        file.execute(f"ALTER TABLE {table} RENAME TO old")
        file.execute(
            f"CREATE VIEW {table} AS WITH RECURSIVE n(x) AS "
            f"(SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT old.* FROM old, n"
        )


READERS: dict[str, Reader] = {
    "recording": Reader(_recording, _odd_recording),
    "live": Reader(_live, _odd_live),
    "logs": Reader(_logs, _odd_log),
    "meter": Reader(_meter, odd_text),
    "profile": Reader(_profile, odd_json),
    "kineto": Reader(_kineto, _odd_kineto),
    "nsys": Reader(_nsys, _odd_nsys),
}
