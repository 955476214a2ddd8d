# SPDX-License-Identifier: Apache-2.0
"""Which span a moment lies in, when spans of a thread lie in one another.

A moment belongs to the innermost of the spans that hold it, even where they cross.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Nesting", "Pieces", "innermost_pieces", "nest"]


@dataclass(frozen=True)
class Nesting:
    """Spans of several threads, each holding the moments from its start up to before its end.

    Attributes
    ----------
    order : int64
        Indices of the spans such that a span stands behind those it lies in.
    parent : int64
        Of each span, the innermost one that was open when it started; -1 where none.
    crossing : int
        How many spans ended while one that started later was still open.
    """

    order: NDArray[np.int64]
    parent: NDArray[np.int64]
    crossing: int
    _threads: dict[int, tuple[NDArray[np.int64], NDArray[np.int64]]]

    def innermost(self, thread: NDArray[np.int64], t_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        """Of each moment, the span of its thread that holds it and started last; -1 where none.

        Of spans with the same start it is the one that ends first, of equal ones the last.
        """
        found = np.full(len(t_ns), -1, np.int64)
        for number, (edges, active) in self._threads.items():
            rows = np.flatnonzero(thread == number)
            at = np.searchsorted(edges, t_ns[rows], side="right") - 1
            found[rows] = np.where(at >= 0, active[at], -1)
        return found


@dataclass(frozen=True, eq=False)
class Pieces:
    """Stretches of time in which one span of a thread is the innermost.

    Attributes
    ----------
    start_ns, end_ns : int64
    row : int64
        Which span it is.
    begins : bool
        Whether it is the first of its span.
    crossing : int
        Spans that end after one which they began in: the later one has the time.
    """

    start_ns: NDArray[np.int64]
    end_ns: NDArray[np.int64]
    row: NDArray[np.int64]
    begins: NDArray[np.bool_]
    crossing: int


def nest(
    thread: NDArray[np.int64], start_ns: NDArray[np.int64], end_ns: NDArray[np.int64]
) -> Nesting:
    """Sort spans into one another; those without a length hold nothing."""
    count = len(start_ns)
    index = np.arange(count, dtype=np.int64)
    order = np.lexsort((index, -end_ns, start_ns, thread)).astype(np.int64)
    parent = np.full(count, -1, np.int64)
    threads = {}
    crossing = 0
    bounds = np.flatnonzero(np.diff(thread[order]) != 0) + 1
    for rows in np.split(order, bounds) if count else ():
        edges, active, crossed = _pass(rows, start_ns[rows], end_ns[rows], parent)
        threads[int(thread[rows[0]])] = (edges, active)
        crossing += crossed
    return Nesting(order, parent, crossing, threads)


def _pass(
    rows: NDArray[np.int64],
    start_ns: NDArray[np.int64],
    end_ns: NDArray[np.int64],
    parent: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """(edges, the innermost span from each edge on, spans crossed) of one thread's sorted spans.

    Every start is an edge, and every end of the innermost span. Of edges at one moment the last
    counts: ends come before starts, long spans before short ones.
    """
    count = len(rows)
    long = end_ns > start_ns
    ends = np.flatnonzero(long)
    times = np.concatenate((start_ns, end_ns[ends]))
    starts = np.arange(len(times)) < count
    place = np.concatenate((np.arange(count), ends))
    inner_last = np.concatenate((np.arange(count), -ends))  # and the first to end
    order = np.lexsort((inner_last, starts, times))
    holds = long.tolist()
    ended = [False] * count
    of = [-1] * count
    stack: list[int] = []
    active: list[int] = []
    hidden = []  # ends of spans in which a later one still runs
    for begins, span in zip(starts[order].tolist(), place[order].tolist(), strict=True):
        if begins:
            of[span] = stack[-1] if stack else -1
            if holds[span]:
                stack.append(span)
        else:
            ended[span] = True
            if stack[-1] != span:
                hidden.append(len(active))
            while stack and ended[stack[-1]]:
                stack.pop()
        active.append(stack[-1] if stack else -1)
    outer = np.array(of, np.int64)
    parent[rows] = np.where(outer >= 0, rows[outer], -1)
    inner = np.delete(np.array(active, np.int64), hidden)
    edges = np.delete(times[order], hidden)
    return edges, np.where(inner >= 0, rows[inner], -1), len(hidden)


def innermost_pieces(
    thread: NDArray[np.int64], start_ns: NDArray[np.int64], end_ns: NDArray[np.int64]
) -> Pieces:
    """Cut spans so that at each moment of a thread only the one that began last has the time.

    Every moment that any span of a thread covers is in exactly one piece of that thread. A span
    that is covered by those inside it has one piece without length.
    """
    nesting = nest(thread, start_ns, end_ns)
    starts, ends, rows = [], [], []
    for edges, active in nesting._threads.values():
        until = np.append(edges[1:], edges[-1])
        kept = (until > edges) & (active >= 0)
        starts.append(edges[kept])
        ends.append(until[kept])
        rows.append(active[kept])
    has_time = np.zeros(len(start_ns), bool)
    for row in rows:
        has_time[row] = True
    covered = np.flatnonzero(~has_time)
    start = np.concatenate([*starts, start_ns[covered]])
    end = np.concatenate([*ends, start_ns[covered]])
    row = np.concatenate([*rows, covered])
    place = np.empty(len(start_ns), np.int64)
    place[nesting.order] = np.arange(len(place))
    order = np.lexsort((start, place[row]))
    row = row[order]
    inside = np.flatnonzero(nesting.parent >= 0)
    outlasts = end_ns[inside] > end_ns[nesting.parent[inside]]
    return Pieces(
        start_ns=start[order],
        end_ns=end[order],
        row=row,
        begins=np.diff(row, prepend=-1) != 0,
        crossing=int(np.count_nonzero(outlasts)),
    )
