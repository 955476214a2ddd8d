# SPDX-License-Identifier: Apache-2.0
"""Time in which nothing was read, and the curves that both power models build from intervals."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .. import _core

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "extended",
    "missed",
    "power_bounds",
    "step_curve",
]

UNKNOWN_LIMIT_W = 1000.0  # above every board limit of the catalogue's study


def power_bounds(low: float, high: float, value: NDArray[np.float64]) -> tuple[float, float]:
    """The device's power bounds, widened to what was read; generous where unknown."""
    low = low if math.isfinite(low) else 0.0
    high = high if math.isfinite(high) else UNKNOWN_LIMIT_W
    return min(low, float(value.min())), max(high, float(value.max()))


def extended(
    knots: tuple[NDArray[np.int64], NDArray[np.float64]],
    start_ns: int,
    end_ns: int,
    outside: float | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Knots made to cover [start_ns, end_ns]: held flat, or ``outside`` beyond them."""
    t, y = knots
    head_t, head_y, tail_t, tail_y = [], [], [], []
    if len(t) == 0 or start_ns < t[0]:
        edge = outside if outside is not None else float(y[0])
        head_t, head_y = [start_ns], [edge]
        if len(t) and outside is not None:
            head_t, head_y = [start_ns, int(t[0])], [edge, edge]
    if len(t) == 0 or end_ns > t[-1]:
        edge = outside if outside is not None else float(y[-1])
        tail_t, tail_y = [end_ns], [edge]
        if len(t) and outside is not None:
            tail_t, tail_y = [int(t[-1]), end_ns], [edge, edge]
    return (
        np.concatenate([np.array(head_t, np.int64), t, np.array(tail_t, np.int64)]),
        np.concatenate([np.array(head_y, float), y, np.array(tail_y, float)]),
    )


def step_curve(
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    density: float | NDArray[np.float64],
    start_ns: int,
    end_ns: int,
) -> _core.EnergyCurve:
    """``density`` (one, or one for each) inside the intervals, zero elsewhere."""
    t = np.repeat(np.stack([starts, ends], axis=1).ravel(), 2)
    y = np.outer(np.broadcast_to(density, len(starts)), [0.0, 1.0, 1.0, 0.0]).ravel()
    return _core.EnergyCurve(*extended((t, y), start_ns, end_ns, 0.0))


def missed(
    t_ns: NDArray[np.int64], elapsed: NDArray[np.float64], period_ns: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Starts and ends of the times whose updates were not seen.

    ``elapsed``: updates since the reading before, 1 where none was missed.
    """
    after = np.flatnonzero(elapsed[1:] > 1.5) + 1
    return t_ns[after - 1], t_ns[after] - period_ns
