# SPDX-License-Identifier: Apache-2.0
"""A trace as a file for Perfetto (ui.perfetto.dev), by itself or inside a profiler's own."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from ..attribution.json_blocks import Cursor, MalformedError, chunks_of
from ..attribution.kineto_json import read_kineto
from ..attribution.timeline import ClockMap
from ..errors import OptionError, RecordingError, WindowError
from ..recording.whole_file import whole_file
from .attributed import at_rest
from .trace_events import events

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from .._trace import Trace

    Times = NDArray[np.int64]

__all__ = ["write_perfetto"]

# Kineto's times count from the last multiple of this many seconds ("three months"), so that files
# made within one of them have one base. libkineto, output_json.cpp.
_BASE_NS = 7_889_238 * 1_000_000_000
_FAR_S = 1e8  # marks may have been made long before the first clock anchor
_CHUNK = 1 << 20
_LONGEST_KEY = 1 << 20


def write_perfetto(
    trace: Trace, path: str | os.PathLike[str], merge: str | os.PathLike[str] | None = None
) -> Path:
    """Write power, readings, marks, operations and layers as Chrome trace events.

    Each slice has its joules in its arguments: ``energy_j`` with its standard uncertainty
    ``u_j``, and ``static_j``, as in `Trace.kernels`; what is not known is left out there.

    Times are Unix time where the recording has clock anchors, from the base that Kineto has at that
    time (``baseTimeNanoseconds``); else, or when the system's clock was set meanwhile, the
    recording's own.

    Parameters
    ----------
    trace : Trace
    path : str or path
        Ending in ``.json`` or ``.json.gz``.
    merge : str or path, optional
        A Kineto trace (``.json``, ``.json.gz``) of the same run: the file then has its text
        unchanged, with these events added to it.

    Raises
    ------
    OptionError
        For another ending, and when the file to merge is the one to write.
    RecordingError
        When a file cannot be read or written.
    WindowError
        When the profile is of another run.
    ClockStepError
        When the system's clock was set during a trace that is merged.
    """
    target = Path(path)
    if not target.name.endswith((".json", ".json.gz")):
        raise OptionError(f"a trace for Perfetto ends in .json or .json.gz, got {target.name!r}")
    trace = at_rest(trace)
    clock = _Clock(trace) if merge is None else _Clock.of_profile(trace, Path(merge))
    if merge is not None and target.exists() and target.samefile(merge):
        raise OptionError(f"{target} is the profile itself: write the merged trace to another file")
    texts = (text.encode() for text in events(trace, clock.to_file))
    pieces = _alone(trace, clock, texts) if merge is None else _merged(Path(merge), texts)
    _write(target, pieces)
    return target


class _Clock:
    """From times of a recording to those of the file."""

    def __init__(self, trace: Trace) -> None:
        recorded = trace.recorded
        self.map = ClockMap.of(recorded, extrapolate_s=_FAR_S) if len(recorded.anchors) else None
        self.note = ""
        if self.map is not None and self.map.steps:
            self.note = f"{self.map.steps[0]}: times are the recording's own clock"
            self.map = None
        self.base_ns = 0
        self.base_ns = int(self.to_file(np.array(trace.bounds_ns[:1]))[0]) // _BASE_NS * _BASE_NS

    @classmethod
    def of_profile(cls, trace: Trace, merge: Path) -> _Clock:
        """The clock of a profile of the same run."""
        profile = read_kineto(merge)
        if not len(profile):
            raise OptionError(f"{merge} has no events with a time to merge with")
        if not profile.is_unix_time:
            raise OptionError(f"{merge}: nothing says what its times count from; write two files")
        clock = cls(trace)
        if clock.map is None and len(trace.recorded.anchors):
            ClockMap.of(trace.recorded).to_unix(np.array(trace.bounds_ns, np.int64))  # it says why
        clock.base_ns = 0
        low, high = clock.to_file(np.array(trace.bounds_ns, np.int64)).tolist()
        first, last = int(profile.start_ns.min()), int(profile.end_ns.max())
        if last < low or first > high:
            kind = "Unix time" if clock.map is not None else "the recording's clock, has no anchors"
            raise WindowError(
                f"{merge} is of another run: its events lie from {first} to {last} ns, the trace "
                f"from {low} to {high} ({kind})"
            )
        clock.base_ns = profile.provenance.base_time_ns or 0
        return clock

    def to_file(self, t_ns: Times) -> Times:
        if self.map is None:
            return np.asarray(t_ns - self.base_ns)
        return self.map.to_unix(t_ns, on_step="mark").t_ns - self.base_ns


def _alone(trace: Trace, clock: _Clock, texts: Iterator[bytes]) -> Iterator[bytes]:
    about = {
        "clock": "unix" if clock.map is not None else "recording",
        "notes": [*trace.notes, *([clock.note] if clock.note else [])],
        "not_readable": trace.unreadable,
        "provenance": trace.recorded.provenance,
    }
    head = {"schemaVersion": 1, "displayTimeUnit": "ms", "baseTimeNanoseconds": clock.base_ns}
    yield json.dumps({**head, "pyenergy": about})[:-1].encode() + b',\n"traceEvents": [\n'
    for i, text in enumerate(texts):
        yield b",\n" + text if i else text
    yield b"\n]}\n"


def _merged(source: Path, texts: Iterator[bytes]) -> Iterator[bytes]:
    """The bytes of ``source``, with the events before the end of its list."""
    try:
        with source.open("rb") as file:
            end = _end_of_list(Cursor(chunks_of(file, _CHUNK)))
            file.seek(0)
            yield from _inserted(chunks_of(file, _CHUNK), end, texts)
    except MalformedError as error:
        raise RecordingError(f"{source}: {error}") from None


def _end_of_list(cursor: Cursor) -> int:
    """Byte of the unzipped text at which the list of events is closed."""
    cursor.ahead(3)
    if cursor.buffer.startswith(b"\xef\xbb\xbf"):
        cursor.at = 3
    if cursor.peek() == b"{":
        cursor.at += 1
        while True:
            key = cursor.value("the trace", _LONGEST_KEY)
            cursor.take(b":", "the trace")
            if key == b'"traceEvents"':
                break
            cursor.value("the trace", 0)
            cursor.take(b",", "the trace")
    if cursor.peek() != b"[":
        raise MalformedError(cursor.offset, "no list of events")
    cursor.value("traceEvents", 0)
    return cursor.offset - 1


def _inserted(chunks: Iterator[bytes], end: int, texts: Iterator[bytes]) -> Iterator[bytes]:
    at, last = 0, b""
    for chunk in chunks:
        if at <= end < at + len(chunk):
            before = chunk[: end - at]
            yield before
            # An empty list has nothing to part the first event from.
            first = (before.rstrip()[-1:] or last) in (b"[", b",")
            for i, text in enumerate(texts):
                yield text if first and i == 0 else b",\n" + text
            yield chunk[end - at :]
        else:
            yield chunk
        at += len(chunk)
        last = chunk.rstrip()[-1:] or last


def _write(target: Path, pieces: Iterator[bytes]) -> None:
    """All of it, or nothing: an existing file is replaced when the new one is whole."""
    with whole_file(target) as part, part.open("wb") as raw:
        if target.name.endswith(".gz"):
            with gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed:
                _drain(pieces, packed)
        else:
            _drain(pieces, raw)


def _drain(pieces: Iterator[bytes], out: BinaryIO | gzip.GzipFile) -> None:
    """Small pieces together: a write for each would take most of the time."""
    waiting: list[bytes] = []
    size = 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= _CHUNK:
            out.write(b"".join(waiting))
            waiting, size = [], 0
    out.write(b"".join(waiting))
