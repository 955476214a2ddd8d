# SPDX-License-Identifier: Apache-2.0
"""Traces that torch.profiler exports (Kineto's Chrome JSON), of any size, plain or gzip.

Times are ``round(ts * 1000) + baseTimeNanoseconds`` (torch 2.4 and later, libkineto's
``output_json.cpp``), or Unix microseconds as they stand where there is no base. The base may
follow the events. ``displayTimeUnit`` is how a viewer labels its axis and scales nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ..errors import OptionError, RecordingError
from .event_columns import REPLACED, Block, Columns
from .json_blocks import Cursor, MalformedError, chunks_of
from .kineto_entry import UNREADABLE, Args, Entry, decode_block, decode_one
from .kineto_number import LIMIT_NS, nanoseconds
from .profiler_events import Category, ProfilerEvents, Provenance, category_of

if TYPE_CHECKING:
    from collections.abc import Collection
    from os import PathLike

__all__ = ["read_kineto"]

_CHUNK = 1 << 20
_LONGEST_EVENT = 64 << 20  # bytes
_LONGEST_VALUE = 1 << 20  # bytes of a value beside the events that is looked at
_AT_ONCE = 2000  # entries
_EVENTS = "traceEvents"
_VERSIONS = ("pytorch_version", "torch_version", "PyTorch Version", "torch")
_ON_GPU = frozenset(
    (Category.KERNEL, Category.MEMCPY, Category.MEMSET, Category.GPU_ANNOTATION, Category.SYNC)
)
_PHASES = {"s": "flow", "t": "flow", "f": "flow", "M": "metadata", "i": "instant", "I": "instant"}
_PHASES |= {"C": "counter", "B": "begin without a length", "E": "end without a length"}
_NONE = Args()


def read_kineto(
    path: str | PathLike[str],
    *,
    categories: Collection[Category] | None = None,
    shapes: bool = False,
    salvage: bool = False,
    chunk_bytes: int = _CHUNK,
) -> ProfilerEvents:
    """Spans of a trace file, with times in Unix ns.

    Parameters
    ----------
    path : str or path
        ``{"traceEvents": [...]}`` or the bare list; gzip is told by its first bytes.
    categories : collection of Category, optional
        What to keep; everything by default. Python functions are most of a large trace.
    shapes : bool
        Whether to keep the launch shapes, 24 bytes for every event.
    salvage : bool
        Whether a file that breaks off or is damaged gives what stands before, with a note.
    chunk_bytes : int
        How much text is held at a time, unzipped.

    Raises
    ------
    RecordingError
        The file cannot be read, is no such trace, or is damaged: the error names the byte.
    """
    if chunk_bytes < 1:
        raise OptionError(f"chunk_bytes must be at least 1, got {chunk_bytes}")
    path = Path(path)
    try:
        with path.open("rb") as file:
            reader = _Reader(Cursor(chunks_of(file, chunk_bytes)), chunk_bytes, categories, shapes)
            return reader.read(str(path), salvage)
    except OSError as error:
        raise RecordingError(f"cannot read {path}: {error.strerror or error}") from None


class _Reader:
    def __init__(
        self,
        cursor: Cursor,
        chunk: int,
        categories: Collection[Category] | None,
        shapes: bool,
    ) -> None:
        self._cursor = cursor
        self._chunk = chunk
        self._wanted = None if categories is None else frozenset(categories)
        self._shapes = shapes
        self._columns = Columns()
        self._codes: dict[str | None, Category] = {}
        self._beside: dict[str, Any] = {}
        self._source = ""
        self._found = False
        self._read = 0
        self._waiting: list[Entry] = []  # read, and not in the columns yet
        self._done = 0  # byte up to which all entries were read
        self._refused = 0  # byte up to which a guess of where a block ends was wrong

    def read(self, source: str, salvage: bool) -> ProfilerEvents:
        self._source = source
        broken = None
        try:
            self._text()
        except MalformedError as error:
            broken = f"{error} after {self._read} entries"
            if not salvage:
                raise RecordingError(f"{source}: {broken}{self._salvageable()}") from None
        self._flush()
        if not self._found:
            raise RecordingError(
                f"{source}: {broken or 'no traceEvents in it'}: no trace of a profiler"
            )
        if broken:
            self._columns.notes.append(f"the file is not whole: {broken}; {self._lost()}")
        return self._columns.finish(self._provenance(source), self._shapes, broken is None)

    def _salvageable(self) -> str:
        if not self._read:
            return ""
        return (
            "; pyenergy.attribution.read_kineto(path, salvage=True) reads what stands before, for "
            "attach to take, and pyenergy kernels does with --salvage"
        )

    def _lost(self) -> str:
        """How much of the text was not read."""
        known = self._done, self._cursor.length()
        return (
            f"the last {known[1] - known[0]:,} of {known[1]:,} bytes were not read; what they or a "
            "missing end say is lost, and what ran of it counts as if nothing had run"
        )

    def _text(self) -> None:
        """The whole file: an object with the list of events in it, or the list."""
        cursor = self._cursor
        cursor.ahead(3)
        if cursor.buffer.startswith(b"\xef\xbb\xbf"):
            cursor.at = 3  # a byte order mark
        if cursor.take(b"{[", "the file") == b"[":
            self._list()
        else:
            self._object()
        if cursor.peek():
            raise MalformedError(cursor.offset, "more text follows the end of the trace,")
        if cursor.broken:
            raise cursor.broken

    def _object(self) -> None:
        cursor = self._cursor
        if cursor.peek() == b"}":
            cursor.at += 1
            return
        while True:
            at = cursor.offset
            if cursor.peek() not in (b'"', b""):
                raise MalformedError(cursor.offset, "no name of a field")
            key = self._decoded(cursor.value("a name", _LONGEST_VALUE), at)
            cursor.take(b":", "the trace")
            if key == _EVENTS and cursor.peek() == b"[":
                cursor.at += 1
                self._list()
            else:
                at = cursor.offset
                text = cursor.value(f"the value of {key}", _LONGEST_VALUE)
                if key == _EVENTS:
                    raise RecordingError(f"{self._source}: traceEvents at byte {at} is no list")
                if text is not None:
                    self._beside[str(key)] = self._decoded(text, at)
            if cursor.take(b",}", "the trace") == b"}":
                return

    @staticmethod
    def _decoded(text: bytes | None, at: int) -> Any:
        try:
            return msgspec.json.decode(text or b"null")
        except UNREADABLE:
            return None  # beside the events; nothing that times depend on, or it is missing

    def _list(self) -> None:
        """The events, up to and with the list's end."""
        self._found = True
        cursor = self._cursor
        want = self._chunk
        comma = True
        while True:
            cursor.ahead(want)
            following = cursor.peek()
            self._done = cursor.offset
            if not following:
                raise cursor.ended("the list of events")
            if following == b"]":
                cursor.at += 1
                return
            if not comma:
                wanted = "a comma or the list's end"
                raise MalformedError(cursor.offset, f"{following!r} where {wanted} must stand")
            if following != b"{":
                comma = self._no_object(following)
                continue
            if self._likely_block():
                want = self._chunk
                continue
            spans, stop, comma = cursor.objects()
            if spans:
                self._add(self._exact(spans))
                cursor.at, want = stop, self._chunk
                if not comma and cursor.peek() == b",":
                    cursor.at += 1  # it had not been in the buffer
                    comma = True
                continue
            comma = True  # as before: it is the same event that is looked at again
            if cursor.exhausted:
                raise cursor.ended("an event")
            have = len(cursor.buffer) - cursor.at
            if have > _LONGEST_EVENT:
                raise MalformedError(
                    cursor.offset, f"an event of more than {_LONGEST_EVENT} bytes starts"
                )
            want = 2 * max(have, want)

    def _no_object(self, first: bytes) -> bool:
        """Step over an entry that is no event, and count it; whether a comma follows."""
        cursor = self._cursor
        at = cursor.offset
        text = cursor.value("an entry", _LONGEST_VALUE)
        try:
            if text is not None:
                msgspec.json.decode(text)
        except UNREADABLE:
            raise MalformedError(at, f"{first!r} where an event must stand") from None
        self._read += 1
        self._columns.dropped["a value that is no object"] += 1
        comma = cursor.peek() == b","
        cursor.at += comma
        return comma

    def _likely_block(self) -> bool:
        """Take the buffer up to where an event probably ends; whether it did."""
        cursor = self._cursor
        if cursor.offset < self._refused:
            return False
        split = cursor.likely_end()
        if split is None:
            self._refused = cursor.offset + len(cursor.buffer) - cursor.at
            return False
        end, following = split
        try:
            entries = decode_block(b"[" + cursor.buffer[cursor.at : end] + b"]")
        except UNREADABLE:
            self._refused = cursor.offset + end - cursor.at
            return False
        cursor.at = following
        self._add(entries)
        return True

    def _exact(self, spans: list[tuple[int, int]]) -> list[Entry]:
        """Entries where they are known to begin and end."""
        buffer = self._cursor.buffer
        try:
            return decode_block(b"[" + buffer[spans[0][0] : spans[-1][1]] + b"]")
        except UNREADABLE:
            pass
        entries: list[Entry] = []
        for begin, end in spans:
            try:
                entry, repairs = decode_one(buffer[begin:end])
            except UNREADABLE as error:
                self._add(entries)
                self._done = offset = self._cursor.offset - self._cursor.at + begin
                raise MalformedError(offset, f"{error} in the event") from None
            for repair in repairs:
                self._columns.counts[repair] += 1
            if repairs and "\ufffd" in entry.name:
                self._columns.counts[REPLACED] += 1
            entries.append(entry)
        return entries

    def _add(self, entries: list[Entry]) -> None:
        """Take entries in; where few come at a time, many are put into the columns at once."""
        self._read += len(entries)
        self._waiting += entries
        if len(self._waiting) >= _AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        """Spans into the columns; what is none is counted."""
        entries, self._waiting = self._waiting, []
        spans = [entry for entry in entries if entry.ph == "X"]
        if len(spans) < len(entries):
            for entry in entries:
                if entry.ph != "X":
                    phase = _PHASES.get(entry.ph or "", f"phase {entry.ph!r}")
                    self._columns.skipped[phase] += 1
        kinds = [self._category(entry.cat) for entry in spans]
        if self._wanted is not None:
            pairs = [
                (entry, kind)
                for entry, kind in zip(spans, kinds, strict=True)
                if kind in self._wanted
            ]
            if len(pairs) < len(spans):
                self._columns.skipped["category not asked for"] += len(spans) - len(pairs)
            spans, kinds = [entry for entry, _ in pairs], [kind for _, kind in pairs]
        if spans:
            self._columns.add(self._block(spans, kinds))

    def _category(self, name: str | None) -> Category:
        known = self._codes.get(name)
        if known is None:
            known = self._codes[name] = category_of(name)
        return known

    def _block(self, spans: list[Entry], kinds: list[Category]) -> Block:
        start, start_stamp = nanoseconds([entry.ts for entry in spans])
        length, length_stamp = nanoseconds([entry.dur for entry in spans])
        args = [entry.args or _NONE for entry in spans]
        device = [each.device for each in args]
        stream = [each.stream for each in args]
        thread = [entry.tid if type(entry.tid) is int else -1 for entry in spans]
        for row, kind in enumerate(kinds):
            if kind in _ON_GPU:  # drawn in the process of the device, the thread of the stream
                pid = spans[row].pid
                if device[row] < 0 and type(pid) is int and pid < 2**31:
                    device[row] = pid
                if stream[row] < 0:
                    stream[row] = thread[row]
                thread[row] = -1
        return Block(
            start, length, start_stamp, length_stamp, kinds, [entry.name for entry in spans],
            device, stream, thread, [each.correlation for each in args],
            [each.external_id if each.external_id >= 0 else each.legacy_id for each in args],
            [each.grid for each in args] if self._shapes else None,
            [each.block for each in args] if self._shapes else None,
        )  # fmt: skip

    def _provenance(self, source: str) -> Provenance:
        beside = self._beside
        base = beside.get("baseTimeNanoseconds")
        if "baseTimeNanoseconds" in beside and not (type(base) is int and 0 <= base < LIMIT_NS):
            raise RecordingError(
                f"{source}: baseTimeNanoseconds is {base!r}, no time in ns; without it the times "
                "of all events are unknown"
            )
        schema, trace_id = beside.get("schemaVersion"), beside.get("trace_id")
        spread = beside.get("distributedInfo")
        rank = spread.get("rank") if isinstance(spread, dict) else None
        devices = beside.get("deviceProperties")
        names = [
            str(each.get("name", "")) if isinstance(each, dict) else ""
            for each in (devices if isinstance(devices, list) else ())
        ]
        version = next((beside[key] for key in _VERSIONS if key in beside), None)
        return Provenance(
            source,
            schema if type(schema) is int else None,
            base,
            version if isinstance(version, str) else None,
            trace_id if isinstance(trace_id, str) else None,
            rank if type(rank) is int else None,
            tuple(names),
        )
