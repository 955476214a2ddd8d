# SPDX-License-Identifier: Apache-2.0
"""What readings saw of each class, tabulated over the age of what they averaged.

A search for the response at the scale of kernels tries ten thousand windows and delays; from a
table each costs a subtraction instead of a walk along the timeline.
"""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING

import numpy as np

from ..units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from .. import _core

    Singles = NDArray[np.float32]

__all__ = ["LONG", "Table"]

_ROWS_AT_ONCE = 200_000
LONG = 8.0  # time constants after which nothing of an RC is left


class Table:
    """Seconds of each class between the ages ``knots_s`` of what each reading saw.

    Parameters
    ----------
    activity : Activity
    t_ns : ndarray of int64, shape (n,)
        When the readings were published.
    knots_s : ndarray of float64, shape (m + 1,)
        Ages, s, increasing.
    """

    def __init__(
        self, activity: _core.Activity, t_ns: NDArray[np.int64], knots_s: NDArray[np.float64]
    ) -> None:
        self.knots_s = knots_s
        self._ages: list[float] = knots_s.tolist()  # a list is searched faster
        n, m, p = len(t_ns), len(knots_s) - 1, activity.classes
        age = np.round(knots_s * NS_PER_S).astype(np.int64)
        self._cells = np.zeros((m, n, p), np.float32)
        at_once = max(1, _ROWS_AT_ONCE // m)
        for i in range(0, n, at_once):
            t = t_ns[i : i + at_once, None]
            starts, ends = (t - age[None, :0:-1]).ravel(), (t - age[None, -2::-1]).ravel()
            begin, index, value = activity.overlap(starts, ends, 1)
            row = np.repeat(np.arange(len(starts)), np.diff(begin))
            self._cells[m - 1 - row % m, i + row // m, index] = value
        self._sum: Singles | None = None

    def boxcar(self, delay_s: float, window_s: float) -> Singles:
        """Mean activity, shape (n, p), between two ages inside of the knots."""
        if self._sum is None:  # an RC never needs it
            self._sum = np.concatenate([np.zeros_like(self._cells[:1]), self._cells])
            np.cumsum(self._sum, axis=0, out=self._sum)
        far, near = self._until(delay_s + window_s), self._until(delay_s)
        return np.asarray((far - near) * np.float32(1 / window_s))

    def _until(self, age_s: float) -> Singles:
        assert self._sum is not None
        knots = self._ages
        i = min(max(bisect.bisect_right(knots, age_s) - 1, 0), len(knots) - 2)
        share = min(max((age_s - knots[i]) / (knots[i + 1] - knots[i]), 0.0), 1.0)
        if share < 1e-3:
            return np.asarray(self._sum[i])
        return np.asarray(self._sum[i] + np.float32(share) * self._cells[i])

    def lowpass(self, delay_s: float, tau_s: float) -> Singles:
        """Activity behind an RC, shape (n, p)."""
        knots = self.knots_s
        edges = np.clip(knots, delay_s, delay_s + LONG * tau_s)
        left = np.exp(-(edges - delay_s) / tau_s)
        share = -np.diff(left)
        inside = np.flatnonzero(share > 0)
        first, last = inside[0], inside[-1] + 1
        share = share[first:last] / share.sum() / np.diff(knots)[first:last]
        cells = self._cells[first:last]
        n, p = cells.shape[1:]
        return np.asarray(
            (share.astype(np.float32) @ cells.reshape(len(share), n * p)).reshape(n, p)
        )

    def lowpasses(self, tau_s: float, first: int, every: int) -> Iterator[tuple[float, Singles]]:
        """(delay, activity behind an RC) at every so many knots up to knot ``first``."""
        state = self._cells[-1] / np.float32(self.knots_s[-1] - self.knots_s[-2])
        for i in range(len(self.knots_s) - 3, -1, -1):
            length = float(self.knots_s[i + 1] - self.knots_s[i])
            keep = np.float32(np.exp(-length / tau_s))
            state = state * keep + self._cells[i] * ((1 - keep) / np.float32(length))
            if i <= first and i % every == 0:
                yield float(self.knots_s[i]), state
