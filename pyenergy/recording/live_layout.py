# SPDX-License-Identifier: Apache-2.0
"""Live recordings: the folder that a trace with a path fills while it runs.

Layout, version 1. The folder ``run.pyenergy.live`` lies beside ``run.pyenergy``, which takes its
place when the trace ends. It holds

``meta.json``
    UTF-8 JSON: ``format``, ``version``, ``pid``, ``devices`` (identity, channels with the name of
    their file, its seed and how the sensor's unit leads to SI, gaps, the tail's file), provenance,
    notes; of a counter perhaps ``stood``: its raw reading when the folder was made, and when
    (t, read); and ``crc32`` of the rest (`sealed`).
``gpu:0/power.npy``, one a channel
    The channel's runs: a one-dimensional array of `ROW`, which ``numpy.load`` reads alone, also
    while it grows. ``row`` counts from 0. The last row is the run that was still open.
``log.jsonl``
    One JSON object a line, in the order in which they came: ``{"start_ns": ...}``,
    ``{"anchor": [mono_ns, real_ns, width_ns]}``, ``{"mark": {...}}``, ``{"extra": {...}}``; each
    with its number ``n`` and ``crc32`` of what stands before it.
``lock``
    Held by ``flock`` while the process records, with its pid and host inside.

The tail (a file in memory, ``/dev/shm/pyenergy-ID-N.npy`` or in the folder) is a circle of `SLOT`:
the latest second of samples as the sampler took them, in the sensor's unit. What of it is later
than the rows is what the process had read in its last milliseconds.

``check`` of a row or slot is over its 64-bit words w before it: ``h = seed``, then for each
``h = (h ^ w) * 0x9e3779b97f4a7c15 mod 2**64; h ^= h >> 29``. A change of one word always shows. The
header of an ``.npy`` file is written before its rows are counted in it: rows that it counts are
there. Files are read, never mapped: one that is cut short meanwhile is an error, not a signal. A
reader must refuse a larger ``version``.
"""

from __future__ import annotations

import json
import os
import re
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _core
from ..errors import RecordingError
from .plain_file import opened

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = [
    "FORMAT",
    "ROW",
    "SLOT",
    "VERSION",
    "boot_id",
    "map_rows",
    "read_rows",
    "read_tail",
    "sealed",
    "unsealed",
]

FORMAT = "pyenergy-live"
VERSION = 1

ROW = np.dtype(
    [
        ("t_first_ns", "<i8"), ("read_first_ns", "<i8"), ("t_last_ns", "<i8"),
        ("read_last_ns", "<i8"), ("value", "<f8"), ("count", "<u4"), ("flags", "<u4"),
        ("row", "<u8"), ("check", "<u8"),
    ]
)  # fmt: skip
SLOT = np.dtype(
    [
        ("t_ns", "<i8"), ("read_ns", "<i8"), ("value", "<f8"), ("channel", "<u2"),
        ("flags", "<u2"), ("status", "<i4"), ("seq", "<u8"), ("check", "<u8"),
    ]
)  # fmt: skip

_HEADER = _core.LIVE_HEADER
_COUNT = re.compile(rb"'shape': \((\d{1,19}) *,\), }")
_SEAL = re.compile(rb', "crc32": "([0-9a-f]{8})"}$')
_BATCH = 1 << 16  # rows that are read at once
_LARGEST_TAIL = 1 << 23  # slots


def read_rows(path: Path, seed: int, *, start: int = 0, alive: bool = False) -> NDArray[Any]:
    """The rows of a channel's file from ``start`` on, of dtype `ROW`.

    Of the last row, which may just be written (``alive``) or may never have been finished, only a
    sound one is returned; any other that is not sound is refused.

    Raises
    ------
    RecordingError
        When the file is absent, foreign, cut short or damaged.
    """
    try:
        with opened(path) as file:
            counted = _counted(file.read(_HEADER), "rows", path)
            there = (os.fstat(file.fileno()).st_size - _HEADER) // ROW.itemsize
            if there < counted:
                raise RecordingError(
                    f"{path} is cut short: it holds {there} rows of the {counted} that it counts"
                )
            file.seek(_HEADER + start * ROW.itemsize)
            # Rows that the header does not count yet are as good, if they are whole.
            rows = _sound(file, seed, start, counted if alive else there, counted, path)
    except OSError as error:
        raise RecordingError(f"cannot read {path}: {error.strerror or error}") from error
    return rows


def map_rows(path: Path) -> NDArray[Any]:
    """The rows that the file counts, on disk and unchecked.

    Raises
    ------
    RecordingError
        When it cannot be mapped.
    """
    try:
        rows: NDArray[Any] = np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise RecordingError(f"cannot read {path}: {error}") from error
    return rows


def _sound(file: Any, seed: int, start: int, end: int, counted: int, path: Path) -> NDArray[Any]:
    parts = [np.zeros(0, ROW)]
    at = start
    while at < end:
        data = file.read(min(_BATCH, end - at) * ROW.itemsize)
        part = np.frombuffer(data[: len(data) // ROW.itemsize * ROW.itemsize], ROW)
        if not len(part):
            raise RecordingError(f"{path} is cut short: it ends in row {at} of {end}")
        good = _checks(part, seed) == part["check"]
        good &= part["row"] == np.arange(at, at + len(part), dtype=np.uint64)
        if not good.all():
            first = int(np.argmin(good))
            if at + first < counted - 1:
                raise RecordingError(f"{path} is damaged: row {at + first} is not what was written")
            parts.append(part[:first])
            break
        parts.append(part)
        at += len(part)
    return np.concatenate(parts)


def read_tail(path: Path, seed: int) -> tuple[NDArray[Any], bool]:
    """The slots of a tail's file in the order of their samples, and whether there were more.

    Raises
    ------
    RecordingError
        When the file cannot be read or is damaged.
    """
    try:
        with opened(path) as file:
            capacity = _counted(file.read(_HEADER), "tail", path)
            if not 0 < capacity <= _LARGEST_TAIL:
                raise RecordingError(f"{path} is damaged: no tail has {capacity} slots")
            data = file.read(capacity * SLOT.itemsize + 1)
    except OSError as error:
        raise RecordingError(f"cannot read {path}: {error.strerror or error}") from error
    if len(data) != capacity * SLOT.itemsize:
        raise RecordingError(f"{path} is damaged: it does not have its {capacity} slots")
    slots = np.frombuffer(data, SLOT)
    good = _checks(slots, seed) == slots["check"]
    place = (slots["seq"] - np.uint64(1)) % np.uint64(capacity)
    good &= (slots["seq"] > 0) & (place == np.arange(capacity, dtype=np.uint64))
    kept = slots[good]
    kept = kept[np.argsort(kept["seq"])]
    last = int(kept["seq"][-1]) if len(kept) else 0
    # All but the latest `capacity` are overwritten, and the next to be so may be half written.
    expected = min(last, capacity)
    blank = ~_words(slots).any(axis=1)
    torn = int((~good & ~blank).sum())
    torn_at_next = bool(torn == 1 and (~good & ~blank)[last % capacity])
    whole = len(kept) >= expected - torn and int(kept["seq"][0] if last else 0) > last - capacity
    if torn > 1 or (torn == 1 and not torn_at_next) or not whole:
        raise RecordingError(f"{path} is damaged: its samples are not what was written")
    return kept, last > len(kept)


def _counted(header: bytes, what: str, path: Path) -> int:
    """The number of records that a header tells, if it is one of ours."""
    found = _COUNT.search(header)
    if found is None or header != _core.live_header(what, int(found[1])):
        raise RecordingError(f"{path} is damaged or not a file of a live recording")
    return int(found[1])


def _checks(records: NDArray[Any], seed: int) -> NDArray[np.uint64]:
    words = _words(records)
    h = np.full(len(records), seed, np.uint64)
    for column in range(words.shape[1] - 1):
        h = (h ^ words[:, column]) * np.uint64(0x9E3779B97F4A7C15)
        h ^= h >> np.uint64(29)
    return h


def _words(records: NDArray[Any]) -> NDArray[np.uint64]:
    return records.view(np.uint64).reshape(len(records), records.dtype.itemsize // 8)


def sealed(values: Mapping[str, Any]) -> bytes:
    """JSON text whose last member is the CRC-32 of what stands before it."""
    body = json.dumps(values).encode()[:-1]
    return body + b', "crc32": "%08x"}' % zlib.crc32(body)


def unsealed(text: bytes) -> dict[str, Any] | None:
    """What `sealed` was given; None when it is not whole."""
    seal = _SEAL.search(text)
    if seal is None or zlib.crc32(text[: seal.start()]) != int(seal[1], 16):
        return None
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, dict):
        return None
    del values["crc32"]
    return values


def boot_id() -> str:
    """Which start of the machine this is: times of another are no times of this one."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
