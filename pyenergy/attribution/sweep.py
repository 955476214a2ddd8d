# SPDX-License-Identifier: Apache-2.0
"""Shares a window's energy among the operations that ran in it, and the gaps between them.

Between two neighbouring edges (starts and ends of operations) nothing changes. Such a segment has
the energy ``E_s`` of the curve, the static part ``static_w * dt`` and the dynamic rest, which is
signed: where it is negative it stays so, and is counted. The dynamic part is shared by weight among
the operations that run. From the power of a board nobody can tell which of them took it: shares of
overlapped time are a convention, and `Attribution.lower_j` and `Attribution.upper_j` bound them.
Where nothing runs, the segment is a gap, never spread over its neighbours.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from .. import _core
from ..errors import NoReadingsError, OptionError, WindowError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Attribution", "StaticPolicy", "attribute"]

StaticPolicy = Literal["separate", "busy", "all"]


@dataclass(frozen=True, eq=False)
class Attribution:
    """Where the energy of one device's window went.

    ``operations_j + gaps_j + static_j`` is ``total_j``, whatever the policy; `residual_j` is what
    rounding leaves of the difference. Arrays are read-only. The first group has one row per
    operation, in the caller's order, and holds what lies inside the window only.

    Attributes
    ----------
    energy_j : ndarray of float64
        J: the sum over the operation's segments of its share ``w / sum(w)`` of the dynamic part
        (equal shares where all weights are 0), and its static part by policy.
    lower_j, upper_j : ndarray of float64
        J: `energy_j` had it taken nothing, or all, of the dynamic part of each overlapped segment
        (the other way round where that is negative). Equal to `energy_j` where nothing overlapped.
    alone_s, overlapped_s : ndarray of float64
        Seconds in which it ran alone, and with others.
    shared : ndarray of bool
        Whether others ran during any of it: then `energy_j` is a convention.
    gap_starts_ns, gap_ends_ns : ndarray of int64
        Stretches of the window in which nothing ran, in order of time.
    gap_energy_j : ndarray of float64
        J of each gap; dynamic only when the static part is kept separate.
    bounds_ns : tuple of int
        The window.
    static_w : float
        W of the static part.
    static : str
        What became of it: see `attribute`.
    total_j : float
        J of the window, from the curve.
    operations_j, gaps_j : float
        J: sums of `energy_j` and of `gap_energy_j`.
    static_j : float
        J: ``static_w`` times the window when kept separate, else 0, being in the other two.
    busy_s, overlap_s : float
        Seconds in which at least one, and at least two, operations ran.
    segments, negative_segments : int
        Stretches between neighbouring edges, and those with less energy than ``static_w`` alone
        explains: many of them say that it is too high, or the curve too coarse.
    negative_j : float
        J: sum of the dynamic parts that are negative.
    deepest : int
        Most operations at once.
    empty : int
        Operations without length, which have 0 J.
    outside, cut : int
        Operations that lie wholly outside the window (0 J here), and that reach outside it.
    outside_s : float
        Seconds of operations outside the window, whose energy is not in these tables.
    """

    energy_j: NDArray[np.float64]
    lower_j: NDArray[np.float64]
    upper_j: NDArray[np.float64]
    alone_s: NDArray[np.float64]
    overlapped_s: NDArray[np.float64]
    shared: NDArray[np.bool_]
    gap_starts_ns: NDArray[np.int64]
    gap_ends_ns: NDArray[np.int64]
    gap_energy_j: NDArray[np.float64]
    bounds_ns: tuple[int, int]
    static_w: float
    static: StaticPolicy
    total_j: float
    operations_j: float
    gaps_j: float
    static_j: float
    busy_s: float
    overlap_s: float
    segments: int
    negative_segments: int
    negative_j: float
    deepest: int
    empty: int
    outside: int
    cut: int
    outside_s: float

    @property
    def residual_j(self) -> float:
        """J that the parts miss of `total_j`: rounding only."""
        return self.total_j - (self.operations_j + self.gaps_j + self.static_j)


def attribute(
    curve: _core.EnergyCurve,
    starts_ns: NDArray[np.int64],
    ends_ns: NDArray[np.int64],
    *,
    weights: ArrayLike | None = None,
    static_w: float = 0.0,
    static: StaticPolicy = "separate",
    bounds_ns: tuple[int, int] | None = None,
) -> Attribution:
    """Share the energy of a window among operations of one device, and gaps.

    Parameters
    ----------
    curve : EnergyCurve
        The device's power, W.
    starts_ns, ends_ns : ndarray of int64
        Operations of all streams of the device on the curve's clock, in any order; they may nest
        and overlap. What reaches outside the window is cut, and counted.
    weights : array of numbers, optional
        Shares of operations that overlap, finite and not negative; by default all are alike.
    static_w : float
        W that the device takes with nothing to do (context alive, clocks up).
    static : {"separate", "busy", "all"}
        What becomes of ``static_w * dt``. ``separate``: a total of its own. ``busy``: shared as the
        dynamic part is, among what runs; that of gaps stays in the gaps. ``all``: shared over time,
        every second of an operation and every second of a gap getting the same
        ``static_w * window / (sum of operations' seconds + gaps' seconds)``, whatever the weights.
    bounds_ns : tuple of int, optional
        The window, ns, inside the curve; by default all of it.

    Raises
    ------
    TypeError
        When times are not int64 arrays, weights no numbers or ``curve`` is no curve.
    OptionError
        When an operation ends before it starts, a weight or ``static_w`` is negative or not finite
        (the first such index is named), lengths differ or ``static`` is unknown.
    WindowError
        When ``bounds_ns`` is reversed or reaches outside the curve.
    NoReadingsError
        When the curve has no points.
    """
    if not isinstance(curve, _core.EnergyCurve):
        raise TypeError(f"curve must be an EnergyCurve of power, got {type(curve).__name__}")
    starts, ends = _times("starts_ns", starts_ns), _times("ends_ns", ends_ns)
    if static not in get_args(StaticPolicy):
        raise OptionError(f"static must be one of {get_args(StaticPolicy)}, got {static!r}")
    bounds = _bounds(curve, bounds_ns)
    shares = None if weights is None else _weights(weights)
    try:
        found = _core.sweep(curve, starts, ends, shares, *bounds, float(static_w), static)
    except ValueError as error:
        raise OptionError(str(error)) from None
    return _as_attribution(found, bounds, float(static_w), static)


def _as_attribution(
    found: _core.SweepResult, bounds: tuple[int, int], static_w: float, static: StaticPolicy
) -> Attribution:
    shared = found.overlapped_s > 0.0
    shared.flags.writeable = False
    return Attribution(
        energy_j=found.energy_j,
        lower_j=found.lower_j,
        upper_j=found.upper_j,
        alone_s=found.alone_s,
        overlapped_s=found.overlapped_s,
        shared=shared,
        gap_starts_ns=found.gap_starts_ns,
        gap_ends_ns=found.gap_ends_ns,
        gap_energy_j=found.gap_energy_j,
        bounds_ns=bounds,
        static_w=static_w,
        static=static,
        total_j=found.total_j,
        operations_j=found.operations_j,
        gaps_j=found.gaps_j,
        static_j=found.static_j,
        busy_s=found.busy_s,
        overlap_s=found.overlap_s,
        segments=found.segments,
        negative_segments=found.negative_segments,
        negative_j=found.negative_j,
        deepest=found.deepest,
        empty=found.empty,
        outside=found.outside,
        cut=found.cut,
        outside_s=found.outside_s,
    )


def _times(name: str, values: Any) -> NDArray[np.int64]:
    if not isinstance(values, np.ndarray) or values.dtype != np.int64:
        kind = values.dtype if isinstance(values, np.ndarray) else type(values).__name__
        raise TypeError(
            f"{name} must be an int64 array of nanoseconds, got {kind}: make it with "
            "np.array(times, dtype=np.int64) from whole nanoseconds (floats have lost digits)"
        )
    if values.ndim != 1:
        raise OptionError(f"{name} must be one-dimensional, got {values.ndim} dimensions")
    return values


def _weights(values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values)
    if array.size == 0 and not isinstance(values, np.ndarray):
        array = array.astype(np.float64)  # an empty list has no dtype of its own
    if array.dtype.kind not in "fiu":
        raise TypeError(f"weights must be numbers, got dtype {array.dtype}")
    if array.ndim != 1:
        raise OptionError(f"weights must be one-dimensional, got {array.ndim} dimensions")
    return array.astype(np.float64, copy=False)


def _bounds(curve: _core.EnergyCurve, bounds_ns: tuple[int, int] | None) -> tuple[int, int]:
    if len(curve) == 0:
        raise NoReadingsError("the curve has no points, so there is no energy to attribute")
    if bounds_ns is None:
        return curve.start_ns, curve.end_ns
    start, end = (operator.index(t) for t in bounds_ns)
    if end < start:
        raise WindowError(f"the window [{start}, {end}] ends before it starts")
    if start < curve.start_ns or end > curve.end_ns:
        raise WindowError(
            f"the window [{start}, {end}] reaches outside the curve, which spans "
            f"[{curve.start_ns}, {curve.end_ns}]; choose bounds_ns inside it"
        )
    return start, end
