# SPDX-License-Identifier: Apache-2.0
"""Recording files: a NumPy ``.npz`` archive that ``numpy.load`` can read alone.

Layout, version 1. The member ``meta`` is UTF-8 JSON in a uint8 array with ``format``,
``version``, ``bounds_ns``, ``devices`` (identity, channels, statistics), ``marks``, ``anchors``,
``notes`` and ``provenance``. For the channel ``power`` of device ``gpu:0`` the members
``gpu:0/power/t_first_ns``, ``.../read_first_ns``, ``.../t_last_ns``, ``.../read_last_ns``
(int64, ns of CLOCK_MONOTONIC), ``.../value`` (float64, SI, NaN where missing), ``.../count`` and
``.../flags`` (uint32) hold its runs. Of more than two clock anchors ``meta`` has the first and the
last, and the members ``anchors/mono_ns``, ``anchors/real_ns`` and ``anchors/width_ns`` (int64) have
all; files without these members have their anchors in ``meta``. Where operations were attached,
``meta`` has ``operations`` (names, devices, layers and operators, in the order of their indices)
and the members ``operations/start_ns``, ``.../end_ns``, ``.../stream`` (int64), ``.../name``,
``.../device``, ``.../layer`` and ``.../operator`` (int32 indices), ``.../begins`` (bool) hold
them.

Layout, version 2, is written where only the latest readings were kept, and is otherwise version 1:
``bounds_ns`` is what the readings are of, and ``settled`` in ``meta`` (`Settled.described`) has the
energy of what came before. A reader must refuse a larger ``version``.
"""

from __future__ import annotations

import json
import math
import os
import zipfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..errors import RecordingError
from .check import check
from .clock_anchor import ClockAnchor, ClockAnchors
from .live_folder import is_live_folder, live_folder, owner_of
from .marks import Mark
from .operations import Operations
from .plain_file import opened
from .recorded import Recorded
from .series import ChannelMeta, DeviceData, DeviceMeta, Runs
from .settled import Settled
from .whole_file import whole_file

__all__ = ["FORMAT", "VERSION", "beside", "described", "load", "save"]

FORMAT = "pyenergy-recording"
VERSION = 2  # of a file that has all its readings: 1
_ANCHOR_COLUMNS = ("mono_ns", "real_ns", "width_ns")
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")  # how archives begin; the second has nothing in it
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_PROFILES = (b"\x1f\x8b", b"SQLite format 3\0", b"{", b"[")  # how gzip, Nsight's and Kineto's do
_DTYPES = {"value": np.float64, "count": np.uint32, "flags": np.uint32}  # all others: int64


def save(recorded: Recorded, path: str | os.PathLike[str]) -> Path:
    """Write ``recorded`` to ``path``; an existing file is replaced only when all is written.

    Raises
    ------
    RecordingError
        When the file cannot be written, with the reason.
    """
    target = Path(path)
    special = "\0" in str(target) or not target.name
    # A device node would be replaced by a file.
    if special or (target.exists() and not (target.is_file() or target.is_dir())):
        raise RecordingError(f"cannot write {str(target)!r}: it is not a file's name")
    members = {"meta": np.frombuffer(json.dumps(described(recorded)).encode(), np.uint8)}
    for device_id, device in recorded.devices.items():
        for channel, runs in device.runs.items():
            for name in Runs.names():
                members[f"{device_id}/{channel}/{name}"] = getattr(runs, name)
    if len(recorded.anchors) > 2:
        anchors = ClockAnchors.of(recorded.anchors)
        members |= {f"anchors/{name}": getattr(anchors, name) for name in _ANCHOR_COLUMNS}
    if recorded.operations is not None:
        members |= recorded.operations.members()
    with whole_file(target) as part, part.open("wb") as handle:
        np.savez_compressed(handle, **members)  # type: ignore[arg-type]
    return target


def load(path: str | os.PathLike[str]) -> Recorded:
    """Read a recording, or the folder of one that is not finished (`live_layout`).

    Raises
    ------
    RecordingError
        When the file is absent, truncated, foreign, or from a newer version.
    """
    target = Path(path)
    try:
        if target.is_dir() and is_live_folder(target):
            from .live_read import load_live

            return load_live(target)
        with opened(target) as handle:
            return _read(handle, target)
    except RecordingError:
        raise
    except FileNotFoundError as error:
        raise RecordingError(_absent(target)) from error
    except zipfile.BadZipFile as error:
        raise RecordingError(f"{target} is truncated or damaged: {error}") from error
    except OSError as error:
        if error.errno is None:  # NumPy's own
            raise RecordingError(f"{target} is truncated or damaged: {error}") from error
        raise RecordingError(f"cannot read {target}: {error.strerror}") from error
    except Exception as error:  # whatever damaged bytes make zipfile, NumPy and json raise
        # NumPy's text about pickled members says how to load them, which would run them.
        pickled = "allow_pickle" in str(error)
        why = "a member of it is no plain array" if pickled else str(error)
        raise RecordingError(f"{target} is truncated or not a pyenergy recording: {why}") from (
            None if pickled else error
        )


def beside(target: Path) -> str:
    """What to say of a recording that has an unfinished one beside it; else empty."""
    folder = live_folder(target)
    if not target.is_file() or not is_live_folder(folder):
        return ""
    owner = owner_of(folder)
    if owner is not None:
        return f"{target} is an earlier recording: {owner} is recording it anew"
    return (
        f"{target} is complete, but a process that recorded it too has died: 'pyenergy recover "
        f"{folder} -o OTHER' makes a file of that one"
    )


def _absent(target: Path) -> str:
    folder = live_folder(target)
    if not is_live_folder(folder):
        return f"no such recording: {target}"
    owner = owner_of(folder)
    if owner is not None:
        return f"{target} is not finished: {owner} records it ('pyenergy attach {target}' watches)"
    return (
        f"{target} was not finished: the process that recorded it died. 'pyenergy recover "
        f"{target}' makes the file of what it had read; load({str(folder)!r}) reads that as it is"
    )


def _read(handle: BinaryIO, path: Path) -> Recorded:
    _begins_as_recording(handle.read(16), path)
    handle.seek(0)
    archive = np.load(handle, allow_pickle=False)
    if not isinstance(archive, np.lib.npyio.NpzFile) or "meta" not in archive:
        raise RecordingError(f"{path} is not a pyenergy recording")
    with archive:
        packed = archive.zip.infolist() if archive.zip is not None else []
        _check_members(packed, os.fstat(handle.fileno()).st_size, path)
        recorded = _recorded(json.loads(bytes(archive["meta"])), archive, path)
    try:
        check(recorded)
    except RecordingError as error:
        raise RecordingError(f"{path} is damaged: {error}") from None
    return recorded


def _check_members(members: Sequence[zipfile.ZipInfo], size: int, path: Path) -> None:
    """Refuse archives that unfold to more than a thousand times their size."""
    if any(member.compress_type not in _METHODS for member in members):
        raise RecordingError(f"{path} is no pyenergy recording: it is not packed as one")
    if sum(member.compress_size for member in members) > size:
        raise RecordingError(f"{path} is damaged: its members overlap")


def _begins_as_recording(head: bytes, path: Path) -> None:
    """Refuse what is no archive before NumPy does, which offers to unpickle it."""
    if head.startswith(_ZIP):
        return
    if not head:
        raise RecordingError(f"{path} is empty: not a pyenergy recording")
    hint = ""
    if head.startswith(_PROFILES):
        hint = (
            "; is it a profiler's trace? Trace.attach(path) takes it, and pyenergy kernels as the "
            "first argument"
        )
    raise RecordingError(f"{path} is truncated or not a pyenergy recording{hint}")


def described(recorded: Recorded) -> dict[str, Any]:
    """All but the readings, the anchors and the operations, as JSON values."""
    operations, settled = recorded.operations, recorded.settled
    return {
        "format": FORMAT,
        "version": 1 if settled is None else VERSION,
        "bounds_ns": list(recorded.bounds_ns),
        "devices": {
            device_id: {
                "meta": _finite(asdict(device.meta)),
                "channels": {name: asdict(c) for name, c in device.channels.items()},
                "stats": device.stats,
                "gap_ns": device.gap_ns,
            }
            for device_id, device in recorded.devices.items()
        },
        "marks": [mark.described() for mark in recorded.marks],
        "anchors": [asdict(anchor) for anchor in _ends(recorded.anchors)],
        "notes": list(recorded.notes),
        "provenance": recorded.provenance,
        "extra": recorded.extra,
        **({} if operations is None else {"operations": operations.described()}),
        **({} if settled is None else {"settled": settled.described()}),
    }


def _recorded(meta: Any, archive: Any, path: Path) -> Recorded:
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        raise RecordingError(f"{path} is not a pyenergy recording")
    if not isinstance(meta["version"], int) or meta["version"] < 1:
        raise RecordingError(f"{path} has no layout version that ever was: {meta['version']!r}")
    if meta["version"] > VERSION:
        raise RecordingError(
            f"{path} has layout version {meta['version']}, this pyenergy reads up to {VERSION}: "
            "upgrade pyenergy to open it"
        )
    return Recorded(
        bounds_ns=(int(meta["bounds_ns"][0]), int(meta["bounds_ns"][1])),
        devices={
            device_id: _device(device_id, entry, archive)
            for device_id, entry in meta["devices"].items()
        },
        marks=tuple(Mark(**mark) for mark in meta["marks"]),
        anchors=_anchors(meta["anchors"], archive),
        notes=tuple(meta["notes"]),
        provenance=meta["provenance"],
        extra=meta["extra"],
        operations=Operations.read(meta["operations"], archive) if "operations" in meta else None,
        settled=Settled.read(meta["settled"]) if "settled" in meta else None,
    )


def _device(device_id: str, entry: dict[str, Any], archive: Any) -> DeviceData:
    identity: dict[str, Any] = {k: math.nan if v is None else v for k, v in entry["meta"].items()}
    identity["notes"] = tuple(identity["notes"])
    channels = {name: ChannelMeta(**c) for name, c in entry["channels"].items()}
    return DeviceData(
        meta=DeviceMeta(**identity),
        channels=channels,
        runs={name: _runs(archive, f"{device_id}/{name}") for name in channels},
        stats=entry["stats"],
        gap_ns=entry["gap_ns"],
    )


def _ends(anchors: Sequence[ClockAnchor]) -> list[ClockAnchor]:
    return list(anchors) if len(anchors) <= 2 else [anchors[0], anchors[-1]]


def _anchors(ends: list[dict[str, int]], archive: Any) -> ClockAnchors:
    if "anchors/mono_ns" not in archive:
        if not all(type(value) is int for anchor in ends for value in anchor.values()):
            raise RecordingError("a clock anchor is not in whole nanoseconds")
        anchors = ClockAnchors.of(ClockAnchor(**anchor) for anchor in ends)
    else:
        columns = [archive[f"anchors/{name}"] for name in _ANCHOR_COLUMNS]
        if any(column.dtype != np.int64 or column.ndim != 1 for column in columns):
            raise RecordingError("anchors are not columns of a recording")
        anchors = ClockAnchors(*columns)
    if bool((anchors.mono_ns[1:] <= anchors.mono_ns[:-1]).any()):
        raise RecordingError("the clock anchors are not in order of time")
    if bool((anchors.width_ns < 0).any()):
        raise RecordingError("a clock anchor ends before it begins")
    return anchors


def _runs(archive: Any, channel: str) -> Runs:
    columns = {}
    for name in Runs.names():
        column = archive[f"{channel}/{name}"]
        if column.dtype != _DTYPES.get(name, np.int64) or column.ndim != 1:
            raise RecordingError(f"{channel}/{name} is not a column of a recording")
        column.setflags(write=False)
        columns[name] = column
    if len({len(column) for column in columns.values()}) != 1:
        raise RecordingError(f"the columns of {channel} differ in length")
    return Runs.of(columns)


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN: an unknown bound is null."""
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in values.items()}
