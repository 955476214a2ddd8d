# SPDX-License-Identifier: Apache-2.0
"""Which response a sensor has: found from readings and from when the work ran.

No meter is needed: the readings are explained by filtered activity (`level.fit_level`), and the
response that explains them best wins. What the data leave open stays open: the answer is a set of
weighted responses, and whoever uses them spreads over all.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from .level import DRIFTS, Likelihood, best_drift, fit_level
from .response import Response, ResponsePrior, filtered, filtered_dense

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from .. import _core
    from .update_clock import Updates

__all__ = ["Belief", "Weighted", "held_out", "identify"]

_COARSE_DRIFTS = (1e-5, 1e-3, 0.1, 10.0)
_MODES = 3  # local optima of the coarse search that are followed up
_MANY_MODES = 8  # the same where few readings hold an edge
_MOST_READINGS = 1500  # that identify; more only take longer
# Fewer readings that hold an edge cannot tell power, window and delay apart: the posterior is a
# curve, and is laid out over the windows that the prior allows.
_FEW_EDGES = 8
_SIDES = (-1.9, -0.95, 0.0, 0.95, 1.9)  # of each parameter, in standard deviations


@dataclass(frozen=True)
class Weighted:
    """A response and how much of the posterior stands for it."""

    response: Response
    weight: float


@dataclass(frozen=True)
class Belief:
    """What is believed of a response after the readings were seen.

    Attributes
    ----------
    best : Response
        The likeliest, with the standard uncertainties of window and delay.
    points : tuple of Weighted
        The posterior, weights adding up to 1.
    drift : float
        Of the level, that goes with the best.
    held_out_w : dict
        Family to root mean square residual of readings that were left out of its fit, W.
    informative : bool
        Whether the readings said more than the prior.
    """

    best: Response
    points: tuple[Weighted, ...]
    drift: float
    held_out_w: dict[str, float]
    informative: bool


@dataclass(frozen=True)
class _Problem:
    """Readings and activity; how well a response explains them."""

    updates: Updates
    activity: _core.Activity
    weight: NDArray[np.float64]
    prior_w: float
    collapse: NDArray[np.float64] | None  # powers that make one class of many
    drifts: tuple[float, ...] = DRIFTS
    likelihoods: dict[float, Likelihood] = field(default_factory=dict)

    def design(self, response: Response) -> NDArray[np.float64]:
        if self.collapse is not None:
            x = filtered(self.activity, self.updates.t_ns, response)
            return np.asarray(x @ self.collapse)[:, None] / float(np.abs(self.collapse).max())
        return filtered_dense(self.activity, self.updates.t_ns, response)

    def log_likelihood(self, response: Response, drift: float) -> float:
        if drift not in self.likelihoods:
            u = self.updates
            made = Likelihood(u.value, self.weight, u.steps, drift, self.prior_w)
            self.likelihoods[drift] = made
        return self.likelihoods[drift].of(self.design(response))


def identify(
    updates: Updates,
    activity: _core.Activity,
    priors: tuple[ResponsePrior, ...],
    prior_w: float,
    weight: NDArray[np.float64] | None = None,
    collapse: NDArray[np.float64] | None = None,
    drifts: tuple[float, ...] = DRIFTS,
) -> Belief:
    """Posterior of the response.

    Parameters
    ----------
    updates : Updates
        Readings as published.
    activity : Activity
        When what ran.
    priors : tuple of ResponsePrior
        One for each family that may be; not empty.
    prior_w : float
        Standard deviation of each class's power before anything is read, W.
    weight : ndarray, optional
        Inverse variances of the readings up to a scale.
    collapse : ndarray, optional
        Powers (W) of the classes, where they are too many to be solved at every try.
    drifts : tuple of float
        What the level's drift may be (see `level`).
    """
    weight = np.ones(len(updates)) if weight is None else weight
    few, few_weight = _informative_part(updates, activity, priors, weight)
    problem = _Problem(few, activity, few_weight, prior_w, collapse, drifts)
    candidates: list[tuple[float, Response, float, ResponsePrior]] = []
    for prior in priors:
        candidates += _coarse(problem, prior)
    candidates.sort(key=lambda c: -c[0])
    spread: list[tuple[float, Response]] = []
    best: tuple[float, Response, float] | None = None
    few_edges = _edge_readings(problem, candidates[0][1]) < _FEW_EDGES
    starts = _distinct(candidates)
    if few_edges:
        starts = _along_windows(problem, candidates, spread)[:_MANY_MODES]
    for _, response, drift, prior in starts:
        points, drift = _refine(problem, prior, response, drift)
        spread += points
        top = max(points, key=lambda p: p[0])
        if best is None or top[0] > best[0]:
            best = (top[0], top[1], drift)
    assert best is not None
    return _belief(problem, priors, spread, best)


def _belief(
    problem: _Problem,
    priors: tuple[ResponsePrior, ...],
    spread: list[tuple[float, Response]],
    best: tuple[float, Response, float],
) -> Belief:
    logs = np.array([log for log, _ in spread])
    weights = np.exp(logs - logs.max())
    weights /= weights.sum()
    points = tuple(
        Weighted(r, float(w)) for (_, r), w in zip(spread, weights, strict=True) if w > 1e-4
    )
    total = sum(p.weight for p in points)
    points = tuple(Weighted(p.response, p.weight / total) for p in points)
    same = [p for p in points if p.response.family == best[1].family]
    share = np.array([p.weight for p in same]) / sum(p.weight for p in same)
    windows = np.array([p.response.window_s for p in same])
    delays = np.array([p.response.delay_s for p in same])
    sd_window, sd_delay = _spread(windows, share), _spread(delays, share)
    prior = next(p for p in priors if p.family == best[1].family)
    wide = (prior.delay_high_s - prior.delay_low_s) / np.sqrt(12)
    informative = sd_delay < 0.7 * wide or sd_window < 0.7 * prior.window_spread * prior.window_s
    left_out: dict[str, float] = {}
    for family in {r.family for _, r in spread}:
        top = max((p for p in spread if p[1].family == family), key=lambda p: p[0])[1]
        left_out[family] = held_out_residual(problem, top, best[2])
    response = Response(best[1].family, best[1].window_s, best[1].delay_s, sd_window, sd_delay)
    return Belief(response, points, best[2], left_out, bool(informative))


def _spread(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    mean = float(weights @ values)
    return float(np.sqrt(max(float(weights @ (values - mean) ** 2), 0.0)))


def _informative_part(
    updates: Updates,
    activity: _core.Activity,
    priors: tuple[ResponsePrior, ...],
    weight: NDArray[np.float64],
) -> tuple[Updates, NDArray[np.float64]]:
    """The contiguous stretch of readings in which activity changes most, if they are many."""
    n = len(updates)
    if n <= _MOST_READINGS:
        return updates, weight
    x = filtered(activity, updates.t_ns, priors[0].middle)
    changes = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(np.asarray(x.sum(axis=1)).ravel())))])
    starts = np.arange(0, n - _MOST_READINGS, max(1, _MOST_READINGS // 4))
    first = int(starts[np.argmax(changes[starts + _MOST_READINGS] - changes[starts])])
    part = slice(first, first + _MOST_READINGS)
    few = type(updates)(
        updates.t_ns[part], updates.value[part], updates.steps[part], updates.u_t_ns[part]
    )
    return few, weight[part]


def _coarse(
    problem: _Problem, prior: ResponsePrior
) -> list[tuple[float, Response, float, ResponsePrior]]:
    """Log posterior over a grid of window and delay, each with the best of a few drifts."""
    windows = [prior.window_s]
    if prior.family != "continuous" and prior.window_spread > 0:
        count = 7 if prior.window_spread < 0.5 else 13
        windows = list(prior.window_s * np.exp(np.linspace(-2, 2, count) * prior.window_spread))
    found = []
    coarse = [d for d in problem.drifts if d in _COARSE_DRIFTS]
    for window in windows:
        width = prior.delay_high_s - prior.delay_low_s
        step = max(0.0015, 0.18 * (window if prior.family != "rc" else 1.5 * window))
        for delay in np.linspace(
            prior.delay_low_s, prior.delay_high_s, int(np.clip(width / step, 1, 40)) + 1
        ):
            length = 0.0 if prior.family == "continuous" else float(window)
            response = Response(prior.family, length, float(delay))
            log, drift = max((problem.log_likelihood(response, d), d) for d in coarse)
            found.append((log + prior.log_density(response), response, drift, prior))
    return found


def _edge_readings(problem: _Problem, response: Response) -> int:
    """Readings that saw some of the work, but not all the time."""
    total = np.asarray(filtered(problem.activity, problem.updates.t_ns, response).sum(axis=1))
    return int(((total > 0.02) & (np.abs(total - np.round(total)) > 0.02)).sum())


def _each_window(
    candidates: list[tuple[float, Response, float, ResponsePrior]],
) -> list[tuple[float, Response, float, ResponsePrior]]:
    """The best two delays of every family and window."""
    found: dict[tuple[str, float], list[tuple[float, Response, float, ResponsePrior]]] = {}
    for candidate in candidates:  # best first
        response = candidate[1]
        same = found.setdefault((response.family, response.window_s), [])
        apart = [abs(c[1].delay_s - response.delay_s) > 0.4 * response.window_s for c in same]
        if len(same) < 2 and all(apart):
            same.append(candidate)
    return [c for same in found.values() for c in same]


def _along_windows(
    problem: _Problem,
    candidates: list[tuple[float, Response, float, ResponsePrior]],
    spread: list[tuple[float, Response]],
) -> list[tuple[float, Response, float, ResponsePrior]]:
    """Optimal delays of every window, best first; their posterior is added to ``spread``."""
    better = []
    for _, response, drift, prior in _each_window(candidates):
        points, drift = _refine(problem, prior, response, drift, fixed_window=True)
        # Each stands for the windows up to half way to its neighbours.
        room = float(np.log(max(4 * prior.window_spread / 6, 1e-3)))
        spread += [(log + room, r) for log, r in points]
        log, response = max(points, key=lambda p: p[0])
        better.append((log, response, drift, prior))
    return sorted(better, key=lambda c: -c[0])


def _distinct(
    candidates: list[tuple[float, Response, float, ResponsePrior]],
) -> list[tuple[float, Response, float, ResponsePrior]]:
    """The best of each neighbourhood (by where the middle of what is averaged lies)."""
    chosen: list[tuple[float, Response, float, ResponsePrior]] = []
    for candidate in candidates:
        response = candidate[1]
        if chosen and candidate[0] < chosen[0][0] - 60.0:
            break
        near = any(
            c[1].family == response.family
            and abs(c[1].lag_s - response.lag_s) < max(0.6 * response.window_s, 0.002)
            for c in chosen
        )
        if not near:
            chosen.append(candidate)
        if len(chosen) == _MODES:
            break
    return chosen


def _refine(
    problem: _Problem,
    prior: ResponsePrior,
    response: Response,
    drift: float,
    fixed_window: bool = False,
) -> tuple[list[tuple[float, Response]], float]:
    """The optimum near ``response`` and the posterior around it, on a grid."""
    from scipy.optimize import minimize

    fixed = fixed_window or prior.family == "continuous" or prior.window_spread == 0

    def at(v: NDArray[np.float64]) -> Response | None:
        window = response.window_s if fixed else prior.window_s * float(np.exp(v[1]))
        share = {"boxcar": 0.5, "rc": 1.0, "continuous": 0.0}[prior.family]
        if not 1e-4 < window < 20.0 and not fixed:
            return None
        return Response(prior.family, window, float(v[0]) - share * window)

    def log_posterior(v: NDArray[np.float64]) -> float:
        r = at(v)
        return -1e12 if r is None else problem.log_likelihood(r, drift) + prior.log_density(r)

    u = problem.updates
    start = np.array([response.lag_s, 0.0 if fixed else np.log(response.window_s / prior.window_s)])
    scale = np.array([max(0.2 * response.window_s, 0.001), 0.1])
    for _ in range(2):
        x = problem.design(at(start) or response)
        drift = best_drift(u.value, x, problem.weight, u.steps, problem.prior_w, problem.drifts)
        free = 1 if fixed else 2
        simplex = np.vstack([np.zeros(free), np.diag(scale[:free])])
        result = minimize(
            lambda v, rest=start[free:]: -log_posterior(np.concatenate([v, rest])),
            start[:free],
            method="Nelder-Mead",
            options={
                "initial_simplex": start[:free] + simplex,
                "xatol": 1e-6,
                "fatol": 0.01,
                "maxfev": 80,
            },
        )
        start = np.concatenate([result.x, start[free:]])
        scale = scale / 5
    top = log_posterior(start)
    window_s = start_response.window_s if (start_response := at(start)) else response.window_s

    def along(ridge: float) -> Callable[[NDArray[np.float64]], float]:
        return lambda v: log_posterior(_on_ridge(v, start, ridge, window_s, prior))

    # Where one edge of the work is all that was seen, its time fixes delay + window, or the delay
    # alone, and the window is free: the posterior is a ridge, and is followed along it.
    ridges = (0.0,) if fixed else (0.0, -0.5, 0.5)
    widths = [0.0 if fixed else _half_width(along(r), start, top, 1) for r in ridges]
    ridge = ridges[int(np.argmax(widths))]
    sides = [_half_width(log_posterior, start, top, 0), max(widths)]
    area = float(np.log(sides[0])) + (0.0 if fixed else float(np.log(sides[1])))
    points = []
    for a in _SIDES:
        for b in _SIDES if not fixed else (0.0,):
            v = start + np.array([a * sides[0], b * sides[1]])
            v = _on_ridge(v, start, ridge, window_s, prior)
            r = at(v)
            if r is not None:
                points.append((log_posterior(v) + area, r))
    return points, drift


def _on_ridge(
    v: NDArray[np.float64],
    start: NDArray[np.float64],
    ridge: float,
    window_s: float,
    prior: ResponsePrior,
) -> NDArray[np.float64]:
    """(lag, log window) moved so that the lag follows the window by ``ridge`` times its change.

    -0.5 keeps delay + window of a boxcar, 0.5 its delay; an RC's lag holds twice as much of it.
    """
    if ridge == 0.0:
        return v
    share = ridge if prior.family == "boxcar" else 2 * ridge
    return np.array([v[0] + share * window_s * (np.exp(v[1] - start[1]) - 1), v[1]])


def _half_width(
    log_posterior: Callable[[NDArray[np.float64]], float],
    middle: NDArray[np.float64],
    top: float,
    axis: int,
) -> float:
    """Where the posterior has fallen by one half (one standard deviation of a normal one)."""
    widths = []
    for sign in (-1.0, 1.0):
        low, high = 0.0, (1e-6 if axis == 0 else 1e-4)
        limit = 0.2 if axis == 0 else 2.0
        while high < limit:
            v = middle.copy()
            v[axis] += sign * high
            if top - log_posterior(v) > 0.5:
                break
            low, high = high, 2 * high
        for _ in range(4):
            half = (low + high) / 2
            v = middle.copy()
            v[axis] += sign * half
            if top - log_posterior(v) > 0.5:
                high = half
            else:
                low = half
        widths.append((low + high) / 2)
    return float(np.mean(widths))


def held_out_residual(problem: _Problem, response: Response, drift: float) -> float:
    """Root mean square of readings in time blocks that were left out of the fit, W."""
    z, _ = held_out(
        problem.updates, problem.design(response), problem.weight, drift, problem.prior_w
    )
    used = problem.weight > 0
    return float(np.sqrt(np.mean(z[used] ** 2)))


def held_out(
    updates: Updates,
    x: NDArray[np.float64],
    weight: NDArray[np.float64],
    drift: float,
    prior_w: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Residual of every reading when its time block is left out, and its predicted variance."""
    n = len(updates)
    blocks = min(10, n // 4)
    block = np.arange(n) * blocks // max(n, 1) if blocks > 1 else np.zeros(n, np.int64)
    residual, variance = np.zeros(n), np.ones(n)
    folds = max(min(5, blocks), 1)
    for fold in range(folds):
        left_out = block % folds == fold
        if left_out.all():
            break
        fit = fit_level(
            updates.value, x, np.where(left_out, 0.0, weight), updates.steps, drift, prior_w
        )
        lever = (x - fit.smooth)[left_out]
        residual[left_out] = fit.residual[left_out]
        variance[left_out] = (
            fit.sigma2 / np.maximum(weight[left_out], 1e-12)
            + fit.level_var[left_out]
            + np.einsum("ij,jk,ik->i", lever, fit.cov, lever)
        )
    return residual, variance
