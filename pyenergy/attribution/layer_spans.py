# SPDX-License-Identifier: Apache-2.0
"""Spans of modules from a log of their starts and ends, and the pieces in which each was innermost.

The pieces of one outermost call add up to it: a module's own time and that of the modules in it
are told apart, to the nanosecond.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .device_marks import MarkTimes

__all__ = ["LayerSegments", "LayerSpans", "Log", "spans_of"]


class Log(NamedTuple):
    """What one thread did: a layer (its complement where it ended) and a stamp, in turns."""

    thread: int
    entries: array[int]


@dataclass(frozen=True)
class LayerSegments:
    """Pieces of time in which one call was the innermost; one entry for each.

    Attributes
    ----------
    layer : int32
        Index into the names of the `LayerSpans`.
    span : int64
        Index of the call.
    start_ns, end_ns : int64
        CLOCK_MONOTONIC.
    thread : int64
        Which called.
    """

    layer: NDArray[np.int32]
    span: NDArray[np.int64]
    start_ns: NDArray[np.int64]
    end_ns: NDArray[np.int64]
    thread: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.layer)


@dataclass(frozen=True)
class LayerSpans:
    """Calls of modules, in order of their start in each thread; columns with one entry for each.

    Attributes
    ----------
    names, classes : tuple of str
        Of the modules, as in ``named_modules()``.
    layer : int32
        Index into ``names``.
    start_ns, end_ns : int64
        CLOCK_MONOTONIC.
    bound_ns : int64
        How far the edges are off at most, ns: 0 where the host read its clock itself.
    own_ns : int64
        Without the calls in it; these add up to the outermost calls' lengths.
    thread : int64
        As `threading.get_ident` says it.
    depth : int32
        In how many other calls it is.
    complete : bool
        False where the end was not seen: it ends with the call around it, or with the recording.
    segments : LayerSegments
        When each was the innermost.
    aliases : dict of str to tuple of str
        All names of modules that have more than one, by the name that is used.
    notes : tuple of str
        What a reader of results should know.
    """

    names: tuple[str, ...]
    classes: tuple[str, ...]
    layer: NDArray[np.int32]
    start_ns: NDArray[np.int64]
    end_ns: NDArray[np.int64]
    bound_ns: NDArray[np.int64]
    own_ns: NDArray[np.int64]
    thread: NDArray[np.int64]
    depth: NDArray[np.int32]
    complete: NDArray[np.bool_]
    segments: LayerSegments
    aliases: dict[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.layer)


class _Reader:
    """The calls of one thread after another.

    The order of a log says what called what, its times need not: marks of several streams may go
    back in time, and an end may be missing. So this is no matter of `nesting`, which sorts by time.
    """

    def __init__(self) -> None:
        self.calls: list[list[int]] = []  # layer, start, end, thread, depth, complete, bound
        self.pieces: list[tuple[int, int, int, int]] = []  # call, start, end, thread
        self.orphans = 0

    def read(self, thread: int, entries: Sequence[tuple[int, int, int]], end_ns: int) -> None:
        """(layer or its complement, ns, bound) in the order in which they were stamped."""
        stack: list[int] = []
        last = 0
        calls, pieces = self.calls, self.pieces
        for code, at, bound in entries:
            layer = code if code >= 0 else ~code
            if code < 0 and not any(calls[call][0] == layer for call in reversed(stack)):
                self.orphans += 1
                continue
            if stack and at != last:
                pieces.append((stack[-1], last, at, thread))
            last = at
            if code >= 0:
                calls.append([layer, at, at, thread, len(stack), 1, bound])
                stack.append(len(calls) - 1)
                continue
            while True:
                call = stack.pop()
                is_it = calls[call][0] == layer
                self._close(call, at, bound, is_it)
                if is_it:
                    break
        if stack and end_ns != last:
            pieces.append((stack[-1], last, end_ns, thread))
        for call in stack:
            self._close(call, end_ns, 0, False)

    def _close(self, call: int, at: int, bound: int, complete: bool) -> None:
        row = self.calls[call]
        row[2], row[5], row[6] = at, int(complete), max(row[6], bound)


def spans_of(
    logs: Sequence[Log],
    names: tuple[str, ...],
    classes: tuple[str, ...],
    aliases: dict[str, tuple[str, ...]],
    notes: Sequence[str],
    times: MarkTimes | None,
    end_ns: int,
) -> LayerSpans:
    """Spans of logs whose stamps are ns, or numbers of marks where their ``times`` are given.

    ``end_ns`` is when the recording ended.
    """
    reader = _Reader()
    captured = 0
    said = list(notes)
    for thread, log in logs:
        columns = np.frombuffer(array("q", log), np.int64).reshape(-1, 2)
        code, t_ns = columns[:, 0], columns[:, 1]
        bound = np.zeros(len(t_ns), np.int64)
        if times is not None:
            known = (t_ns >= 0) & (t_ns < len(times.t_ns))
            captured += int(np.count_nonzero(~known))
            code, mark = code[known], t_ns[known]
            t_ns, bound = times.t_ns[mark], times.bound_ns[mark]
        rows = zip(code.tolist(), t_ns.tolist(), bound.tolist(), strict=True)
        reader.read(thread, list(rows), end_ns)
    if captured:
        said.append(
            f"{captured} edges of modules were not timed: a CUDA graph was being captured, whose "
            "work runs when it is replayed"
        )
    if reader.orphans:
        said.append(f"{reader.orphans} calls of modules had begun before: left out")
    columns = np.array(reader.calls, np.int64).reshape(-1, 7)
    pieces = np.array(reader.pieces, np.int64).reshape(-1, 4)
    layer, start, end, thread, depth, complete, bound = columns.T
    cut = int(np.count_nonzero(complete == 0))
    if cut:
        said.append(
            f"{cut} calls of modules were not seen to end: they are taken to end with the call "
            "around them, or with the recording"
        )
    reversed_ = int(np.count_nonzero(pieces[:, 2] < pieces[:, 1]))
    if reversed_:
        said.append(
            f"{reversed_} pieces end before they start: modules ran on several streams, and their "
            "times overlap"
        )
    own = np.zeros(len(layer), np.int64)
    np.add.at(own, pieces[:, 0], pieces[:, 2] - pieces[:, 1])
    kind = layer.astype(np.int32)
    return LayerSpans(
        names, classes, kind, start, end, bound, own, thread, depth.astype(np.int32),
        complete.astype(bool),
        LayerSegments(kind[pieces[:, 0]], pieces[:, 0], pieces[:, 1], pieces[:, 2], pieces[:, 3]),
        aliases, tuple(said),
    )  # fmt: skip
