# SPDX-License-Identifier: Apache-2.0
"""A trace whose work nobody labelled: the trace itself is the one class of activity.

A label promises work that fills it and is the same throughout. A trace promises neither, so its
energy carries what that may cost. The standard uncertainty gets, beyond `estimate`,

unseen      a part-time sensor looks at a share c of each period T: ``(1 - c) T s`` a period, s the
            spread between neighbouring readings of the trace (`unseen.pooled_variance`)
own edges   the work may begin after the trace does, and end before it: the root mean square of
            that time, given the readings (`idle_inside_s`), times the class's power
structure   at any other edge: what the reading averages away (`unseen.hidden_swing`), and the
            response's delay times the swing of the readings around it
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from .. import _core
from ..units import NS_PER_MS, NS_PER_S
from .level import Likelihood
from .response import filtered_dense
from .unseen import hidden_swing, pooled_variance

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .activity_fit import ActivityFit
    from .response import Response

__all__ = ["Unlabelled"]

# A host that has entered the trace mostly launches within some milliseconds (Python, tokenising),
# now and then much later: half-Cauchy with this scale. Readings that say more are heard.
_USUAL_IDLE_S = 0.01
_IDLE_MS = (0.0, 0.5, 1, 2, 4, 6, 9, 13, 18, 25, 35, 50, 70, 100, 140, 200, 280, 400)
_ALONE_S = 0.01  # one edge alone, whose time the delay may explain: a few of the usual
_NEVER = 1e12


class Unlabelled:
    """Variances that windows of an unlabelled trace have beyond those of labelled work.

    Parameters
    ----------
    fitted : ActivityFit
        With the trace as its only class.
    response : Response
        The likeliest.
    bounds_ns : (int, int)
        The time to cover.
    """

    def __init__(self, fitted: ActivityFit, response: Response, bounds_ns: tuple[int, int]) -> None:
        self._fitted, self._response = fitted, response
        spans, u = fitted.spans, fitted.updates
        self.start_ns, self.end_ns = int(spans.starts_ns[0]), int(spans.ends_ns[0])
        self._limits = fitted.low_w, fitted.high_w
        self._period_s = fitted.clock.period_s
        centre = u.t_ns - round(response.lag_s * NS_PER_S)
        total = u.value - fitted.design(response) @ fitted.beta
        self._centre, self._level = centre, total
        self.swing_w = float(abs(fitted.beta[0]))
        self.idle_s = idle_inside_s(fitted, response)
        self._delay_u_s = self._delay_spread()
        self._unseen = self._build_unseen(bounds_ns)

    def _delay_spread(self) -> float:
        points = self._fitted.belief.points
        weight = np.array([p.weight for p in points])
        lag = np.array([p.response.lag_s for p in points])
        mean = float(weight @ lag) / float(weight.sum())
        return math.sqrt(float(weight @ (lag - mean) ** 2) / float(weight.sum()))

    def _build_unseen(self, bounds_ns: tuple[int, int]) -> _core.EnergyCurve | None:
        period_s = self._period_s
        unseen_s = max(period_s - self._response.looks_s, 0.0)
        inside = (self._centre >= self.start_ns) & (self._centre <= self.end_ns)
        if unseen_s == 0.0:
            return None
        centre, value = self._centre[inside], self._level[inside]
        if len(centre) == 0:
            centre, value = np.array([self.start_ns], np.int64), np.array([self._level.mean()])
        grid, variance = pooled_variance(
            centre, centre, value, round(period_s * NS_PER_S), self._limits, bounds_ns
        )
        return _core.EnergyCurve(grid, unseen_s**2 / period_s * variance)

    def inside(
        self, starts: NDArray[np.int64], ends: NDArray[np.int64], threads: int = 0
    ) -> NDArray[np.float64]:
        """Variance of what the sensor did not look at, J^2."""
        if self._unseen is None:
            return np.zeros(len(starts))
        return np.asarray(self._unseen.windows(starts, ends, threads))

    def edges(self, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.float64]:
        """Variance of both edges, J^2: never more than any power over the window."""
        duration_s = (ends - starts) / NS_PER_S
        # How much of the idle time at either end the window may hold.
        alone_s = max(self.idle_s, _ALONE_S)
        head = np.clip(alone_s - np.abs(starts - self.start_ns) / NS_PER_S, 0.0, duration_s)
        tail = np.clip(alone_s - np.abs(ends - self.end_ns) / NS_PER_S, 0.0, duration_s)
        whole = (starts <= self.start_ns) & (ends >= self.end_ns)
        idle_s = np.where(whole, self.idle_s, np.hypot(head, tail))
        found = (self.swing_w * idle_s) ** 2
        for t in (starts, ends):
            inner = (t > self.start_ns) & (t < self.end_ns)
            found += np.where(inner, self._structure(t), 0.0)
        bound = ((self._limits[1] - self._limits[0]) * duration_s) ** 2 / 3
        return np.asarray(np.minimum(found, bound))

    def _structure(self, t: NDArray[np.int64]) -> NDArray[np.float64]:
        n = len(self._centre)
        k = np.searchsorted(self._centre, t).clip(0, n - 1)
        around = self._level[
            np.stack([(k - 2).clip(0), (k - 1).clip(0), k, (k + 1).clip(0, n - 1)])
        ]
        running = np.where(
            (t > self.start_ns) & (t < self.end_ns), float(self._fitted.beta[0]), 0.0
        )
        tau_s = max(self._period_s, self._response.looks_s)
        hidden = hidden_swing(around.mean(axis=0) + running, self._limits, tau_s)
        return np.asarray(hidden + (self._delay_u_s * np.ptp(around, axis=0)) ** 2)


def idle_inside_s(fitted: ActivityFit, response: Response) -> float:
    """Root mean square of the time by which the work was shorter than the trace, s.

    Readings show when the work began plus the sensor's delay, and when it ended plus the same
    delay: they limit how long the device idled inside the trace whatever the delay is. For each
    such time the likeliest delay and window are sought (profile likelihood).
    """
    from scipy.optimize import minimize

    spans, u = fitted.spans, fitted.updates
    start, end = int(spans.starts_ns[0]), int(spans.ends_ns[0])
    idle_ns = np.array([m * NS_PER_MS for m in _IDLE_MS if m * NS_PER_MS < (end - start) / 2])
    likelihood = Likelihood(
        u.value, fitted.weight, u.steps, fitted.belief.drift, fitted.high_w - fitted.low_w
    )
    prior = next(p for p in fitted.priors() if p.family == response.family)
    fixed = prior.family == "continuous" or prior.window_spread == 0

    def lost(v: NDArray[np.float64], idle: int) -> float:
        window_s = response.window_s if fixed else prior.window_s * math.exp(float(v[1]))
        if not 1e-4 < window_s < 20.0 and not fixed:
            return _NEVER
        r = replace(response, window_s=window_s, delay_s=float(v[0]))
        seen = filtered_dense(_shorter(start, end - idle), u.t_ns, r)
        return -likelihood.of(seen) - prior.log_density(r)

    usual = 0.0 if fixed else math.log(response.window_s / prior.window_s)
    found, last = [], np.array([response.delay_s, usual])
    for idle in idle_ns.astype(np.int64).tolist():
        late = np.array([response.delay_s - idle / NS_PER_S, usual])
        near = [last, late, (last + late) / 2, np.array([last[0], 0.0]), np.array([late[0], 0.0])]
        first = min(near, key=lambda v: lost(v, idle))
        simplex = first + np.array([[0.0, 0.0], [0.002, 0.0], [0.0, 0.05]])
        result = minimize(
            lost, first, (idle,), "Nelder-Mead",
            options={"initial_simplex": simplex, "xatol": 1e-6, "fatol": 0.05, "maxfev": 60},
        )  # fmt: skip
        last = result.x
        found.append(-float(result.fun))
    # The prior of a grid that grows: what each point stands for, and a half-Cauchy.
    idle_s = idle_ns / NS_PER_S
    room = np.gradient(idle_s) if len(idle_s) > 1 else np.ones(1)
    share = np.exp(np.array(found) - max(found)) * room / (1 + (idle_s / _USUAL_IDLE_S) ** 2)
    return math.sqrt(float(share @ idle_s**2) / float(share.sum()))


def _shorter(start: int, end: int) -> _core.Activity:
    times = np.array([start], np.int64), np.array([end], np.int64)
    return _core.Activity(*times, np.zeros(1, np.int32), 1)
