# SPDX-License-Identifier: Apache-2.0
"""The joint fit behind `regression`: powers of kernel classes, level and response.

Search (`fine_search`), votes and drift at the likeliest response, posterior around every peak
(`modes`), and the powers over all of it (law of total variance).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..sensor.activity_fit import MEDIAN_OF_SQUARES
from ..sensor.class_powers import Evidence, spreads
from ..sensor.fine_search import Found, Stretch, Where, search
from ..sensor.identify import Weighted
from ..sensor.level import DRIFTS, SHARED_DRIFTS
from ..sensor.modes import Weighed, posterior
from ..sensor.response import Response, filtered_dense
from ..units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from .. import _core
    from ..sensor.response import ResponsePrior
    from ..sensor.update_clock import Updates

    Floats = NDArray[np.float64]

__all__ = ["KernelFit", "fit_kernels", "given_response", "of_catalogue"]

_FIRST_DRIFT = 1e-4
_NOISE_W = 1.0  # of a reading, until the readings have said
_STRETCH = 700  # readings that are searched, or more for many classes
_MOST_READINGS = 4000  # that weigh the posterior; more only take longer
_FOLLOWED = {"boxcar": 16, "rc": 4, "continuous": 16}
_NO_WEIGHT = 1e-4
_ROUNDS = 3
_TRUST = 0.99  # that a response that was given is the sensor's


@dataclass(frozen=True)
class KernelFit:
    """What readings say of classes, level and response.

    Attributes
    ----------
    updates : Updates
    points : tuple of Weighted
        The response's posterior.
    response : Response
        The likeliest, with the standard uncertainties of window and delay.
    beta, cov : ndarray, shapes (p,) and (p, p)
        Powers above the level, W, over all points.
    design : ndarray, shape (n, p)
        Of the likeliest response.
    level, residual : ndarray, shape (n,)
        At each update, W.
    weight : ndarray, shape (n,)
        Votes of the readings: below 1 where nothing explains them.
    sigma2 : float
        Variance of a reading, W^2.
    drift : float
    contradicted : float
        Share of the posterior that the first place to look does not hold.
    """

    updates: Updates
    points: tuple[Weighted, ...]
    response: Response
    beta: Floats
    cov: Floats
    design: Floats
    level: Floats
    residual: Floats
    weight: Floats
    sigma2: float
    drift: float
    contradicted: float


def of_catalogue(prior: ResponsePrior, log_weight: float = 0.0) -> Where:
    """Where a prior of the catalogue looks, its density normalised."""
    log = log_weight - math.log(max(prior.delay_high_s - prior.delay_low_s, 1e-6))
    if prior.family != "continuous" and prior.window_spread > 0:
        log -= math.log(math.sqrt(2 * math.pi) * prior.window_spread * prior.window_s)
    return replace(Where.of(prior), log_density=lambda r: prior.log_density(r) + log)


def given_response(response: Response, u_clock_s: float) -> Where:
    """Where a response that somebody measured looks; ``u_clock_s`` adds to its delay's."""
    delay_u = math.hypot(response.delay_u_s, u_clock_s)
    window_u = response.window_u_s
    log = math.log(_TRUST)
    if delay_u == 0 and window_u == 0:
        windows, delays = (response.window_s,) * 2, (response.delay_s,) * 2
        return Where(response.family, windows, delays, lambda r: log)
    delay_u = max(delay_u, 1e-7)
    one_window = window_u == 0 or response.family == "continuous"
    log -= math.log(math.sqrt(2 * math.pi) * delay_u)
    log -= 0.0 if one_window else math.log(math.sqrt(2 * math.pi) * window_u)

    def density(r: Response) -> float:
        off = ((r.delay_s - response.delay_s) / delay_u) ** 2
        if not one_window:
            off += ((r.window_s - response.window_s) / window_u) ** 2
        return log - 0.5 * off

    low = response.window_s - 4 * window_u
    return Where(
        response.family,
        (max(low, 0.1 * response.window_s), response.window_s + 4 * window_u),
        (response.delay_s - 4 * delay_u, response.delay_s + 4 * delay_u),
        density,
    )


def fit_kernels(
    updates: Updates,
    activity: _core.Activity,
    where: Sequence[Where],
    limits_w: tuple[float, float],
    u_period_ns: float = 0.0,
) -> KernelFit:
    """Solve powers, level and response.

    Parameters
    ----------
    updates : Updates
        Readings as published.
    activity : Activity
        When what ran.
    where : sequence of Where
        Responses that may be; not empty.
    limits_w : (float, float)
        Bounds of the device's power, W, finite.
    u_period_ns : float
        Standard uncertainty of the update clock's period, ns.
    """
    spread = spreads(*limits_w)
    width = limits_w[1] - limits_w[0]
    found = _searched(updates, activity, where, float(spread[0]), width)
    part = _busiest(updates, activity, _MOST_READINGS)
    few = _part(updates, part)

    def evidence(u: Updates, weight: Floats, drift: float, noise_w: float) -> Evidence:
        return Evidence(u.value, weight, u.steps, drift, spread, width, noise_w)

    first = evidence(few, np.ones(len(few)), _FIRST_DRIFT, _NOISE_W)
    points = posterior(found[:1], activity, few.t_ns, first)
    best = max(points, key=lambda p: p.log).response
    drifts = DRIFTS if best.window_s <= 2 * _period_s(updates) else SHARED_DRIFTS
    x = filtered_dense(activity, updates.t_ns, best)
    weight, drift, noise_w = _votes(updates, x, drifts, evidence)
    points = posterior(found, activity, few.t_ns, evidence(few, weight[part], drift, noise_w))
    whole = evidence(updates, weight, drift, noise_w)
    share = _weighted(points)
    first_share = sum(
        w for p, w in zip(points, _shares(points), strict=True) if p.where is where[0]
    )
    fit = _mixed(updates, activity, share, whole, weight, 1 - first_share)
    return _tilted(fit, activity, whole, u_period_ns)


def _searched(
    updates: Updates,
    activity: _core.Activity,
    where: Sequence[Where],
    spread_w: float,
    mean_w: float,
) -> list[Found]:
    """Peaks of every family, best first."""
    part = _busiest(updates, activity, max(_STRETCH, 5 * activity.classes))
    few = _part(updates, part)
    stretch = Stretch(few.t_ns, few.value, activity, spread_w, mean_w, _NOISE_W)
    found: list[Found] = []
    for w in where:
        known = max((f.log for f in found if not f.where.single), default=-math.inf)
        found += search(stretch, w, known)[: _FOLLOWED[w.family]]
    return sorted(found, key=lambda f: -f.log)


def _votes(
    updates: Updates,
    x: Floats,
    drifts: Sequence[float],
    evidence: Callable[[Updates, Floats, float, float], Evidence],
) -> tuple[Floats, float, float]:
    """Weights that strange readings do not rule, the level's drift and the noise."""
    weight, noise_w, drift = np.ones(len(updates)), _NOISE_W, _FIRST_DRIFT
    for _ in range(_ROUNDS):
        tried = [evidence(updates, weight, d, noise_w) for d in drifts]
        best = max(tried, key=lambda e: e.log(x))
        drift = best.drift
        solved = best.solve(x)
        noise_w = math.sqrt(solved.sigma2)
        residual = updates.value - x @ solved.beta - best.level(x, solved.beta)
        scale = math.sqrt(float(np.median(residual**2)) / MEDIAN_OF_SQUARES)
        before = weight
        weight = 1 / np.maximum(np.abs(residual) / (4 * max(scale, 1e-6)), 1.0) ** 2
        if np.allclose(weight, before, rtol=0.05):
            break
    return weight, drift, noise_w


def _mixed(
    updates: Updates,
    activity: _core.Activity,
    points: tuple[Weighted, ...],
    evidence: Evidence,
    weight: Floats,
    contradicted: float,
) -> KernelFit:
    solved = [evidence.solve(filtered_dense(activity, updates.t_ns, p.response)) for p in points]
    share = np.array([p.weight for p in points])
    betas = np.array([s.beta for s in solved])
    beta = share @ betas
    apart = betas - beta
    cov = np.einsum("k,ki,kj->ij", share, apart, apart)
    for w, s in zip(share, solved, strict=True):
        cov = cov + w * s.cov
    top = int(np.argmax(share))
    best = points[top].response
    same = [p for p in points if p.response.family == best.family]
    mine = np.array([p.weight for p in same])
    mine = mine / mine.sum()
    x = filtered_dense(activity, updates.t_ns, best)
    level = evidence.level(x, beta)
    return KernelFit(
        updates,
        points,
        replace(
            best,
            window_u_s=_sd(np.array([p.response.window_s for p in same]), mine),
            delay_u_s=_sd(np.array([p.response.delay_s for p in same]), mine),
        ),
        beta,
        cov,
        x,
        level,
        updates.value - x @ beta - level,
        weight,
        float(share @ np.array([s.sigma2 for s in solved])),
        evidence.drift,
        contradicted,
    )


def _tilted(
    fit: KernelFit, activity: _core.Activity, evidence: Evidence, u_period_ns: float
) -> KernelFit:
    """With the update clock's period as one more unknown, known to its uncertainty before.

    Linear in it: a period that is off moves the first and last readings against the kernels.
    """
    if u_period_ns == 0:
        return fit
    t_ns = fit.updates.t_ns
    index = (t_ns - t_ns.mean()) / (_period_s(fit.updates) * NS_PER_S)
    moved = t_ns + np.round(index * u_period_ns).astype(np.int64)
    x = filtered_dense(activity, moved, fit.response)
    mean, variance, tilt = evidence.amount((x - fit.design) @ fit.beta, fit.design)
    beta = fit.beta + mean * tilt
    level = evidence.level(fit.design, beta)
    return replace(
        fit,
        beta=beta,
        cov=fit.cov + variance * np.outer(tilt, tilt),
        level=level,
        residual=fit.updates.value - fit.design @ beta - level,
    )


def _shares(points: Sequence[Weighed]) -> Floats:
    """Of the posterior, adding up to 1; what has next to none has none."""
    logs = np.array([p.log for p in points])
    share = np.exp(logs - logs.max())
    share[share < _NO_WEIGHT * share.sum()] = 0.0
    return np.asarray(share / share.sum())


def _weighted(points: Sequence[Weighed]) -> tuple[Weighted, ...]:
    shares = zip(points, _shares(points), strict=True)
    return tuple(Weighted(p.response, float(w)) for p, w in shares if w > 0)


def _sd(values: Floats, share: Floats) -> float:
    mean = float(share @ values)
    return math.sqrt(max(float(share @ (values - mean) ** 2), 0.0))


def _period_s(updates: Updates) -> float:
    gaps = np.diff(updates.t_ns) / np.maximum(updates.steps[1:], 1.0)
    return float(np.median(gaps)) / NS_PER_S


def _busiest(updates: Updates, activity: _core.Activity, most: int) -> slice:
    """A stretch of readings: that with most of its work's ups and downs."""
    n = len(updates)
    if n <= most:
        return slice(0, n)
    x = filtered_dense(activity, updates.t_ns, Response("boxcar", _period_s(updates), 0.0))
    change = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x, axis=0)).sum(axis=1)), [0.0]])
    change[-1] = change[-2]
    starts = np.arange(0, n - most + 1, max(1, most // 8))
    gained = change[starts + most] - change[starts]
    first = int(starts[np.argmax(gained >= 0.9 * gained.max())])  # the earliest of the good ones
    return slice(first, first + most)


def _part(updates: Updates, part: slice) -> Updates:
    return replace(
        updates,
        t_ns=updates.t_ns[part],
        value=updates.value[part],
        steps=updates.steps[part],
        u_t_ns=updates.u_t_ns[part],
    )
