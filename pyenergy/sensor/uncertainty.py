# SPDX-License-Identifier: Apache-2.0
"""Energy of windows from a power channel alone, with what is unknown about each.

Serves where no spans are labelled (`estimate` does where they are). The energy is the integral of
the readings: flat while a reading was unchanged, linear between two (`EnergyCurve.from_runs`). Its
standard uncertainty adds in quadrature (GUM 5.1.2); transitions, unseen and failures are the term
``inside``

=============  ======================================================================
edges          readings that are late by L give the energy of a window L earlier: too much of
               the power before its start, too little of the power before its end. L is
               uniform on [0, lag], its root mean square lag / sqrt(3); it multiplies the
               net change of the readings over the window and, for each edge, the range of
               the readings within one lag after it. Together never more than what the
               device's power bounds allow over the window
structure      part of ``edges``: what the reading at an edge averages away, ``sigma * tau /
               sqrt(12)``, sigma the largest that a mean allows between the device's bounds
transitions    the power moved from one reading to the next somewhere between two polls:
               rectangular, ``step * bracket / sqrt(12)`` each
unseen         a part-time sensor looks at a share c of each update period T (or time between
               polls, where that is longer): ``(1 - c) * T * s`` per period, s the spread
               between neighbouring readings, pooled over two seconds with one pseudo-reading
               from the device's power bounds (a few equal readings prove little)
failures       a read that fails among good ones: any power in the device's bounds until the
               next good one, ``(max - min) / sqrt(3) * time``, each for itself
gaps           power anywhere in the device's bounds while nothing was read:
               ``(max - min) / sqrt(3) * gap``, fully correlated inside a window
=============  ======================================================================
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .. import _core
from ..errors import NoReadingsError
from ..units import NS_PER_S
from .gaps import extended, gap_before, gaps_of, power_bounds, step_curve
from .terms import WindowTerms
from .unseen import hidden_swing, pooled_variance

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..recording.series import Runs
    from .catalog import SensorPrior

__all__ = ["PowerModel"]


class PowerModel:
    """Energy and uncertainty of any window inside [start_ns, end_ns] of one power channel.

    Parameters
    ----------
    runs : Runs
        Readings of a power channel, W.
    prior : SensorPrior
        What is known of the sensor.
    power_min_w, power_max_w : float
        Bounds of the device's power, NaN where unknown.
    start_ns, end_ns : int
        The span to cover; where it reaches beyond the readings, the nearest reading is held and
        the time counts as a gap.
    gap_ns : int
        Failed reads that last longer are a gap; shorter ones are like any time between polls.

    Raises
    ------
    NoReadingsError
        When no run is usable.
    """

    def __init__(
        self,
        runs: Runs,
        prior: SensorPrior,
        power_min_w: float,
        power_max_w: float,
        start_ns: int,
        end_ns: int,
        gap_ns: int = 0,
    ) -> None:
        usable = runs.usable
        if not bool(usable.any()):
            raise NoReadingsError("no usable power reading in the recording")
        self.prior = prior
        self.start_ns, self.end_ns = start_ns, end_ns
        value = np.asarray(runs.value[usable])
        first = _middle(runs.t_first_ns, runs.read_first_ns)[usable]
        last = np.maximum(_middle(runs.t_last_ns, runs.read_last_ns)[usable], first)
        self.low_w, self.high_w = power_bounds(power_min_w, power_max_w, value)
        # Polls rarer than the updates see one of several: what they look at is rarer still.
        polled_ns = int(np.median(first[1:] - last[:-1])) if len(first) > 1 else 0
        self._period_ns = max(prior.update_ns if prior.update_ns > 0 else NS_PER_S // 10, polled_ns)
        known_ns = prior.update_ns if prior.update_ns > 0 else self._period_ns
        self._coverage = prior.coverage * min(1.0, known_ns / self._period_ns)
        self.curve = _core.EnergyCurve(*extended(_knots(first, last, value), start_ns, end_ns))
        gap, failure = gap_before(runs, usable, gap_ns)
        known = np.asarray(runs.read_first_ns[usable])
        self.gap_starts_ns, self.gap_ends_ns = gaps_of(
            known, np.maximum(last, known), gap, start_ns, end_ns
        )
        self._gap_curve = self._build_gap_curve()
        self._inside_curve = self._build_inside_curve(first, last, value, gap, failure)
        self.unseen_curve = self._build_unseen_curve(first, last, value)
        self._edge_curve = self._build_edge_curve(first, last, value)

    def windows(
        self, starts_ns: NDArray[np.int64], ends_ns: NDArray[np.int64], threads: int = 0
    ) -> WindowTerms:
        """Energies of windows [starts_ns, ends_ns] (checked by the caller) and their terms."""
        joules = self.curve.windows(starts_ns, ends_ns, threads)
        inside = self._inside_curve.windows(starts_ns, ends_ns, threads)
        if self.unseen_curve is not None:
            inside += self.unseen_curve.windows(starts_ns, ends_ns, threads)
        duration_s = (ends_ns - starts_ns) / NS_PER_S
        edge_variance = self._edge_curve.values(starts_ns) + self._edge_curve.values(ends_ns)
        # Readings that are late by lag shift the window: they swap the power before its start for
        # the power before its end.
        net_w = self.curve.values(ends_ns) - self.curve.values(starts_ns)
        edge_variance += (self.prior.lag_ns / NS_PER_S * net_w) ** 2 / 3
        bound = (self.high_w - self.low_w) / math.sqrt(3) * duration_s
        return WindowTerms(
            joules,
            {
                "edges": np.minimum(np.sqrt(edge_variance), bound),
                "inside": np.sqrt(inside),
                "gaps": self._gap_curve.windows(starts_ns, ends_ns, threads),
            },
        )

    def energy_curves(self) -> list[_core.EnergyCurve]:
        """Whose integrals add up to the energy of any window."""
        return [self.curve]

    def gap_s(self, start_ns: int, end_ns: int) -> float:
        """Seconds of [start_ns, end_ns] in which nothing was read."""
        overlap = np.minimum(self.gap_ends_ns, end_ns) - np.maximum(self.gap_starts_ns, start_ns)
        return float(np.maximum(overlap, 0).sum()) / NS_PER_S

    def _build_gap_curve(self) -> _core.EnergyCurve:
        """Its integral is the half-width of the energy in gaps."""
        density = (self.high_w - self.low_w) / math.sqrt(3)
        return step_curve(self.gap_starts_ns, self.gap_ends_ns, density, self.start_ns, self.end_ns)

    def _build_inside_curve(
        self,
        first: NDArray[np.int64],
        last: NDArray[np.int64],
        value: NDArray[np.float64],
        gap: NDArray[np.bool_],
        failure: NDArray[np.bool_],
    ) -> _core.EnergyCurve:
        """Its integral is the variance (J^2) of what lies between polls and between windows."""
        step = np.diff(value)
        bracket_s = (first[1:] - last[:-1]) / NS_PER_S
        # Spread over its bracket, the variance (step * bracket)^2 / 12 has this density.
        density = np.where(gap[1:], 0.0, step**2 * bracket_s / 12)
        density += np.where(failure[1:], (self.high_w - self.low_w) ** 2 / 3 * bracket_s, 0.0)
        t = np.repeat(np.stack([last[:-1], first[1:]], axis=1).ravel(), 2)
        y = np.stack([np.zeros_like(density), density, density, np.zeros_like(density)], axis=1)
        return _core.EnergyCurve(*extended((t, y.ravel()), self.start_ns, self.end_ns, 0.0))

    def _build_unseen_curve(
        self, first: NDArray[np.int64], last: NDArray[np.int64], value: NDArray[np.float64]
    ) -> _core.EnergyCurve | None:
        """Its integral is the variance (J^2) of the time that the sensor does not look at."""
        if self._coverage >= 1.0:
            return None
        period_s = self._period_ns / NS_PER_S
        grid, variance = self._pooled_variance(first, last, value)
        unseen_s = (1.0 - self._coverage) * period_s
        return _core.EnergyCurve(grid, unseen_s**2 / period_s * variance)

    def _pooled_variance(
        self, first: NDArray[np.int64], last: NDArray[np.int64], value: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        bounds = self.start_ns, self.end_ns
        return pooled_variance(
            first, last, value, self._period_ns, (self.low_w, self.high_w), bounds
        )

    def _build_edge_curve(
        self, first: NDArray[np.int64], last: NDArray[np.int64], value: NDArray[np.float64]
    ) -> _core.EnergyCurve:
        """Its value at t is the variance (J^2) of an edge there."""
        lag = self.prior.lag_ns
        if lag <= 0:
            ends = np.array([self.start_ns, max(self.end_ns, self.start_ns)], dtype=np.int64)
            return _core.EnergyCurve(ends, np.zeros(2))
        # Inside run i and more than one lag before its end only the run itself matters; later
        # the runs that begin within one lag of its end do.
        late = np.maximum(first, last - lag)
        upto = np.searchsorted(first, np.append(first[1:], last[-1]) + lag, side="right")
        spread = _range_of(value, upto)
        grid, pooled = self._pooled_variance(first, last, value)
        quiet = np.interp(late.astype(np.float64), grid.astype(np.float64), pooled)
        if self._coverage >= 1.0:
            quiet = np.zeros_like(quiet)
        scale = (lag / NS_PER_S) ** 2 / 3
        calm = quiet * scale + self._structure(value)
        moved = calm + spread**2 * scale
        t = np.stack([first, late, late, np.append(first[1:], last[-1])], axis=1).ravel()
        y = np.stack([calm, calm, moved, moved], axis=1).ravel()
        # What happened less than one lag before the last reading is not published: unknown.
        unknown = (self.high_w - self.low_w) ** 2 * scale
        knots = _tail_set(np.maximum.accumulate(t), y, int(last[-1]) - lag, unknown)
        return _core.EnergyCurve(*extended(knots, self.start_ns, self.end_ns))

    def _structure(self, value: NDArray[np.float64]) -> NDArray[np.float64]:
        """Variance (J^2) of an edge for what a reading of ``value`` averages away."""
        tau_ns = max(self.prior.update_ns, self.prior.window_ns)
        tau_s = (tau_ns if self.prior.known else self.prior.lag_ns) / NS_PER_S
        return hidden_swing(value, (self.low_w, self.high_w), tau_s)


def _middle(before: NDArray[np.int64], after: NDArray[np.int64]) -> NDArray[np.int64]:
    return before + (after - before) // 2


def _knots(
    first: NDArray[np.int64], last: NDArray[np.int64], value: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    t = np.maximum.accumulate(np.stack([first, last], axis=1).ravel())
    return t, np.repeat(value, 2)


def _tail_set(
    t: NDArray[np.int64], y: NDArray[np.float64], after_ns: int, value: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """A step curve with ``value`` from ``after_ns`` on."""
    cut = int(np.searchsorted(t, after_ns, side="right"))
    if cut == 0:
        return t, np.full_like(y, value)
    step_t = np.array([after_ns, after_ns], dtype=np.int64)
    step_y = np.array([y[cut - 1], value])
    tail = np.full(len(t) - cut, value)
    return np.concatenate([t[:cut], step_t, t[cut:]]), np.concatenate([y[:cut], step_y, tail])


def _range_of(value: NDArray[np.float64], upto: NDArray[np.int64]) -> NDArray[np.float64]:
    """max - min of value[i:upto[i]] for every i (upto is non-decreasing, > i)."""
    n = len(value)
    length = np.maximum(upto - np.arange(n), 1)
    high, low = value.copy(), value.copy()
    top, bottom = value.copy(), value.copy()
    step = 1
    # Doubling tables: after k rounds `top` covers 2^k runs; two overlapping ones cover any length.
    while True:
        fits = (length >= step) & (length < 2 * step)
        if fits.any():
            i = np.flatnonzero(fits)
            j = i + length[i] - step
            high[i] = np.maximum(top[i], top[j])
            low[i] = np.minimum(bottom[i], bottom[j])
        if not (length >= 2 * step).any():
            return np.asarray(high - low)
        shifted = np.minimum(np.arange(n) + step, n - 1)
        top, bottom = np.maximum(top, top[shifted]), np.minimum(bottom, bottom[shifted])
        step *= 2
