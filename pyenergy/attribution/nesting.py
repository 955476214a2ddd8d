# SPDX-License-Identifier: Apache-2.0
"""Which span a moment lies in, when spans of a thread lie in one another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Nesting", "nest"]


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


def nest(
    thread: NDArray[np.int64], start_ns: NDArray[np.int64], end_ns: NDArray[np.int64]
) -> Nesting:
    """Sort spans into one another; those without a length hold nothing."""
    count = len(start_ns)
    index = np.arange(count, dtype=np.int64)
    order = np.lexsort((index, -end_ns, start_ns, thread)).astype(np.int64)
    parent = np.full(count, -1, np.int64)
    long = order[end_ns[order] > start_ns[order]]
    threads = {}
    crossing = 0
    bounds = np.flatnonzero(np.diff(thread[long], prepend=thread[long[:1]] - 1))
    for rows in np.split(long, bounds[1:]) if len(long) else ():
        edges, active, crossed = _pass(rows, start_ns[rows], end_ns[rows], parent)
        threads[int(thread[rows[0]])] = (edges, active)
        crossing += crossed
    nesting = Nesting(order, parent, crossing, threads)
    empty = order[end_ns[order] <= start_ns[order]]
    parent[empty] = nesting.innermost(thread[empty], start_ns[empty])
    return nesting


def _pass(
    rows: NDArray[np.int64],
    start_ns: NDArray[np.int64],
    end_ns: NDArray[np.int64],
    parent: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """(edges, the innermost span from each edge on, spans crossed) of one thread's sorted spans.

    Of edges at one moment the last counts: ends come before starts, long spans before short ones.
    """
    count = len(rows)
    times = np.concatenate((start_ns, end_ns))
    starts = np.concatenate((np.ones(count, np.int8), np.zeros(count, np.int8)))
    place = np.tile(np.arange(count), 2)
    inner_last = np.concatenate((np.arange(count), -np.arange(count)))  # and the first to end
    order = np.lexsort((inner_last, starts, times))
    ended = [False] * count
    of = [-1] * count
    stack: list[int] = []
    active = []
    crossing = 0
    for begins, span in zip(starts[order].tolist(), place[order].tolist(), strict=True):
        if begins:
            of[span] = stack[-1] if stack else -1
            stack.append(span)
        else:
            ended[span] = True
            crossing += stack[-1] != span
            while stack and ended[stack[-1]]:
                stack.pop()
        active.append(stack[-1] if stack else -1)
    outer = np.array(of, np.int64)
    parent[rows] = np.where(outer >= 0, rows[outer], -1)
    inner = np.array(active, np.int64)
    return times[order], np.where(inner >= 0, rows[inner], -1), crossing
