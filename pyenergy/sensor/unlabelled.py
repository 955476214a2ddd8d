# SPDX-License-Identifier: Apache-2.0
"""A trace whose work nobody labelled: the trace itself is the one class of activity.

A label promises work that fills it and is the same throughout. A trace promises neither, so its
energy carries what that may cost. The standard uncertainty gets, beyond `estimate`,

unseen      a part-time sensor looks at a share c of each period T: ``(1 - c) T s`` a period, s the
            spread between neighbouring readings of the trace (`unseen.pooled_variance`)
own edges   the work may begin after the trace does, and end before it: the root mean square of
            both times, given the readings (`idle_edges_s`), times the class's power
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

# A host that has entered the trace launches within milliseconds (Python, tokenising): the prior of
# how long the device still idles is exponential with this mean. Readings that say more are heard.
_USUAL_IDLE_S = 0.005
_IDLE_MS = (0.0, 0.5, 1, 2, 4, 6, 9, 13, 18, 25, 35, 50, 70, 100, 140, 200, 280, 400)
_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the idle time that another delay may explain
_POINTS = 5  # of the response's posterior
_BELOW_S = 0.004  # as soft as the prior's own lower end


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
        self.idle_s = idle_edges_s(fitted, response)
        self._delay_u_s = self._delay_spread()
        self._unseen = self._build_unseen(bounds_ns)

    def _delay_spread(self) -> float:
        points = self._fitted.belief.points
        weight = np.array([p.weight for p in points])
        lag = np.array([p.response.lag_s for p in points])
        mean = float(weight @ lag) / float(weight.sum())
        return math.sqrt(float(weight @ (lag - mean) ** 2) / float(weight.sum()))

    def _build_unseen(self, bounds_ns: tuple[int, int]) -> _core.EnergyCurve | None:
        period_s, window_s = self._period_s, self._response.reach_s - self._response.delay_s
        unseen_s = max(period_s - window_s, 0.0)
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
        found = np.zeros(len(starts))
        for t in (starts, ends):
            for own, idle_s in zip((self.start_ns, self.end_ns), self.idle_s, strict=True):
                # An edge inside the idle time would cut off only a part of it.
                missed_s = np.maximum(idle_s - np.abs(t - own) / NS_PER_S, 0.0)
                found += (self.swing_w * np.minimum(missed_s, duration_s)) ** 2
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
        tau_s = max(self._period_s, self._response.reach_s - self._response.delay_s)
        hidden = hidden_swing(around.mean(axis=0) + running, self._limits, tau_s)
        return np.asarray(hidden + (self._delay_u_s * np.ptp(around, axis=0)) ** 2)


def idle_edges_s(fitted: ActivityFit, response: Response) -> tuple[float, float]:
    """Root mean square of the idle time after the trace's start, and before its end, s.

    A reading shows when the work began plus the delay of the sensor; both edges share the delay,
    so that the readings limit how much less than the trace the work lasted, whatever the delay is
    (profile likelihood over the delay).
    """
    spans, u = fitted.spans, fitted.updates
    start, end = int(spans.starts_ns[0]), int(spans.ends_ns[0])
    half = (end - start) / 2
    idle_ns = np.array([m * NS_PER_MS for m in _IDLE_MS if m * NS_PER_MS < half]).astype(np.int64)
    likelihood = Likelihood(
        u.value, fitted.weight, u.steps, fitted.belief.drift, fitted.high_w - fitted.low_w
    )
    delays = _delays(fitted, response)
    lowest = min(p.delay_low_s for p in fitted.prior.responses) - _BELOW_S
    # The prior of a grid that grows: what each point stands for.
    log_prior = np.log(np.gradient(idle_ns.astype(float))) if len(idle_ns) > 1 else np.zeros(1)
    log_prior = log_prior - idle_ns / NS_PER_S / _USUAL_IDLE_S

    def best(idle: int, at_start: bool) -> float:
        tried = (
            replace(response, delay_s=d - share * idle / NS_PER_S)
            for d in delays
            for share in (_SHARES if idle else (0.0,))
        )
        signed = idle if at_start else -idle
        return max(
            (
                likelihood.of(_seen(fitted, start, end, signed, r))
                for r in tried
                if r.delay_s >= lowest
            ),
            default=-math.inf,
        )

    found = []
    for at_start in (True, False):
        logs = np.array([best(i, at_start) for i in idle_ns.tolist()]) + log_prior
        share = np.exp(logs - logs.max())
        found.append(math.sqrt(float(share @ (idle_ns / NS_PER_S) ** 2) / float(share.sum())))
    return found[0], found[1]


def _delays(fitted: ActivityFit, response: Response) -> list[float]:
    """The likeliest delays of the likeliest window, s."""
    points = sorted(fitted.belief.points, key=lambda p: -p.weight)[:_POINTS]
    lag = [p.response.lag_s for p in points if p.response.family == response.family]
    return [response.delay_s, *(at - response.lag_s + response.delay_s for at in lag)]


def _seen(
    fitted: ActivityFit, start: int, end: int, idle: int, response: Response
) -> NDArray[np.float64]:
    """What readings see of work that idles after the start (or, negative, before the end)."""
    activity = _core.Activity(
        np.array([start + max(idle, 0)], np.int64),
        np.array([end + min(idle, 0)], np.int64),
        np.zeros(1, np.int32),
        1,
    )
    return filtered_dense(activity, fitted.updates.t_ns, response)
