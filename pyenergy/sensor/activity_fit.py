# SPDX-License-Identifier: Apache-2.0
"""The joint fit behind `estimate.ActivityModel`: powers of classes, level, response.

Robust by weights: readings that no class and no level explain lose their vote, and where they lie
the level may jump. Repeated with what was learnt, as the response decides which readings those are.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..errors import NoReadingsError
from ..units import NS_PER_S
from .coarse_clock import absorbed, coarse_clock
from .explain import partly
from .gaps import power_bounds
from .identify import Belief, Weighted, held_out, identify
from .level import DRIFTS, SHARED_DRIFTS, LevelFit, best_drift, fit_level
from .response import filtered, overlaps
from .spans import EDGE, IDLE, Spans, groups
from .update_clock import Updates, fit_clock, updates_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..recording.series import Runs
    from .catalog import SensorPrior
    from .response import Response, ResponsePrior

__all__ = ["MEDIAN_OF_SQUARES", "ActivityFit"]

FEWEST_UPDATES = 8
_MOST_CLASSES_AT_ONCE = 6  # that identification solves for; more are joined by their powers
# An RTX 3090 beside a meter: 100.0 ms of 100.0 ms; a load whose period is near the window cannot
# tell, and left free would choose 10 % less.
_WHOLE_PERIOD_SPREAD = 0.004
_ROUNDS = 8
_OF_POSTERIOR = 0.998  # what the rest holds moves no uncertainty
_MOST_MODES = 4  # of the response's posterior: its window and delay, and a few peaks
_OUTLIER = 30  # times a variance: a square beyond is strange work, and counts as this much
_STAND_INS = 4  # readings with the scatter of all, in each group
_CONTESTED = 0.1  # share of the readings around a class's spans that nothing explains
_LARGE = 0.05  # of the powers: less is no work that was missed
_FEW, _SOME, _WHOLE = 3, 0.02, 0.9  # readings that saw something of a class, but always idle too
_SAME_VOTES = 0.05  # far inside what a scatter of few readings is known to
MEDIAN_OF_SQUARES = 0.4549  # of a standard normal variable


class ActivityFit:
    """Powers of the classes of ``spans``, the level and the response, from one power channel.

    Parameters are those of `estimate.ActivityModel`.

    Attributes
    ----------
    clock : UpdateClock
    updates : Updates
    missed : ndarray, shape (n,)
        Updates since the one before, 1 where none was missed.
    belief : Belief
        The response.
    beta, cov : ndarray, shapes (p,) and (p, p)
        Powers above the level, W, and their covariance for a response.
    modes : list of (ndarray, ndarray), shapes (p,) and (n,)
        How powers and level vary together over the response's posterior, W.
    level : ndarray, shape (n,)
        The level at each update, W.
    fit : LevelFit
        Of the likeliest response.
    weight : ndarray, shape (n,)
        Inverse variances of the readings up to a scale.
    residual : ndarray, shape (n,)
        What neither explains, W.
    strange : ndarray of bool, shape (n,)
        Readings that lost their vote.
    misfit_ratio : float
        Residuals of left-out readings over what the fit predicts.
    misfit_class : str or None
        Where they are largest; None: outside of all spans.
    excess : ndarray, shape (p,)
        Scatter of each class's readings beyond noise, W^2.
    excess_idle, excess_edge : float
        The same outside of spans, and of readings that hold an edge.
    edges_apart : bool
        Whether readings saw classes alone too, so that ``excess_edge`` is of the edges.
    contested_w : ndarray, shape (p,)
        By how much each class may draw something else, W: where many readings around its spans are
        explained by nothing, its power is told from partial overlaps with readings that work which
        no span names may have made.

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
        response: Response | None = None,
    ) -> None:
        self.prior, self.spans = prior, spans
        self.activity = spans.activity()
        clock = fit_clock(runs, float(max(prior.update_ns, 0)))
        self._coarse = clock is None
        if clock is None and not spans.labelled:
            raise NoReadingsError("the reading has no update clock that could be recovered")
        if clock is None:
            self.clock, self.updates = coarse_clock(runs, self.activity, prior, response)
        else:
            self.clock, self.updates = clock, updates_of(runs, clock)
        if len(self.updates) < FEWEST_UPDATES:
            raise NoReadingsError("too few updates of the reading to fit activity")
        self.missed = self.updates.steps  # updates between readings, before jumps are weighed
        self.low_w, self.high_w = power_bounds(*limits_w, self.updates.value)
        window_ns = prior.window_ns if response is None else response.window_s * NS_PER_S
        # Work that nobody labelled may be anything: the level then carries its shape.
        free = window_ns > 2 * self.clock.period_ns or not spans.labelled
        self._drifts = SHARED_DRIFTS if free else DRIFTS
        self._solve(response)
        self._set_scatter()
        self.contested_w = self._contested()

    def _solve(self, response: Response | None) -> None:
        width = self.high_w - self.low_w
        weight = np.ones(len(self.updates))
        self.belief = self._believe(response, width, weight, thorough=False)
        for _ in range(2):
            before = weight
            weight = self._robust(width, weight)
            if np.allclose(weight, before, rtol=_SAME_VOTES):
                break  # nothing to learn from the same votes again
            self.belief = self._believe(response, width, weight, thorough=False)
        self.belief = self._believe(response, width, weight)
        self.weight = weight
        # The response was told from readings around edges; the level's drift is of them all.
        u, x = self.updates, self.design(self.belief.best)
        drift = best_drift(u.value, x, weight, u.steps, width, self._drifts)
        self.belief = replace(self.belief, drift=drift)
        self._mix(width, weight)

    def _robust(self, width: float, weight: NDArray[np.float64]) -> NDArray[np.float64]:
        """Weights of the readings, and of the level's steps, that outliers do not rule.

        Half a second in which a clock boosts contradicts hours that it does not: such readings
        lose their vote (weights fall as the square of the residual beyond three deviations of
        their group), and the level may jump there.
        """
        x = self.design(self.belief.best)
        group = groups(x)
        for _ in range(_ROUNDS):
            u = self.updates
            drift = best_drift(u.value, x, weight, u.steps, width, self._drifts)
            fit = fit_level(u.value, x, weight, u.steps, drift, width)
            self.updates = replace(u, steps=_jumps(u, self.missed, fit))
            scatter = self._scatter(group, fit) + self._edge_noise(x, fit.beta)
            quiet = max(float(scatter.min()), 1e-12)
            strange = np.maximum(fit.residual**2 / (9 * np.maximum(scatter, 1e-12)), 1.0)
            weight = quiet / np.maximum(scatter, 1e-12) / strange
        return weight

    def _edge_noise(self, x: NDArray[np.float64], beta: NDArray[np.float64]) -> NDArray[np.float64]:
        """Variance of each reading for edges of spans that are not where they are stamped, W^2."""
        u_s = self.spans.edge_u_s
        if u_s == 0.0:
            return np.zeros(len(x))
        best = self.belief.best
        moved = self.design(replace(best, delay_s=best.delay_s + u_s))
        return np.asarray(((moved - x) @ beta) ** 2)

    def _believe(
        self,
        response: Response | None,
        width: float,
        weight: NDArray[np.float64],
        thorough: bool = True,
    ) -> Belief:
        u = self.updates
        if response is not None:
            x = self.design(response)
            drift = best_drift(u.value, x, weight, u.steps, width, self._drifts)
            points = tuple(Weighted(r, w) for r, w in _around(response))
            return Belief(response, points, drift, {}, informative=False)
        collapse = None
        if len(self.spans.names) > _MOST_CLASSES_AT_ONCE:
            x = self.design(self.prior.responses[0].middle)
            drift = best_drift(u.value, x, weight, u.steps, width, self._drifts)
            collapse = fit_level(u.value, x, weight, u.steps, drift, width, full=False).beta
        priors = self.priors()
        return identify(u, self.activity, priors, width, weight, collapse, self._drifts, thorough)

    def priors(self) -> tuple[ResponsePrior, ...]:
        """What may be, given the clock."""
        if self._coarse:
            return absorbed(self.prior.responses, self.clock)
        return self.prior.of_period(self.clock.period_s, _WHOLE_PERIOD_SPREAD)

    @property
    def beta_cov(self) -> NDArray[np.float64]:
        """Covariance of the powers over the response's posterior too, W^2."""
        return np.asarray(self.cov + sum(np.outer(beta, beta) for beta, _ in self.modes))

    @property
    def edge_readings(self) -> int:
        """Readings that saw some of the work, but not all the time."""
        return partly(self.design(self.belief.best))

    def design(self, response: Response) -> NDArray[np.float64]:
        return np.asarray(filtered(self.activity, self.updates.t_ns, response).toarray())

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
            # A few readings prove little: others with the scatter of all stand in.
            median = float(np.median(inside)) * n + _STAND_INS * pooled
            median /= n + _STAND_INS
            variance = median / MEDIAN_OF_SQUARES
            if number == EDGE:
                # Late edges are rare, and an RC holds little of most: the median hides them.
                likely = np.minimum(inside, _OUTLIER * variance)
                variance = max(variance, float(likely.mean()))
            self.scatter_w2[int(number)] = variance
            self._group_sizes[int(number)] = n
        return np.array([self.scatter_w2[int(g)] for g in group])

    def _mix(self, width: float, weight: NDArray[np.float64]) -> None:
        """Powers and level over the posterior of the response."""
        u = self.updates
        points = _nearly_all(self.belief.points)
        total = sum(p.weight for p in points)
        best: LevelFit | None = None
        betas, covs, levels = [], [], []
        shares = np.array([p.weight / total for p in points])
        for point in points:
            fit = fit_level(
                u.value, self.design(point.response), weight, u.steps, self.belief.drift, width
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
        self.level = shares @ np.array(levels)
        tilt = self._tilted(weight, width) - best.beta
        self.cov = np.einsum("k,kij->ij", shares, np.array(covs)) + np.outer(tilt, tilt)
        self.modes = _modes(np.sqrt(shares)[:, None], apart, np.array(levels) - self.level)
        x = self.design(self.belief.best)
        # What the mean of all leaves: the readings that no class and no level explain.
        self.residual = u.value - x @ self.beta - self.level
        self.strange = weight < 0.5 * _typical(weight, groups(x))
        residual, variance = held_out(u, x, weight, self.belief.drift, width)
        z2 = np.where(self.strange, 0.0, residual**2 / variance)
        self.misfit_ratio = float(np.sqrt(np.mean(z2)))
        self.misfit_class = self._blamed(x, z2)

    def _tilted(self, weight: NDArray[np.float64], width: float) -> NDArray[np.float64]:
        """Powers if the update clock's period were off by its uncertainty."""
        u, clock = self.updates, self.clock
        index = (u.t_ns - u.t_ns.mean()) / clock.period_ns
        t_ns = u.t_ns + np.round(index * clock.u_period_ns).astype(np.int64)
        x = np.asarray(filtered(self.activity, t_ns, self.belief.best).toarray())
        return fit_level(u.value, x, weight, u.steps, self.belief.drift, width, full=False).beta

    def _contested(self) -> NDArray[np.float64]:
        """Power of each class less what the readings around it show at face value.

        A sensor that looks all the time misses nothing, wherever the work lies.
        """
        best, found = self.belief.best, np.zeros(len(self.beta))
        period_s = self.clock.period_ns / NS_PER_S
        if not self.spans.labelled or best.looks_s > 0.95 * period_s:
            return found
        reach = round((best.reach_s + period_s) * NS_PER_S)
        t, x = self.updates.t_ns, self.design(best)
        near = overlaps(self.activity, t - 2 * reach, t + reach // 2).toarray() > 0
        above_w, all_work = self.updates.value - self.level, x.sum(axis=1)
        large = np.abs(self.residual) > _LARGE * float(np.max(np.abs(self.beta)))
        for j in range(len(found)):
            around = near[:, j] & (all_work - x[:, j] < _SOME)  # nothing else that is named
            if not around.any():
                continue
            unexplained = np.count_nonzero(around & self.strange & large)
            saw = x[:, j] > _SOME
            few = np.count_nonzero(saw) <= _FEW and float(all_work[saw].max(initial=0.0)) < _WHOLE
            if few or unexplained > _CONTESTED * np.count_nonzero(around):
                found[j] = abs(self.beta[j] - float(above_w[around].max()))
        return found

    def _blamed(self, x: NDArray[np.float64], z2: NDArray[np.float64]) -> str | None:
        """The class in whose readings the misfit is largest; None: outside of all."""
        share = np.column_stack([np.clip(1 - x.sum(axis=1), 0, 1), x])
        mean = (z2 @ share) / np.maximum(share.sum(axis=0), 1.0)
        worst = int(np.argmax(mean))
        return None if worst == 0 else self.spans.names[worst - 1]

    def _set_scatter(self) -> None:
        """Scatter beyond noise, by class and at edges; only where it is significant."""
        sizes = self._group_sizes
        idle = sizes.get(IDLE, 0) >= FEWEST_UPDATES
        base = IDLE if idle else min(self.scatter_w2, key=lambda g: self.scatter_w2[g])
        quiet = self.scatter_w2[base]
        excess = {}
        for group, variance in self.scatter_w2.items():
            # Relative standard deviation of a variance from a median: 1.65 sqrt(2 / n).
            sure = 1 + 3 * 1.65 * math.sqrt(2 / max(sizes[group], 1) + 2 / max(sizes[base], 1))
            excess[group] = variance - quiet if variance > quiet * sure else 0.0
        count = len(self.spans.names)
        self.excess = np.array([excess.get(j, 0.0) for j in range(count)])
        self.excess_idle = excess.get(IDLE, 0.0)
        whole = max([v for g, v in excess.items() if g != EDGE], default=0.0)
        self.excess_edge = max(excess.get(EDGE, 0.0) - whole, 0.0)
        # Few readings: without those that stood in, and with what power, window and delay took.
        edges = sizes.get(EDGE, 0)
        self.excess_edge *= (edges + _STAND_INS) / max(edges - 3, 1)
        # Where no reading saw a class alone, calls that differ scatter just like edges that do.
        self.edges_apart = any(g >= 0 and n >= FEWEST_UPDATES for g, n in sizes.items())


def _nearly_all(points: tuple[Weighted, ...]) -> list[Weighted]:
    """The likeliest that hold nearly all of the posterior: one of its optima may be many points."""
    order = np.argsort([-p.weight for p in points], kind="stable")
    below = np.cumsum([points[i].weight for i in order]) < _OF_POSTERIOR
    return [points[i] for i in order[: int(below.sum()) + 1]]


def _modes(
    root: NDArray[np.float64], beta: NDArray[np.float64], level: NDArray[np.float64]
) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Deviations of powers and level over the response's posterior, as few that count.

    A response that explains the readings by less power explains them by more level: the two vary
    together, and what their sum does is known better, or worse, than each. The sum of outer
    products of the pairs is their joint covariance (a singular value decomposition of it).
    """
    both = np.concatenate([beta, level], axis=1) * root
    _, size, axes = np.linalg.svd(both, full_matrices=False)
    kept = [k for k in range(min(len(size), _MOST_MODES)) if size[k] > 1e-3 * max(size[0], 1e-12)]
    p = beta.shape[1]
    return [(size[k] * axes[k, :p], size[k] * axes[k, p:]) for k in kept]


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
