# SPDX-License-Identifier: Apache-2.0
"""Nested spans cut into pieces in which one of them is the innermost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Pieces", "innermost"]


@dataclass(frozen=True, eq=False)
class Pieces:
    """Stretches of time in which one span of a thread is the innermost.

    Attributes
    ----------
    start_ns, end_ns : ndarray of int64
    row : ndarray of int64
        Which span it is.
    begins : ndarray of bool
        Whether it is the first of its span.
    crossing : int
        Spans that end after one which they began in: the later one has the time.
    """

    start_ns: NDArray[np.int64]
    end_ns: NDArray[np.int64]
    row: NDArray[np.int64]
    begins: NDArray[np.bool_]
    crossing: int


def innermost(
    start_ns: NDArray[np.int64], end_ns: NDArray[np.int64], thread: NDArray[np.int64]
) -> Pieces:
    """Cut spans so that at each moment of a thread only the one that began last has the time.

    Every moment that any span of a thread covers is in exactly one piece of that thread. A span
    that is covered by those inside it has one piece without length.
    """
    order = np.lexsort((-end_ns, start_ns, thread))
    starts, ends = start_ns[order].tolist(), end_ns[order].tolist()
    threads = thread[order].tolist()
    pieces: list[tuple[int, int, int]] = []
    stack: list[list[int]] = []  # [row, since when it is the innermost]
    crossing = 0

    def close(until: int) -> None:
        """Let every span end that ends by then."""
        while stack and ends[stack[-1][0]] <= until:
            row, since = stack.pop()
            end = ends[row]
            if end > since:
                pieces.append((since, end, row))
            if stack:
                stack[-1][1] = max(stack[-1][1], since, end)

    for row, start in enumerate(starts):
        if row and threads[row] != threads[row - 1]:
            close(max(ends[below[0]] for below in stack) if stack else start)
            stack.clear()
        close(start)
        if stack:
            outer, since = stack[-1]
            crossing += ends[row] > ends[outer]
            if start > since:
                pieces.append((since, start, outer))
        stack.append([row, start])
    close(max((ends[below[0]] for below in stack), default=0))
    covered = np.ones(len(starts), bool)
    covered[[row for _, _, row in pieces]] = False
    pieces += [(starts[row], starts[row], row) for row in np.flatnonzero(covered).tolist()]
    table = np.array(pieces, dtype=np.int64).reshape(-1, 3)
    table = table[np.lexsort((table[:, 0], table[:, 2]))]
    begins = np.diff(table[:, 2], prepend=-1) != 0
    return Pieces(table[:, 0].copy(), table[:, 1].copy(), order[table[:, 2]], begins, crossing)
