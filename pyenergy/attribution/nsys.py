# SPDX-License-Identifier: Apache-2.0
"""Operations from an Nsight Systems report that was exported to SQLite.

``nsys export --type sqlite report.nsys-rep``. Tables and columns are those of NVIDIA's "SQLite
Export Schema Reference" (docs.nvidia.com/nsight-systems): times are ns from the start of the
session, whose Unix time is ``TARGET_INFO_SESSION_START_TIME.utcEpochNs``; tables are there only
where something was recorded.
"""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import RecordingError
from .event_columns import ODD_FIELD, REPLACED, Block, Columns
from .kineto_number import LIMIT_NS, Stamp
from .profiler_events import Category, Provenance

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    from numpy.typing import NDArray

    from .profiler_events import ProfilerEvents

__all__ = ["is_nsys", "read_nsys"]

_MAGIC = b"SQLite format 3\0"
_PROCESS = 0xFFFFFFFFFF000000  # the part of a globalTid that is the process's
_RANGES = (59, 60)  # NvtxPushPopRange, NvtxStartEndRange
_AT_ONCE = 100_000  # rows
_LONGEST = 1 << 24  # bytes of one value
# Table, category, column of the name (an id of StringIds) or the name itself.
_DEVICE = (
    ("CUPTI_ACTIVITY_KIND_KERNEL", Category.KERNEL, "demangledName"),
    ("CUPTI_ACTIVITY_KIND_MEMCPY", Category.MEMCPY, "Memcpy"),
    ("CUPTI_ACTIVITY_KIND_MEMSET", Category.MEMSET, "Memset"),
)


def is_nsys(path: str | PathLike[str]) -> bool:
    """Whether a file is an SQLite database."""
    try:
        with Path(path).open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def read_nsys(path: str | PathLike[str]) -> ProfilerEvents:
    """Kernels, copies, fills, the calls that launched them, and NVTX ranges, in Unix ns.

    Raises
    ------
    RecordingError
        When the file is no such export.
    """
    try:
        with closing(sqlite3.connect(f"{Path(path).resolve().as_uri()}?mode=ro", uri=True)) as file:
            _distrust(file)
            return _Reader(file, str(path), Path(path).stat().st_size).read()
    except (sqlite3.Error, OSError) as error:
        raise RecordingError(f"{path} is no export of Nsight Systems: {error}") from error


def _distrust(file: sqlite3.Connection) -> None:
    """A database is a program, too: none of what its schema defines is to run."""
    file.execute("PRAGMA trusted_schema = OFF")
    file.execute("PRAGMA cell_size_check = ON")
    if sys.version_info >= (3, 11):
        file.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST)


class _Reader:
    def __init__(self, file: sqlite3.Connection, source: str, size: int) -> None:
        self._file, self._source = file, source
        self._rows_left = size  # a row takes more than a byte
        self._columns = Columns()
        file.text_factory = self._text
        # No views: one can go on for ever.
        rows = file.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        self._tables = {name for (name,) in rows}
        if "StringIds" not in self._tables:
            raise RecordingError(
                f"{source} is an SQLite database, but no export of Nsight Systems: it has no table "
                "StringIds"
            )
        self._processes: dict[int, int] = {}

    def read(self) -> ProfilerEvents:
        for table, category, name in _DEVICE:
            self._add(table, category, name, ("deviceId", "streamId", "correlationId", "globalPid"))
        self._add(
            "CUPTI_ACTIVITY_KIND_RUNTIME",
            Category.RUNTIME,
            "nameId",
            ("globalTid", "correlationId"),
        )
        self._add("NVTX_EVENTS", Category.ANNOTATION, "text", ("globalTid",))
        return self._columns.finish(Provenance(self._source, base_time_ns=self._start_ns()), False)

    def _text(self, raw: bytes) -> str:
        try:
            return raw.decode()
        except UnicodeDecodeError:
            self._columns.counts[REPLACED] += 1
            return raw.decode(errors="replace")

    def _start_ns(self) -> int | None:
        if "TARGET_INFO_SESSION_START_TIME" not in self._tables:
            return None
        row = self._file.execute("SELECT utcEpochNs FROM TARGET_INFO_SESSION_START_TIME").fetchone()
        if row is None:
            return None
        if type(row[0]) is not int or not 0 <= row[0] < LIMIT_NS:
            raise RecordingError(f"{self._source}: its session began at no time: {row[0]!r:.80}")
        return row[0]

    def _add(self, table: str, category: Category, name: str, wanted: Sequence[str]) -> None:
        if table not in self._tables:
            return
        there = {row[1] for row in self._file.execute(f"PRAGMA table_info({table})")}
        columns = [column if column in there else "NULL" for column in wanted]
        cursor = self._file.execute(
            f"SELECT t.start, t.end, {self._name(name, there)}, "
            + ", ".join(f"t.{c}" if c != "NULL" else c for c in columns)
            + f" FROM {table} t {self._joined(name, there)}{_only(category)}"
        )
        while rows := cursor.fetchmany(_AT_ONCE):
            self._rows_left -= len(rows)
            if self._rows_left < 0:
                raise RecordingError(f"{self._source} is damaged: more rows than it has bytes")
            start, end, names, *rest = zip(*rows, strict=True)
            self._block(category, start, end, names, dict(zip(wanted, rest, strict=True)))

    @staticmethod
    def _name(name: str, there: set[str]) -> str:
        if name in ("Memcpy", "Memset"):
            return f"'{name}'"
        if name == "text":  # registered strings are in StringIds
            return "COALESCE(t.text, s.value)" if "textId" in there else "t.text"
        return "s.value"

    @staticmethod
    def _joined(name: str, there: set[str]) -> str:
        key = {"text": "textId"}.get(name, name)
        return f"LEFT JOIN StringIds s ON s.id = t.{key}" if key in there else ""

    def _block(
        self, category: Category, start: Any, end: Any, names: Any, ids: dict[str, Sequence[Any]]
    ) -> None:
        n = len(start)
        on_gpu = category in (Category.KERNEL, Category.MEMCPY, Category.MEMSET)
        none = [-1] * n
        started, start_stamp = _times(start)
        ended, end_stamp = _times(end)
        process = ids.get("globalPid" if on_gpu else "globalTid", none)
        correlation = [
            self._unique(who, number)
            for who, number in zip(process, ids.get("correlationId", none), strict=True)
        ]
        self._columns.add(
            Block(
                start_ns=started,
                duration_ns=ended - started,
                start_stamp=start_stamp,
                duration_stamp=end_stamp,
                category=[int(category)] * n,
                name=["(no name)" if name is None else str(name) for name in names],
                device=self._known(ids.get("deviceId", none), 1 << 31),
                stream=self._known(ids.get("streamId", none)),
                thread=none if on_gpu else self._known(ids["globalTid"]),
                correlation=correlation,
                external_id=none,
            )
        )

    def _unique(self, who: Any, number: Any) -> int:
        """Correlation ids count anew in every process."""
        if type(number) is not int or not 0 < number < 1 << 40:
            return -1
        owner = who & _PROCESS if type(who) is int else 0
        process = self._processes.setdefault(owner, len(self._processes))
        return (process << 40) + number

    def _known(self, values: Sequence[Any], limit: int = 1 << 63) -> list[int]:
        """Numbers; -1 where none is given, or something else is: any cell may hold any type."""
        known = [v if type(v) is int and -limit <= v < limit else -1 for v in values]
        odd = sum(found == -1 and v not in (None, -1)
                  for found, v in zip(known, values, strict=True))  # fmt: skip
        if odd:
            self._columns.counts[ODD_FIELD] += odd
        return known


def _times(values: Sequence[Any]) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
    """Times, and what was in their place (`Stamp`)."""
    stamps = np.array([_stamp(value) for value in values], np.int8)
    times = [v if s == Stamp.OK else 0 for v, s in zip(values, stamps.tolist(), strict=True)]
    return np.array(times, np.int64), stamps


def _stamp(value: Any) -> Stamp:
    if value is None:
        return Stamp.MISSING
    if type(value) is not int:
        return Stamp.NOT_A_NUMBER
    return Stamp.OK if -LIMIT_NS < value < LIMIT_NS else Stamp.OUT_OF_RANGE


def _only(category: Category) -> str:
    if category is not Category.ANNOTATION:
        return ""
    kinds = ", ".join(map(str, _RANGES))
    return f" WHERE t.eventType IN ({kinds}) AND t.end IS NOT NULL"
