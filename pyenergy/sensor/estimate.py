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
          window, G the part of each class that the level could have explained. Cov holds the
          response too: its posterior's spread of beta is added (law of total variance)
drift     the level's own posterior, and its steps between readings: a step of size s somewhere
          in a period T is ``s T / sqrt(12)``
inside    scatter of the readings beyond that of the quietest class: spans of one class differ.
          ``s^2`` times the time that the sensor does not look at in each period
slow      (in edges) spans shorter than the window of a one-second average are told apart only
          while their pattern begins and ends; a third of their amplitude is allowed for (on an
          RTX 3090 the first kernels draw 0.63 of what the later ones do)
edges     the same scatter as structure inside a class, at edges that are not those of spans: a
          pattern of period p that leaves the scatter s behind a boxcar of W has an amplitude
          of ``s pi W / p``, and cutting it at random costs about ``1.28 W s``
clock     scatter s of the readings that hold a span's edge, beyond the others: an energy of
          ``W s`` is somewhere else in the window, ``W s / sqrt(12)`` at each edge of a window
          that lies within W of an edge of a span
misfit    readings left out of the fit (time blocks) miss the model by ``ratio`` times what it
          predicts: above 1.5, the fit's covariance is multiplied by its square
gaps      as in `uncertainty`: any power in the device's bounds
========  ==================================================================================
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from .. import _core
from ..errors import NoReadingsError
from ..units import NS_PER_S
from .gaps import extended, gap_before, gaps_of, power_bounds, step_curve
from .identify import Belief, Weighted, held_out, identify
from .level import DRIFTS, SHARED_DRIFTS, LevelFit, best_drift, fit_level
from .response import filtered, overlaps
from .terms import WindowTerms
from .update_clock import Updates, fit_clock, updates_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..recording.series import Runs
    from .catalog import SensorPrior
    from .response import Response, ResponsePrior

__all__ = ["ActivityModel", "Spans"]

_FEWEST_UPDATES = 8
_MOST_CLASSES_AT_ONCE = 6  # that identification solves for; more are joined by their powers
# An RTX 3090 beside a meter: 100.0 ms of 100.0 ms; a load whose period is near the window cannot
# tell, and left free would choose 10 % less.
_WHOLE_PERIOD_SPREAD = 0.004
_MISFIT = 1.5  # residuals of what was left out, over what the fit predicts
_STRUCTURE = 1.28  # pi / sqrt(6): see `edges` above
_UNRESOLVED = 1 / 3  # of the swing of spans that a slow sensor never saw apart
_ROUNDS = 8
_MEDIAN_OF_SQUARES = 0.4549  # of a standard normal variable
_NEAR_NS = 2_000  # a window that ends at a span's edge may be stamped by another call
_CHUNK = 100_000  # windows solved at once


@dataclass(frozen=True)
class Spans:
    """Labelled times, by class.

    Attributes
    ----------
    starts_ns, ends_ns : ndarray of int64, shape (s,)
    classes : ndarray of int32, shape (s,)
        Index into ``names``.
    names : tuple of str
    """

    starts_ns: NDArray[np.int64]
    ends_ns: NDArray[np.int64]
    classes: NDArray[np.int32]
    names: tuple[str, ...]

    @classmethod
    def of(cls, spans: list[tuple[str, int, int]]) -> Spans:
        """From (name, start_ns, end_ns); spans with the same name are one class."""
        names = tuple(dict.fromkeys(name for name, _, _ in spans))
        number = {name: i for i, name in enumerate(names)}
        return cls(
            np.array([s for _, s, _ in spans], dtype=np.int64),
            np.array([e for _, _, e in spans], dtype=np.int64),
            np.array([number[name] for name, _, _ in spans], dtype=np.int32),
            names,
        )

    def __len__(self) -> int:
        return len(self.starts_ns)

    def activity(self) -> _core.Activity:
        """As the core computes with it."""
        return _core.Activity(self.starts_ns, self.ends_ns, self.classes, len(self.names))


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
    gap_ns : int
        Failed reads that last longer are a gap.
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
        gap_ns: int = 0,
        response: Response | None = None,
    ) -> None:
        self.prior, self.spans = prior, spans
        self.start_ns, self.end_ns = bounds_ns
        self.clock = fit_clock(runs, float(max(prior.update_ns, 0)))
        if self.clock is None:
            raise NoReadingsError("the reading has no update clock that could be recovered")
        self.updates = updates_of(runs, self.clock)
        self._missed = self.updates.steps  # updates between readings, before jumps are weighed
        if len(self.updates) < _FEWEST_UPDATES:
            raise NoReadingsError("too few updates of the reading to fit activity")
        self.low_w, self.high_w = power_bounds(*limits_w, self.updates.value)
        self._activity = spans.activity()
        window_ns = prior.window_ns if response is None else response.window_s * NS_PER_S
        self._drifts = SHARED_DRIFTS if window_ns > 2 * self.clock.period_ns else DRIFTS
        self._solve(response)
        self._build_curves(runs, gap_ns)

    # Fit -----------------------------------------------------------------------------------

    def _solve(self, response: Response | None) -> None:
        width = self.high_w - self.low_w
        weight = np.ones(len(self.updates))
        self.belief = self._believe(response, width, weight)
        for _ in range(2):
            weight = self._robust(width, weight)
            self.belief = self._believe(response, width, weight)
        self._mix(width, weight)

    def _robust(self, width: float, weight: NDArray[np.float64]) -> NDArray[np.float64]:
        """Weights of the readings, and of the level's steps, that outliers do not rule.

        Half a second in which a clock boosts contradicts hours that it does not: such readings
        lose their vote (weights fall as the square of the residual beyond three deviations of
        their group), and the level may jump there.
        """
        x = self._design(self.belief.best)
        group = _groups(x)
        for _ in range(_ROUNDS):
            u = self.updates
            drift = best_drift(u.value, x, weight, u.steps, width, self._drifts)
            fit = fit_level(u.value, x, weight, u.steps, drift, width)
            self.updates = replace(u, steps=_jumps(u, self._missed, fit))
            scatter = self._scatter(group, fit)
            quiet = max(float(scatter.min()), 1e-12)
            strange = np.maximum(fit.residual**2 / (9 * np.maximum(scatter, 1e-12)), 1.0)
            weight = quiet / np.maximum(scatter, 1e-12) / strange
        return weight

    def _believe(
        self, response: Response | None, width: float, weight: NDArray[np.float64]
    ) -> Belief:
        u = self.updates
        if response is not None:
            x = self._design(response)
            drift = best_drift(u.value, x, weight, u.steps, width, self._drifts)
            points = tuple(Weighted(r, w) for r, w in _around(response))
            return Belief(response, points, drift, {}, informative=False)
        collapse = None
        if len(self.spans.names) > _MOST_CLASSES_AT_ONCE:
            x = self._design(self.prior.responses[0].middle)
            drift = best_drift(u.value, x, weight, u.steps, width, self._drifts)
            collapse = fit_level(u.value, x, weight, u.steps, drift, width, full=False).beta
        return identify(u, self._activity, self._priors(), width, weight, collapse, self._drifts)

    def _priors(self) -> tuple[ResponsePrior, ...]:
        """The catalogue's; a sensor that looks at its whole period averages exactly that."""
        prior, clock = self.prior, self.clock
        assert clock is not None
        if prior.update_ns <= 0 or prior.window_ns != prior.update_ns:
            return prior.responses
        return tuple(
            replace(p, window_s=clock.period_s, window_spread=_WHOLE_PERIOD_SPREAD)
            if p.family == "boxcar"
            else p
            for p in prior.responses
        )

    def _design(self, response: Response) -> NDArray[np.float64]:
        return np.asarray(filtered(self._activity, self.updates.t_ns, response).toarray())

    def _scatter(self, group: NDArray[np.int64], fit: LevelFit) -> NDArray[np.float64]:
        """Variance of the readings by what they mostly saw, W^2, from medians."""
        # Each residual has lost some freedom to the fit: the level's share of it at least.
        lost = np.clip(fit.level_var / max(fit.sigma2, 1e-300), 0.0, 0.9)
        square = fit.residual**2 / (1 - lost)
        pooled = float(np.median(square))
        self.scatter_w2: dict[int, float] = {}
        self._group_sizes: dict[int, int] = {}
        for number in np.unique(group):
            inside = square[group == number]
            n = len(inside)
            # A few readings prove little: four pseudo-readings with the scatter of all.
            median = (float(np.median(inside)) * n + 4 * pooled) / (n + 4)
            self.scatter_w2[int(number)] = median / _MEDIAN_OF_SQUARES
            self._group_sizes[int(number)] = n
        return np.array([self.scatter_w2[int(g)] for g in group])

    def _mix(self, width: float, weight: NDArray[np.float64]) -> None:
        """Powers and level over the posterior of the response."""
        u = self.updates
        points = [p for p in self.belief.points if p.weight > 2e-3]
        total = sum(p.weight for p in points)
        best: LevelFit | None = None
        betas, covs, levels = [], [], []
        shares = np.array([p.weight / total for p in points])
        for point in points:
            fit = fit_level(
                u.value, self._design(point.response), weight, u.steps, self.belief.drift, width
            )
            betas.append(fit.beta)
            covs.append(fit.cov * fit.dof / max(fit.dof - 2, 0.5))
            levels.append(fit.level)
            if best is None or point.weight >= max(p.weight for p in points):
                best = fit
        assert best is not None
        self.fit = best
        self.beta = shares @ np.array(betas)
        apart = np.array(betas) - self.beta
        self.cov = np.einsum("k,kij->ij", shares, np.array(covs))
        self.cov = self.cov + np.einsum("k,ki,kj->ij", shares, apart, apart)
        self.level = shares @ np.array(levels)
        x = self._design(self.belief.best)
        # What the mean of all leaves: the readings that no class and no level explain.
        self.residual = u.value - x @ self.beta - self.level
        self._strange = weight < 0.5 * _typical(weight, _groups(x))
        residual, variance = held_out(u, x, weight, self.belief.drift, width)
        z2 = np.where(self._strange, 0.0, residual**2 / variance)
        self.misfit_ratio = float(np.sqrt(np.mean(z2)))
        self.misfit_class = self._blamed(x, z2)

    def _blamed(self, x: NDArray[np.float64], z2: NDArray[np.float64]) -> str | None:
        """The class in whose readings the misfit is largest; None: outside of all."""
        share = np.column_stack([np.clip(1 - x.sum(axis=1), 0, 1), x])
        mean = (z2 @ share) / np.maximum(share.sum(axis=0), 1.0)
        worst = int(np.argmax(mean))
        return None if worst == 0 else self.spans.names[worst - 1]

    # Curves that windows are read from -----------------------------------------------------

    def _build_curves(self, runs: Runs, gap_ns: int) -> None:
        u, assert_clock = self.updates, self.clock
        assert assert_clock is not None
        period_s = assert_clock.period_s
        self.period_s = period_s
        best = self.belief.best
        centre = u.t_ns - round(best.lag_s * NS_PER_S)
        bounds = (min(self.start_ns, int(centre[0])), max(self.end_ns, int(centre[-1])))
        self._level_curve = _core.EnergyCurve(*extended((centre, self.level), *bounds))
        self._smooth_curves = [
            _core.EnergyCurve(*extended((centre, np.ascontiguousarray(column)), *bounds))
            for column in self.fit.smooth.T
        ]
        self._add_back(u, bounds)
        step = np.diff(self.level)
        length_s = np.maximum(np.diff(centre), 1) / NS_PER_S
        density = np.append(step**2 * length_s / 12, 0.0)
        self._step_curve = _core.EnergyCurve(*_steps(centre, density, *bounds))
        self._variance_curve = _core.EnergyCurve(*extended((centre, self.fit.level_var), *bounds))
        gap, _ = gap_before(runs, runs.usable, max(gap_ns, round(period_s * NS_PER_S)))
        reach = round(best.reach_s * NS_PER_S)
        known = np.asarray(runs.read_first_ns[runs.usable])
        last = np.maximum(np.asarray(runs.t_last_ns[runs.usable]), known)
        # What a reading covers lies before it: one just after the start says what was.
        head = self.start_ns
        if head >= int(u.t_ns[0]) - reach - round(period_s * NS_PER_S):
            head = int(known[0])
        starts, ends = gaps_of(known, last, gap, head, int(last[-1]))
        covered = int(u.t_ns[-1]) - round(best.delay_s * NS_PER_S) + round(period_s * NS_PER_S)
        covered = max(covered, int(ends.max(initial=covered)))
        if self.end_ns > covered:
            starts, ends = np.append(starts, covered), np.append(ends, self.end_ns)
        keep = ends > starts
        self.gap_starts_ns, self.gap_ends_ns = starts[keep], ends[keep]
        height = (self.high_w - self.low_w) / math.sqrt(3)
        self._gap_curve = step_curve(self.gap_starts_ns, self.gap_ends_ns, height, *bounds)
        x = self._design(best)
        swing = np.ascontiguousarray(np.clip(x * (1 - x), 0, None) @ self.beta**2)
        self._swing_curve = _core.EnergyCurve(*extended((centre, swing), *bounds))
        self._set_scatter()
        self._span_edges = np.unique(np.concatenate([self.spans.starts_ns, self.spans.ends_ns]))
        self._build_power_curve()

    def _add_back(self, u: Updates, bounds: tuple[int, int]) -> None:
        """What the fit leaves of each reading, over the time that the reading stands for.

        A boxcar as long as the period tiles time: the sum of readings is the energy whatever its
        shape, so its residuals are added back in full. Of a part-time sensor only strange readings
        are, as the best guess for the period around them; one that holds a span's edge rather says
        that the work began or ended a little off its label.
        """
        best = self.belief.best
        period_ns = round(self.period_s * NS_PER_S)
        tiles = best.family == "boxcar" and abs(best.window_s / self.period_s - 1) < 0.05
        edge = _groups(self._design(best)) == -2
        power = self._strange & ~edge
        back = self.residual if tiles else np.where(power, self.residual, 0.0)
        if best.window_s > 1.05 * self.period_s:
            back = np.zeros_like(back)  # many readings share each moment
        start = u.t_ns - round(best.lag_s * NS_PER_S) - period_ns // 2
        self._back_curve = _core.EnergyCurve(*_steps(start, back, *_wide(bounds, start)))
        # Where inside its period a strange reading belongs is unknown.
        square = np.where(self._strange, self.residual**2, 0.0) * self.period_s
        if tiles:
            square /= 12
        else:
            square *= np.where(edge, (best.window_s / self.period_s) ** 2, 1.0)
        self._strange_curve = _core.EnergyCurve(*_steps(start, square, *_wide(bounds, start)))

    def _set_scatter(self) -> None:
        """Scatter beyond noise, by class and at edges; only where it is significant."""
        sizes = self._group_sizes
        idle = sizes.get(-1, 0) >= _FEWEST_UPDATES
        base = -1 if idle else min(self.scatter_w2, key=lambda g: self.scatter_w2[g])
        quiet = self.scatter_w2[base]
        excess = {}
        for group, variance in self.scatter_w2.items():
            # Relative standard deviation of a variance from a median: 1.65 sqrt(2 / n).
            sure = 1 + 3 * 1.65 * math.sqrt(2 / max(sizes[group], 1) + 2 / max(sizes[base], 1))
            excess[group] = variance - quiet if variance > quiet * sure else 0.0
        count = len(self.spans.names)
        self._excess = np.array([excess.get(j, 0.0) for j in range(count)])
        self._excess_idle = excess.get(-1, 0.0)
        whole = max([v for g, v in excess.items() if g != -2], default=0.0)
        self._excess_edge = max(excess.get(-2, 0.0) - whole, 0.0)

    def _build_power_curve(self) -> None:
        """The whole P(t): for pictures, and for others to integrate."""
        spans = self.spans
        t = np.concatenate([spans.starts_ns, spans.ends_ns])
        step = np.concatenate([self.beta[spans.classes], -self.beta[spans.classes]])
        order = np.argsort(t, kind="stable")
        t, running = t[order], np.cumsum(step[order])
        running[-1:] = 0.0
        centre, _ = self._level_curve.knots()
        times = np.unique(np.concatenate([centre, t]))
        after = np.searchsorted(t, times, side="right")
        before = np.searchsorted(t, times, side="left")
        padded = np.concatenate([[0.0], running])
        level = self._level_curve.values(times)
        y = np.stack([padded[before] + level, padded[after] + level], axis=1).ravel()
        self.curve = _core.EnergyCurve(np.repeat(times, 2), y)

    def notes(self) -> list[str]:
        """What a reader of any window must know."""
        found = []
        if self.misfit_ratio > _MISFIT:
            where = f"in {self.misfit_class!r}" if self.misfit_class else "outside of all spans"
            found.append(
                f"readings miss the model by {self.misfit_ratio:.1f} times what it predicts, most "
                f"{where}; the uncertainty is widened by as much"
            )
        strange = int(self._strange.sum())
        if strange > max(3, 0.02 * len(self.updates)):
            found.append(
                f"{strange} of {len(self.updates)} readings fit no class: unlabelled work, or a "
                "clock that changed"
            )
        window_s = self.belief.best.window_s
        if window_s > 2 * self.period_s:
            found.append(
                f"the reading is an average over {window_s:.2g} s: shorter spans are told apart "
                "only where their pattern begins and ends"
            )
        return found

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
        joules = seconds @ self.beta + self._level_curve.windows(starts, ends, threads)
        joules += self._back_curve.windows(starts, ends, threads)
        lever = seconds.toarray()
        for j, curve in enumerate(self._smooth_curves):
            lever[:, j] -= curve.windows(starts, ends, threads)
        fit = np.einsum("ij,jk,ik->i", lever, self.cov, lever)
        inflation = self.misfit_ratio**2 - 1 if self.misfit_ratio > _MISFIT else 0.0
        duration_s = (ends - starts) / NS_PER_S
        drift = self._level_variance(starts, ends, duration_s, threads)
        edges, clock = self._edge_variance(starts, ends)
        edges = edges + self._slow_variance(starts, ends, duration_s)
        return WindowTerms(
            np.asarray(joules),
            {
                "fit": np.sqrt(fit),
                "drift": np.sqrt(drift),
                "clock": np.sqrt(clock),
                "edges": np.sqrt(edges),
                "inside": np.sqrt(self._inside_variance(seconds, duration_s)),
                "misfit": np.sqrt(
                    inflation * (fit + drift) + self._strange_curve.windows(starts, ends, threads)
                ),
                "gaps": self._gap_curve.windows(starts, ends, threads),
            },
        )

    def _level_variance(
        self,
        starts: NDArray[np.int64],
        ends: NDArray[np.int64],
        duration_s: NDArray[np.float64],
        threads: int,
    ) -> NDArray[np.float64]:
        """Variance of the level's integral given beta: errors of neighbours are correlated."""
        rho = self.fit.persistence
        n = np.maximum(duration_s / self.period_s, 1e-12)
        together = n * (1 + rho) / (1 - rho) - 2 * rho * (1 - rho**n) / (1 - rho) ** 2
        share = np.clip(together / n**2, 0.0, 1.0)  # below one period all is one error
        mean = self._variance_curve.windows(starts, ends, threads)
        posterior = mean * duration_s * np.where(n < 1, 1.0, share)
        return np.asarray(posterior + self._step_curve.windows(starts, ends, threads))

    def _inside_variance(self, seconds: object, duration_s: NDArray[np.float64]) -> object:
        coverage = min(1.0, self.belief.best.window_s / self.period_s)
        if self.belief.best.family == "rc":
            coverage = min(1.0, 2 * self.belief.best.window_s / self.period_s)
        unseen_s = (1 - coverage) ** 2 * self.period_s
        busy = np.asarray(seconds @ self._excess)  # type: ignore[operator]
        idle_s = np.maximum(duration_s - np.asarray(seconds.sum(axis=1)).ravel(), 0.0)  # type: ignore[attr-defined]
        return (busy + idle_s * self._excess_idle) * np.minimum(duration_s, unseen_s)

    def _edge_variance(
        self, starts: NDArray[np.int64], ends: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(structure inside classes, edges of spans) for both edges of each window."""
        window_s = max(self.belief.best.window_s, 1e-6)
        inner, outer = np.zeros(len(starts)), np.zeros(len(starts))
        length_s = (ends - starts) / NS_PER_S
        for t in (starts, ends):
            near = _distance(t, self._span_edges) <= _NEAR_NS
            running = overlaps(self._activity, t - 500, t + 500)
            count = np.asarray(running.sum(axis=1)).ravel() / 1e-6
            excess = np.asarray(running @ self._excess) / 1e-6
            excess = np.where(count > 0, excess / np.maximum(count, 1e-9), self._excess_idle)
            inner += np.where(near, 0.0, (_STRUCTURE * window_s) ** 2 * excess)
            short = near | (_distance(t, self._span_edges) < window_s * NS_PER_S)
            outer += np.where(short, window_s**2 / 12 * self._excess_edge, 0.0)
        return np.where(length_s > 0, inner, 0.0), np.where(length_s > 0, outer, 0.0)

    def _slow_variance(
        self,
        starts: NDArray[np.int64],
        ends: NDArray[np.int64],
        duration_s: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        window_s = self.belief.best.window_s
        if window_s <= 2 * self.period_s:
            return np.zeros(len(starts))
        swing = np.maximum(self._swing_curve.values(starts), self._swing_curve.values(ends))
        reach_s = np.minimum(duration_s, window_s / math.sqrt(6))
        return np.asarray((_UNRESOLVED * reach_s) ** 2 * swing)

    def gap_s(self, start_ns: int, end_ns: int) -> float:
        """Seconds of [start_ns, end_ns] in which nothing was read."""
        overlap = np.minimum(self.gap_ends_ns, end_ns) - np.maximum(self.gap_starts_ns, start_ns)
        return float(np.maximum(overlap, 0).sum()) / NS_PER_S


def _around(response: Response) -> list[tuple[Response, float]]:
    """Sigma points of a calibrated response (three-point Gauss-Hermite in each parameter)."""
    points = []
    for a, wa in ((-math.sqrt(3), 1 / 6), (0.0, 2 / 3), (math.sqrt(3), 1 / 6)):
        for b, wb in ((-math.sqrt(3), 1 / 6), (0.0, 2 / 3), (math.sqrt(3), 1 / 6)):
            window = response.window_s + a * response.window_u_s
            if response.family != "continuous" and window <= 0:
                continue
            point = replace(
                response, window_s=window, delay_s=response.delay_s + b * response.delay_u_s
            )
            points.append((point, wa * wb))
    total = sum(w for _, w in points)
    return [(r, w / total) for r, w in points]


def _jumps(updates: Updates, missed: NDArray[np.float64], fit: LevelFit) -> NDArray[np.float64]:
    """Variance of each step of the level in units of the drift, Student's t with 2 degrees.

    A clock that boosts moves the level once, by much; a normal random walk would have to call it
    restless everywhere (Lange, Little, Taylor, JASA 84, 1989: t errors by reweighting).
    """
    variance = max(fit.drift * fit.sigma2, 1e-12)
    square = np.diff(fit.level, prepend=fit.level[:1]) ** 2
    return np.asarray(missed * np.clip((2 + square / (variance * missed)) / 3, 0.5, 1e6))


def _typical(weight: NDArray[np.float64], group: NDArray[np.int64]) -> NDArray[np.float64]:
    """The largest weight in each reading's group."""
    top = {g: float(weight[group == g].max()) for g in np.unique(group)}
    return np.array([top[g] for g in group])


def _groups(x: NDArray[np.float64]) -> NDArray[np.int64]:
    """What each reading mostly saw: a class, -1 nothing, -2 an edge."""
    total = x.sum(axis=1)
    group = np.argmax(x, axis=1).astype(np.int64)
    top = x.max(axis=1)
    group[top < 0.02] = -1
    group[(top >= 0.02) & ((top < 0.98) | (total > 1.02 * np.maximum(np.round(total), 1)))] = -2
    return group


def _steps(
    t: NDArray[np.int64], height: NDArray[np.float64], start_ns: int, end_ns: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Knots of a curve that is height[i] from t[i] to t[i + 1], zero elsewhere."""
    knots = np.repeat(t, 2)
    y = np.stack([np.concatenate([[0.0], height[:-1]]), height], axis=1).ravel()
    y[-1] = 0.0
    return extended((knots, y), start_ns, end_ns, 0.0)


def _wide(bounds: tuple[int, int], t: NDArray[np.int64]) -> tuple[int, int]:
    return min(bounds[0], int(t[0])), max(bounds[1], int(t[-1]))


def _distance(t: NDArray[np.int64], edges: NDArray[np.int64]) -> NDArray[np.int64]:
    """To the nearest of the sorted ``edges``."""
    after = np.searchsorted(edges, t).clip(0, len(edges) - 1)
    before = (after - 1).clip(0)
    return np.minimum(np.abs(edges[after] - t), np.abs(t - edges[before]))
