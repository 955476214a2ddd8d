# SPDX-License-Identifier: Apache-2.0
"""Reads live recordings: of a process that has died, or that still runs."""

from __future__ import annotations

import math
import time
from dataclasses import fields
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ..errors import RecordingError
from .check import check
from .clock_anchor import ClockAnchor, ClockAnchors
from .live_folder import LOG, META, Owner, is_live_folder, owner_of
from .live_layout import FORMAT, ROW, VERSION, boot_id, map_rows, read_rows, read_tail, unsealed
from .live_log import read_log
from .live_resume import resumed
from .marks import Mark
from .plain_file import opened
from .recorded import Recorded
from .series import ChannelMeta, DeviceData, DeviceMeta, Runs

__all__ = ["LiveReader", "load_live"]

_NO_READINGS = "its process ended before the trace began: nothing was recorded"


def load_live(folder: Path) -> Recorded:
    """What a live recording holds: of a process that has died everything that it had read.

    Raises
    ------
    RecordingError
        When it is no live recording, or damaged.
    """
    return LiveReader(folder).read()


class LiveReader:
    """Reads a folder again and again; rows that were read before are not read again.

    ``mapped``: of a folder of this very process, whose rows are looked at where they lie on disk:
    they are not checked, and need not fit into memory.

    Raises
    ------
    RecordingError
        When it is no live recording, or damaged.
    """

    def __init__(self, folder: Path, mapped: bool = False) -> None:
        self._mapped = mapped
        if not is_live_folder(folder):
            raise RecordingError(f"{folder} is a folder, and not one of a live recording")
        self.folder = folder
        self._meta = _described(folder)
        self._rows: dict[str, Any] = {}
        self.owner: Owner | None = None  # of the latest read

    @property
    def pid(self) -> int:
        """The process that made it."""
        return int(self._meta["pid"])

    def tails(self) -> list[Path]:
        """The tails' files, whether they are there or not."""
        entries = [device["tail"] for device in self._meta["devices"].values()]
        return [self._tail_path(entry) for entry in entries if entry is not None]

    def read(self) -> Recorded:
        """Everything up to now.

        Raises
        ------
        RecordingError
            When something of it is absent or damaged.
        """
        # Asked first: what is read of a process that ends meanwhile may lack its end.
        self.owner = owner_of(self.folder)
        log = read_log(self.folder / LOG)
        start = next((entry["start_ns"] for entry in log if "start_ns" in entry), None)
        if not isinstance(start, int):
            still = self.owner is not None
            raise RecordingError(
                f"{self.folder}: {'the trace has not begun yet' if still else _NO_READINGS}"
            )
        try:
            return self._recorded(log, start)
        except RecordingError:
            raise
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise RecordingError(
                f"{self.folder} is damaged: {type(error).__name__}: {error}"
            ) from error

    def _recorded(self, log: list[dict[str, Any]], start: int) -> Recorded:
        meta, notes = self._meta, [*self._meta["notes"]]
        devices = {name: self._device(name, entry, notes) for name, entry in _items(meta)}
        marks = [Mark(**entry["mark"]) for entry in log if "mark" in entry]
        anchors = sorted(
            (ClockAnchor(*entry["anchor"]) for entry in log if "anchor" in entry),
            key=lambda anchor: anchor.mono_ns,
        )
        ends = [int(runs.read_last_ns[-1]) for d in devices.values() for runs in d.runs.values()
                if len(runs)]  # fmt: skip
        end = max([start, *ends, *(mark.end_ns for mark in marks)])
        if self.owner is None:
            notes.append(
                f"recovered: process {self.pid} ended without finishing this recording, which "
                "goes up to its last reading"
            )
            if marks and meta["host_marks"]:
                notes.append("marks have the host's times: the GPU's are told when a trace ends")
        else:
            notes.append(f"still being recorded by {self.owner}: this is what there was so far")
        recorded = Recorded(
            bounds_ns=(start, end),
            devices=devices,
            marks=tuple(sorted(marks, key=lambda m: (m.start_ns, -m.end_ns))),
            anchors=ClockAnchors.of(_increasing(anchors)),
            notes=tuple(notes),
            provenance={**meta["provenance"], "pid": self.pid},
            extra={k: v for entry in log for k, v in entry.get("extra", {}).items()},
        )
        try:
            if not self._mapped:
                check(recorded)
        except RecordingError as error:
            raise RecordingError(f"{self.folder} is damaged: {error}") from None
        return recorded

    def _device(self, device_id: str, entry: dict[str, Any], notes: list[str]) -> DeviceData:
        identity: dict[str, Any] = {
            k: math.nan if v is None else v for k, v in entry["meta"].items()
        }
        identity["notes"] = tuple(identity["notes"])
        channels = entry["channels"]
        rows = [self._channel_rows(channel) for channel in channels.values()]
        runs = [_columns(found, self._mapped) for found in rows]
        if self.owner is None:
            tail = self._tail(device_id, entry["tail"], notes)
            if tail is not None:
                runs = resumed(
                    list(channels.values()), rows, *tail, entry["gap_ns"], entry["slow_gap_ns"]
                )
        names = [f.name for f in fields(ChannelMeta)]
        return DeviceData(
            meta=DeviceMeta(**identity),
            channels={
                name: ChannelMeta(**{k: channel[k] for k in names})
                for name, channel in channels.items()
            },
            runs=dict(zip(channels, runs, strict=True)),
            stats={},
            gap_ns=entry["gap_ns"],
        )

    def _channel_rows(self, channel: dict[str, Any]) -> Any:
        """Rows of a channel; the last may change, those before it never do."""
        file, seed = channel["file"], int(channel["seed"])
        known = self._rows.get(file, np.zeros(0, ROW))[:-1]
        path = self._inside(file)
        if self._mapped:
            return map_rows(path)
        try:
            new = read_rows(path, seed, start=len(known), alive=self.owner is not None)
        except RecordingError:
            if self.owner is None:
                raise
            time.sleep(0.001)  # its header may just have been written
            new = read_rows(path, seed, start=len(known), alive=True)
        self._rows[file] = np.concatenate([known, new]) if len(known) else new
        return self._rows[file]

    def _tail(
        self, device_id: str, entry: dict[str, Any] | None, notes: list[str]
    ) -> tuple[Any, bool] | None:
        if entry is None:
            return None  # a note of the recording says why there is none
        path = self._tail_path(entry)
        if not path.exists():
            rebooted = self._meta["boot_id"] != boot_id()
            why = "this machine, or this start of it, is another" if rebooted else "it was removed"
            notes.append(
                f"{device_id}: up to 50 ms at the end are lost: {path} is not there ({why})"
            )
            return None
        try:
            return read_tail(path, int(entry["seed"]))
        except RecordingError as error:
            raise RecordingError(
                f"{error}; remove that file to recover all but the last 50 ms"
            ) from error

    def _tail_path(self, entry: dict[str, Any]) -> Path:
        path = Path(entry["file"])
        if not path.is_absolute():
            return self._inside(entry["file"])
        # What is read and removed is a tail of this very recording, whatever the description says.
        if not path.name.startswith(f"pyenergy-{self._meta['id']}-") or ".." in path.parts:
            raise RecordingError(f"{self.folder} is damaged: {path} is no file of it")
        return path

    def _inside(self, name: str) -> Path:
        parts = PurePosixPath(name).parts
        if not parts or PurePosixPath(name).is_absolute() or ".." in parts:
            raise RecordingError(f"{self.folder} is damaged: {name!r} is no file of it")
        return self.folder.joinpath(*parts)


def _described(folder: Path) -> dict[str, Any]:
    path = folder / META
    try:
        with opened(path) as file:
            meta = unsealed(file.read())
    except OSError as error:
        raise RecordingError(f"cannot read {path}: {error.strerror or error}") from error
    if meta is None or meta.get("format") != FORMAT:
        raise RecordingError(f"{path} is damaged or not of a live recording")
    version = meta.get("version")
    if type(version) is int and version > VERSION:
        raise RecordingError(
            f"{folder} has layout version {version}, this pyenergy reads up to {VERSION}: upgrade "
            "pyenergy to open it"
        )
    if type(version) is not int or version < 1:
        raise RecordingError(f"{folder} has no layout version that ever was: {version!r}")
    return meta


def _items(meta: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return list(meta["devices"].items())


def _columns(rows: Any, mapped: bool) -> Runs:
    if mapped:
        return Runs(**{name: rows[name] for name in Runs.names()})
    columns = {name: np.ascontiguousarray(rows[name]) for name in Runs.names()}
    for column in columns.values():
        column.setflags(write=False)
    return Runs(**columns)


def _increasing(anchors: list[ClockAnchor]) -> list[ClockAnchor]:
    """One of two that were taken by two threads at once."""
    kept: list[ClockAnchor] = []
    for anchor in anchors:
        if not kept or anchor.mono_ns > kept[-1].mono_ns:
            kept.append(anchor)
    return kept
