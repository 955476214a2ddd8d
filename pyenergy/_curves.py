# SPDX-License-Identifier: Apache-2.0
"""Sums of piecewise-linear curves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import _core

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["constant", "weighted_sum"]


def constant(value: float, start_ns: int, end_ns: int) -> _core.EnergyCurve:
    """The same value everywhere."""
    return _core.EnergyCurve(np.array([start_ns, end_ns], np.int64), np.array([value, value]))


def weighted_sum(
    terms: Sequence[tuple[_core.EnergyCurve, float]], start_ns: int, end_ns: int
) -> _core.EnergyCurve:
    """``sum of factor * curve`` over [start_ns, end_ns], which every curve covers.

    Each knot of a curve is one of the sum; where a curve jumps, so does the sum.
    """
    knots = [curve.knots() for curve, _ in terms]
    times = np.unique(np.concatenate([[start_ns, end_ns], *(t for t, _ in knots)]).astype(np.int64))
    times = times[(times >= start_ns) & (times <= end_ns)]
    left, right = np.zeros(len(times)), np.zeros(len(times))
    for (t, y), (_, factor) in zip(knots, terms, strict=True):
        before, after = _both_sides(t, y, times)
        left += factor * before
        right += factor * after
    jumps = left != right
    jumps[[0, -1]] = False
    left[0] = right[0]  # what was before the start does not matter
    at = np.repeat(np.arange(len(times)), np.where(jumps, 2, 1))
    second = np.concatenate([[False], at[1:] == at[:-1]])
    return _core.EnergyCurve(times[at], np.where(second, right[at], left[at]))


def _both_sides(
    t: NDArray[np.int64], y: NDArray[np.float64], times: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Limits from before and from after, at each time."""
    last = len(t) - 1
    upper = np.searchsorted(t, times, side="left").clip(0, last)  # the first knot not before
    lower = (np.searchsorted(t, times, side="right") - 1).clip(0, last)  # the last not after
    on_knot = t[upper] == times
    length = np.maximum(t[upper] - t[lower], 1)
    share = np.where(on_knot, 0.0, (times - t[lower]) / length)
    between = y[lower] + (y[upper] - y[lower]) * share
    return np.where(on_knot, y[upper], between), np.where(on_knot, y[lower], between)
