# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of `ClockMap`: stretches between clock steps, and lines between their anchors.

Times stay int64. Doubles hold only how much two clocks differ over the distance to an anchor,
which is rounded to whole ns before it is added. Anchors are rows of (mono, real, width), ns.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

__all__ = ["LARGEST_SLEW", "STEP_NS", "Gap", "Join", "split"]

STEP_NS = 50_000
LARGEST_SLEW = 500e-6  # of adjtimex(2) and NTP

Rows = NDArray[np.int64]


def split(rows: Rows) -> list[Rows]:
    """The stretches between clock steps, each with the anchors that tell something."""
    return [part for stretch in _at_steps(rows) for part in _at_steps(_thinned(stretch))]


def _at_steps(rows: Rows) -> list[Rows]:
    between = np.diff(rows[:, 0])
    change = np.diff(rows[:, 1]) - between
    known = (rows[1:, 2] + rows[:-1, 2]) / 2  # an anchor is off by half of its width at most
    stepped = np.abs(change) > STEP_NS + LARGEST_SLEW * between + known
    return np.split(rows, np.flatnonzero(stepped) + 1)


def _thinned(rows: Rows) -> Rows:
    """Without anchors wider than a step, and without the wider of two so close that their widths
    outweigh what lies between them: with the others both clocks always advance."""
    widest = max(STEP_NS, int(rows[:, 2].min()))
    rows = rows[rows[:, 2] <= widest]
    apart_ns = 4 * (STEP_NS + widest)
    if bool((np.diff(rows[:, 0]) >= apart_ns).all()):
        return rows
    kept = [0]
    for i in range(1, len(rows)):
        if rows[i, 0] - rows[kept[-1], 0] >= apart_ns:
            kept.append(i)
        elif rows[i, 2] < rows[kept[-1], 2]:
            kept[-1] = i
    return rows[kept]


class _Piece:
    """One stretch: x is the known clock, y the wanted one."""

    def __init__(self, x: Rows, y: Rows, width: Rows, slew: float) -> None:
        if len(x) == 1:  # a line needs two ends: the second is at no distance
            x, y, width = x.repeat(2), y.repeat(2), width.repeat(2)
        self.x, self.slew = x, slew
        self.inner = x[1:-1]  # a time before inner[i] belongs to line i
        self.offset = y - x
        self.length = np.maximum(np.diff(x), 1).astype(np.float64)
        self.change = (np.diff(y) - np.diff(x)).astype(np.float64)
        self.half = np.maximum(width[1:], width[:-1]) / 2

    def fill(self, t: Rows, y: Rows, bound: NDArray[np.float64]) -> None:
        """Map ``t`` into ``y``, with the largest error into ``bound``."""
        line = np.searchsorted(self.inner, t, side="right")
        share = (t - self.x[line]) / self.length[line]
        low, high = int(self.x[0]), int(self.x[-1])
        if int(t.min()) < low or int(t.max()) > high:
            np.clip(share, 0.0, 1.0, out=share)
        change = self.change[line]
        np.add(t, self.offset[line], out=y)
        y += np.rint(share * change).astype(np.int64)
        # At any moment between two anchors the offset may still be the one's or yet the other's.
        np.maximum(share, 1.0 - share, out=share)
        np.abs(change, out=change)
        np.multiply(change, share, out=bound)
        bound += self.half[line]
        if int(t.min()) < low or int(t.max()) > high:
            beyond = np.maximum(low - np.minimum(t, low), np.maximum(t, high) - high)
            bound += beyond * self.slew


@dataclass(frozen=True)
class Gap:
    """A clock step in the known clock: the times that it makes ambiguous, and its size."""

    low: int
    high: int
    size_ns: int


class Join:
    """Maps the clock in column ``known`` to the one in column ``wanted``."""

    def __init__(
        self, pieces: list[Rows], known: int, wanted: int, limit_ns: int, slew: float
    ) -> None:
        self._pieces = [_Piece(p[:, known], p[:, wanted], p[:, 2], slew) for p in pieces]
        self.gaps = [_gap(a, b, known) for a, b in pairwise(pieces)]
        ends = np.iinfo(np.int64)
        first, last = int(pieces[0][0, known]), int(pieces[-1][-1, known])
        lows = [max(first - limit_ns, ends.min), *(gap.low for gap in self.gaps)]
        highs = [*(gap.high for gap in self.gaps), min(last + limit_ns, ends.max)]
        self._reach = list(zip(lows, highs, strict=True))

    def covered(self, t: Rows) -> NDArray[np.bool_]:
        """Which of ``t`` can be mapped."""
        covered = np.zeros(len(t), np.bool_)
        for low, high in self._reach:
            covered |= (t >= low) & (t <= high)
        return covered

    def fill(
        self, t: Rows, y: Rows, bound: NDArray[np.float64], stepped: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Map ``t``; of what cannot be mapped, a mask."""
        for gap in self.gaps:
            stepped |= (t > gap.low) & (t < gap.high)
        left = np.ones(len(t), np.bool_)
        (low, high), *more = self._reach
        if not more and int(t.min()) >= low and int(t.max()) <= high:  # as good as always
            self._pieces[0].fill(t, y, bound)
            return ~left
        for piece, (low, high) in zip(self._pieces, self._reach, strict=True):
            mine = left & (t >= low) & (t <= high)
            if mine.all():
                piece.fill(t, y, bound)
            elif mine.any():
                part_y, part_bound = np.empty(mine.sum(), np.int64), np.empty(mine.sum())
                piece.fill(t[mine], part_y, part_bound)
                y[mine], bound[mine] = part_y, part_bound
            left &= ~mine
        for gap in self.gaps:
            bound[(t > gap.low) & (t < gap.high)] += abs(gap.size_ns)
        return left


def _gap(before: Rows, after: Rows, known: int) -> Gap:
    """Where the step happened between its anchors nobody knows: each end of what is ambiguous is
    the latest time the clock can have shown before it, or the earliest after it."""
    elapsed = int(after[0, 0] - before[-1, 0])
    start, end = int(before[-1, known]), int(after[0, known])
    size = int(after[0, 1] - before[-1, 1]) - elapsed
    return Gap(min(start, end - elapsed), max(end, start + elapsed), size)
