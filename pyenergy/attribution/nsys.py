# SPDX-License-Identifier: Apache-2.0
"""Operations from an Nsight Systems report that was exported to SQLite.

``nsys export --type sqlite report.nsys-rep``. Tables and columns are those of NVIDIA's "SQLite
Export Schema Reference" (docs.nvidia.com/nsight-systems): times are ns from the start of the
session, whose Unix time is ``TARGET_INFO_SESSION_START_TIME.utcEpochNs``; tables are there only
where something was recorded.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import RecordingError
from .event_columns import REPLACED, Block, Columns
from .profiler_events import Category, Provenance

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    from .profiler_events import ProfilerEvents

__all__ = ["is_nsys", "read_nsys"]

_MAGIC = b"SQLite format 3\0"
_PROCESS = 0xFFFFFFFFFF000000  # the part of a globalTid that is the process's
_RANGES = (59, 60)  # NvtxPushPopRange, NvtxStartEndRange
_AT_ONCE = 100_000  # rows
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
            return _Reader(file, str(path)).read()
    except sqlite3.Error as error:
        raise RecordingError(f"{path} is no export of Nsight Systems: {error}") from error


class _Reader:
    def __init__(self, file: sqlite3.Connection, source: str) -> None:
        self._file, self._source = file, source
        self._columns = Columns()
        file.text_factory = self._text
        rows = file.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")
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
        return None if row is None else int(row[0])

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
        started = np.array([-1 if t is None else t for t in start], np.int64)
        ended = np.array([-2 if t is None else t for t in end], np.int64)
        process = ids.get("globalPid" if on_gpu else "globalTid", none)
        correlation = [
            self._unique(who, number)
            for who, number in zip(process, ids.get("correlationId", none), strict=True)
        ]
        self._columns.add(
            Block(
                start_ns=started,
                duration_ns=ended - started,
                start_stamp=np.zeros(n, np.int8),
                duration_stamp=np.zeros(n, np.int8),
                category=[int(category)] * n,
                name=["(no name)" if name is None else str(name) for name in names],
                device=_known(ids.get("deviceId", none)),
                stream=_known(ids.get("streamId", none)),
                thread=none if on_gpu else _known(ids["globalTid"]),
                correlation=correlation,
                external_id=none,
            )
        )

    def _unique(self, who: int | None, number: int | None) -> int:
        """Correlation ids count anew in every process."""
        if number is None or number <= 0:
            return -1
        process = self._processes.setdefault((who or 0) & _PROCESS, len(self._processes))
        return (process << 40) + int(number)


def _known(values: Sequence[Any]) -> list[int]:
    return [-1 if value is None else int(value) for value in values]


def _only(category: Category) -> str:
    if category is not Category.ANNOTATION:
        return ""
    kinds = ", ".join(map(str, _RANGES))
    return f" WHERE t.eventType IN ({kinds}) AND t.end IS NOT NULL"
