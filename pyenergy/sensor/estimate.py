# SPDX-License-Identifier: Apache-2.0
"""Energy of windows from readings *and* from when the work ran.

``P(t) = sum_j beta_j u_j(t) + m(t)``: u_j counts the running spans of class j, m is a level that
wanders (idle, heat, and what no class explains). Readings see P through the sensor's response; the
powers, the level and the response are solved together (`level`, `identify`), so that many readings
that overlap many spans in different proportions tell the energy of spans far shorter than the
sensor's period.

The standard uncertainty of a window's energy has the terms

========  ==================================================================================
fit       ``h' Cov(beta) h`` with ``h = D - integral of G``: D the seconds of each class in the
          window, G the part of each class that the level could have explained. The response's
          posterior moves beta and the level together: the spread of ``D beta + integral of m``
          over it is added (law of total variance). A class in step with the sensor, whose readings
          are one reading many times over, may draw anything that the device can
drift     the level's own posterior, and its steps between readings: a step of size s somewhere
          in a period T is ``s T / sqrt(12)``
inside    scatter of the readings beyond that of the quietest class: spans of one class differ.
          ``s^2`` times the time that the sensor does not look at in each period. And where no
          span is for two seconds and more, what a trace without any would have there
edges     the same scatter as structure inside a class, at edges that are not those of spans: a
          pattern of period p that leaves the scatter s behind a boxcar of W has an amplitude
          of ``s pi W / p``, and cutting it at random costs about ``1.28 W s``. And spans
          shorter than the window of a one-second average are told apart only while their
          pattern begins and ends: a third of their amplitude is allowed for (on an RTX 3090 the
          first kernels draw 0.63 of what the later ones do)
clock     each edge of a span in the window times what is known of it: `Spans.own_u_s`, or what
          the readings that hold an edge scatter by beyond the others: a scatter s behind a
          window W is an energy of ``W s`` that is elsewhere, or, of spans that no reading saw
          from end to end, that one call takes more than another (``W s / sqrt(12)`` where a
          full-time sensor's residuals are added back)
misfit    readings left out of the fit (time blocks) miss the model by ``ratio`` times what it
          predicts: above 1.5, the fit's covariance is multiplied by its square
gaps      as in `uncertainty`: any power in the device's bounds, which bound fit and misfit, too
========  ==================================================================================
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .. import _core
from ..units import NS_PER_S
from .activity_fit import ActivityFit
from .activity_notes import activity_notes
from .gaps import extended, missed, step_curve
from .residuals import AddedBack, active_power, steps
from .response import overlaps
from .spans import Spans, distance, in_step
from .terms import MISFIT, WindowTerms
from .unlabelled import Unlabelled
from .unseen import held_at_median, unmarked

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

    from ..recording.series import Runs
    from .catalog import SensorPrior
    from .response import Response

__all__ = ["ActivityModel"]

_STRUCTURE = 1.28  # pi / sqrt(6): see `edges` above
_UNRESOLVED = 1 / 3  # of the swing of spans that a slow sensor never saw apart
_NEAR_NS = 2_000  # a window that ends at a span's edge may be stamped by another call
# Latencies are one-sided and long-tailed: of an exponential one the root mean square from the stamp
# is twice the deviation that a median of squares suggests.
_LATENCY = 2.0
# Readings in step with a class show one part of it: a window has half of the power more, or less,
# wherever the level makes up for what the power is off.
_STUCK = 0.5
_SOFT_S = 0.005  # a delay that much beyond what the catalogue allows is no delay of the sensor
_CHUNK = 100_000  # windows solved at once


class ActivityModel:
    """Energy and uncertainty of any window of one power channel, given labelled spans.

    Parameters
    ----------
    runs : Runs
        Readings of a power channel, W.
    spans : Spans
        When what ran; not empty.
    prior : SensorPrior
        What is known of the sensor.
    limits_w : (float, float)
        Bounds of the device's power, W; NaN where unknown.
    bounds_ns : (int, int)
        The time to cover.
    response : Response, optional
        Known from a calibration; None: identified here.

    Raises
    ------
    NoReadingsError
        When there are too few updates, or no update clock, to fit anything.
    """

    def __init__(
        self,
        runs: Runs,
        spans: Spans,
        prior: SensorPrior,
        limits_w: tuple[float, float],
        bounds_ns: tuple[int, int],
        response: Response | None = None,
    ) -> None:
        self.prior, self.spans = prior, spans
        self.unlike: str | None = None  # a label whose spans draw different powers (see `alike`)
        self.start_ns, self.end_ns = bounds_ns
        self.fitted = ActivityFit(runs, spans, prior, limits_w, response)
        self.response = self.fitted.belief.best
        self.period_s = self.fitted.clock.period_s
        self.low_w, self.high_w = self.fitted.low_w, self.fitted.high_w
        self._activity = self.fitted.activity
        count = np.bincount(spans.classes, minlength=len(spans.names))
        length = (spans.ends_ns - spans.starts_ns) / NS_PER_S
        self._call_s = np.bincount(spans.classes, length, len(spans.names)) / count
        p = len(spans.names)
        self.lever_cov = np.identity(p + len(self.fitted.modes))
        self.lever_cov[:p, :p] = self.fitted.cov
        self._full_time = self.response.looks_s > 0.95 * self.period_s
        stuck = in_step(spans, round(self.period_s * NS_PER_S), self.response.looks_s)
        stuck &= not self._full_time
        anything_w = (self.high_w - self.low_w) / math.sqrt(12)
        unsure_w = np.hypot(np.where(stuck, anything_w, 0.0), self.fitted.contested_w)
        self.lever_cov[np.diag_indices(p)] += unsure_w**2
        self._stuck_w = np.where(stuck, _STUCK * self.fitted.beta, 0.0)
        self._unlabelled: Unlabelled | None = None
        self._unmarked: _core.EnergyCurve | None = None
        if not spans.labelled:
            self._unlabelled = Unlabelled(self.fitted, self.response, bounds_ns)
        longest = max((p.delay_high_s for p in prior.responses), default=math.inf)
        self.is_late = response is None and self.response.delay_s > longest + _SOFT_S
        self._build_curves(runs)

    # Curves that windows are read from -----------------------------------------------------

    def _build_curves(self, runs: Runs) -> None:
        fitted, best, period_s = self.fitted, self.response, self.period_s
        u = fitted.updates
        centre = u.t_ns - round(best.lag_s * NS_PER_S)
        bounds = (min(self.start_ns, int(centre[0])), max(self.end_ns, int(centre[-1])))
        self.level_curve = _core.EnergyCurve(*extended((centre, self.fitted.level), *bounds))
        self._smooth_curves = [
            _core.EnergyCurve(*extended((centre, np.ascontiguousarray(column)), *bounds))
            for column in self.fitted.fit.smooth.T
        ]
        self._modes = [
            (beta, _core.EnergyCurve(*extended((centre, np.ascontiguousarray(level)), *bounds)))
            for beta, level in fitted.modes
        ]
        self._back = AddedBack(fitted, best, self.spans, bounds)
        step = np.diff(self.fitted.level)
        length_s = np.maximum(np.diff(centre), 1) / NS_PER_S
        density = np.append(step**2 * length_s / 12, 0.0)
        self._step_curve = _core.EnergyCurve(*steps(centre, density, *bounds))
        self._variance_curve = _core.EnergyCurve(
            *extended((centre, self.fitted.fit.level_var), *bounds)
        )
        reach = round(best.reach_s * NS_PER_S)
        known = np.asarray(runs.read_first_ns[runs.usable])
        # Polls that pause lose nothing as long as every update was still seen.
        starts, ends = missed(u.t_ns, self.fitted.missed, round(period_s * NS_PER_S))
        # What a reading covers lies before it: one just after the start says what was.
        if self.start_ns < int(u.t_ns[0]) - reach - round(period_s * NS_PER_S):
            starts, ends = np.append(starts, self.start_ns), np.append(ends, known[0])
        covered = int(u.t_ns[-1]) - round(best.delay_s * NS_PER_S) + round(period_s * NS_PER_S)
        covered = max(covered, int(ends.max(initial=covered)))
        if self.end_ns > covered:
            starts, ends = np.append(starts, covered), np.append(ends, self.end_ns)
        keep = np.flatnonzero(ends > starts)
        keep = keep[np.argsort(starts[keep], kind="stable")]
        self.gap_starts_ns, self.gap_ends_ns = starts[keep], ends[keep]
        height = (self.fitted.high_w - self.fitted.low_w) / math.sqrt(3)
        self._gap_curve = step_curve(self.gap_starts_ns, self.gap_ends_ns, height, *bounds)
        x = self.fitted.design(best)
        swing = np.ascontiguousarray(np.clip(x * (1 - x), 0, None) @ self.fitted.beta**2)
        self._swing_curve = _core.EnergyCurve(*extended((centre, swing), *bounds))
        self._place_edges()
        self._build_power_curve()

    def _place_edges(self) -> None:
        """Where the power of the classes steps, by how much, and how well that time is known."""
        times, running = active_power(self.spans, self.fitted.beta)
        self._span_edges, last = np.unique(times[::-1], return_index=True)
        after = running[::-1][last]  # of all that happens at one time
        squares = np.diff(after, prepend=0.0) ** 2
        # What edges scatter by, from readings that hold one: an energy of W s is elsewhere. The
        # mean square of a response h over the time L that it holds an edge is 1 / (looks L).
        typical_w = max(float(np.sqrt(squares.mean())), 1e-9)
        held_s = math.sqrt(self.response.looks_s * self.response.holds_edge_s)
        seen_s = held_s * math.sqrt(self.fitted.excess_edge) / typical_w
        # Calls that differ scatter alike, and what a full-time sensor saw of it is added back.
        scale = 1 / math.sqrt(12) if self._full_time else 1.0
        scale = _LATENCY if self.fitted.edges_apart else scale
        least_s = scale * seen_s
        if self.is_late:  # by up to all of the delay, nobody knows how much
            least_s = max(least_s, self.response.delay_s / math.sqrt(3))
        edge_u_s = np.maximum(self.spans.each_edge_u_s(self._span_edges), least_s)
        self._widest_edge_ns = round(float(edge_u_s.max()) * NS_PER_S)
        self._edge_squares = np.concatenate([[0.0], np.cumsum(squares)])
        self._edge_moments = np.concatenate([[0.0], np.cumsum(squares * edge_u_s**2)])

    def _build_power_curve(self) -> None:
        """The whole P(t): for pictures, and for others to integrate."""
        t, running = active_power(self.spans, self.fitted.beta)
        centre, _ = self.level_curve.knots()
        times = np.unique(np.concatenate([centre, t]))
        after = np.searchsorted(t, times, side="right")
        before = np.searchsorted(t, times, side="left")
        padded = np.concatenate([[0.0], running])
        level = self.level_curve.values(times)
        y = np.stack([padded[before] + level, padded[after] + level], axis=1).ravel()
        self.curve = _core.EnergyCurve(np.repeat(times, 2), y)

    def widen_unmarked(self, unseen: _core.EnergyCurve) -> bool:
        """Where no span is for long, ``unseen`` counts, as without any: variance a second, J^2/s,
        of what the sensor does not look at. Whether there is such a time.
        """
        reach, bounds = self.response.reach_s + self.period_s, (self.start_ns, self.end_ns)
        starts, ends = unmarked(self.spans, round(reach * NS_PER_S), bounds)
        if not len(starts):
            return False
        self._unmarked = held_at_median(unseen, starts, ends, bounds)
        return True

    def energy_curves(self) -> list[_core.EnergyCurve]:
        """Whose integrals add up to the energy of any window."""
        return [self.curve, self._back.curve]

    def notes(self) -> list[str]:
        """What a reader of any window must know."""
        return activity_notes(self)

    # Windows -------------------------------------------------------------------------------

    def windows(
        self, starts_ns: NDArray[np.int64], ends_ns: NDArray[np.int64], threads: int = 0
    ) -> WindowTerms:
        """Energies of windows [starts_ns, ends_ns] (checked by the caller) and their terms."""
        parts = [
            self._chunk(starts_ns[i : i + _CHUNK], ends_ns[i : i + _CHUNK], threads)
            for i in range(0, max(len(starts_ns), 1), _CHUNK)
        ]
        if len(parts) == 1:
            return parts[0]
        return WindowTerms(
            np.concatenate([p.joules for p in parts]),
            {k: np.concatenate([p.terms[k] for p in parts]) for k in parts[0].terms},
        )

    def _chunk(
        self, starts: NDArray[np.int64], ends: NDArray[np.int64], threads: int
    ) -> WindowTerms:
        seconds = overlaps(self._activity, starts, ends)
        joules = seconds @ self.fitted.beta + self.level_curve.windows(starts, ends, threads)
        joules += self._back.curve.windows(starts, ends, threads)
        lever = self.levers(starts, ends, threads)
        fit = np.einsum("ij,jk,ik->i", lever, self.lever_cov, lever)
        fit += (seconds @ self._stuck_w) ** 2
        inflation = self.fitted.misfit_ratio**2 - 1 if self.fitted.misfit_ratio > MISFIT else 0.0
        duration_s = (ends - starts) / NS_PER_S
        drift = self._level_variance(starts, ends, duration_s, threads)
        edges, clock = self._edge_variance(starts, ends)
        edges = edges + self._slow_variance(starts, ends, duration_s)
        inside = self._inside_variance(seconds, duration_s)
        if self._unlabelled is not None:
            edges = edges + self._unlabelled.edges(starts, ends)
            inside = inside + self._unlabelled.inside(starts, ends, threads)
        if self._unmarked is not None:
            inside = inside + self._unmarked.windows(starts, ends, threads)
        misfit = inflation * (fit + drift) + self._back.variance.windows(starts, ends, threads)
        # Whatever the readings say, the board draws something that it can.
        anything = ((self.high_w - self.low_w) * duration_s) ** 2 / 3
        return WindowTerms(
            np.asarray(joules),
            {
                "fit": np.sqrt(np.minimum(fit, anything)),
                "drift": np.sqrt(drift),
                "clock": np.sqrt(clock),
                "edges": np.sqrt(edges),
                "inside": np.sqrt(inside),
                "misfit": np.sqrt(np.minimum(misfit, anything)),
                "gaps": self._gap_curve.windows(starts, ends, threads),
            },
        )

    def levers(
        self, starts: NDArray[np.int64], ends: NDArray[np.int64], threads: int = 0
    ) -> NDArray[np.float64]:
        """Derivatives of windows' energies by what the fit did not find out, shape (n, p + k).

        By the power of each class, s (the level following it), then by each of `ActivityFit.modes`,
        J; `lever_cov` is the covariance of these unknowns.
        """
        seconds = overlaps(self._activity, starts, ends)
        lever = seconds.toarray()
        for j, curve in enumerate(self._smooth_curves):
            lever[:, j] -= curve.windows(starts, ends, threads)
        modes = [seconds @ beta + c.windows(starts, ends, threads) for beta, c in self._modes]
        return np.column_stack([lever, *modes])

    def _level_variance(
        self,
        starts: NDArray[np.int64],
        ends: NDArray[np.int64],
        duration_s: NDArray[np.float64],
        threads: int,
    ) -> NDArray[np.float64]:
        """Variance of the level's integral given beta: errors of neighbours are correlated."""
        rho = self.fitted.fit.persistence
        n = np.maximum(duration_s / self.period_s, 1e-12)
        together = n * (1 + rho) / (1 - rho) - 2 * rho * (1 - rho**n) / (1 - rho) ** 2
        share = np.clip(together / n**2, 0.0, 1.0)  # below one period all is one error
        mean = self._variance_curve.windows(starts, ends, threads)
        posterior = mean * duration_s * np.where(n < 1, 1.0, share)
        # Residuals that are added back bring the readings' noise with them.
        noise = self._back.noise_w2 * duration_s * np.minimum(duration_s, self.period_s)
        return np.asarray(posterior + noise + self._step_curve.windows(starts, ends, threads))

    def _inside_variance(
        self, seconds: csr_array, duration_s: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        unseen_s = (1 - min(1.0, self.response.looks_s / self.period_s)) ** 2 * self.period_s
        # A call that draws more than its class does so from end to end.
        together_s = np.maximum(self._call_s, unseen_s)
        busy = np.asarray(seconds @ self.fitted.excess) * duration_s
        calls = np.asarray(seconds @ (self.fitted.excess * together_s))
        idle_s = np.maximum(duration_s - np.asarray(seconds.sum(axis=1)).ravel(), 0.0)
        idle = idle_s * self.fitted.excess_idle * np.minimum(duration_s, unseen_s)
        return np.asarray(np.minimum(busy, calls) + idle)

    def _edge_variance(
        self, starts: NDArray[np.int64], ends: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(structure inside classes, edges of spans) for both edges of each window."""
        window_s = max(self.response.looks_s, 1e-6)
        inner = np.zeros(len(starts))
        length_s = (ends - starts) / NS_PER_S
        for t in (starts, ends):
            near = distance(t, self._span_edges) <= _NEAR_NS
            running = overlaps(self._activity, t - 500, t + 500)
            count = np.asarray(running.sum(axis=1)).ravel() / 1e-6
            excess = np.asarray(running @ self.fitted.excess) / 1e-6
            excess = np.where(count > 0, excess / np.maximum(count, 1e-9), self.fitted.excess_idle)
            inner += np.where(near, 0.0, (_STRUCTURE * window_s) ** 2 * excess)
        # Edges inside the window, and those just outside that may lie inside.
        pad = max(3 * self._widest_edge_ns, _NEAR_NS)
        first = np.searchsorted(self._span_edges, starts - pad, side="left")
        last = np.searchsorted(self._span_edges, ends + pad, side="right")
        most = (self._edge_squares[last] - self._edge_squares[first]) * length_s**2
        outer = np.minimum(self._edge_moments[last] - self._edge_moments[first], most)
        return np.where(length_s > 0, inner, 0.0), np.where(length_s > 0, outer, 0.0)

    def _slow_variance(
        self,
        starts: NDArray[np.int64],
        ends: NDArray[np.int64],
        duration_s: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        window_s = self.response.window_s
        if window_s <= 2 * self.period_s:
            return np.zeros(len(starts))
        swing = np.maximum(self._swing_curve.values(starts), self._swing_curve.values(ends))
        reach_s = np.minimum(duration_s, window_s / math.sqrt(6))
        return np.asarray((_UNRESOLVED * reach_s) ** 2 * swing)

    def gap_s(self, start_ns: int, end_ns: int) -> float:
        """Seconds of [start_ns, end_ns] in which nothing was read."""
        overlap = np.minimum(self.gap_ends_ns, end_ns) - np.maximum(self.gap_starts_ns, start_ns)
        return float(np.maximum(overlap, 0).sum()) / NS_PER_S
