# SPDX-License-Identifier: Apache-2.0
"""The second step of `identify`: the optimum near a response, and the posterior around it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .level import best_drift
from .response import Response

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from .coarse_search import Candidate
    from .explain import Problem

    Floats = NDArray[np.float64]

__all__ = ["Point", "refine"]

_SIDES = (-1.9, -0.95, 0.0, 0.95, 1.9)  # of each parameter, in standard deviations
_IMPOSSIBLE = -1e12  # log posterior
_LAG, _WINDOW = 0, 1  # the parameters: lag in s, and log of the window over the prior's
_SHORTEST = (1e-6, 1e-4)  # half-widths, by parameter
_LONGEST = (0.2, 2.0)
# A narrow optimum is one of which the readings tell more, not one that is less likely: beside a
# broad one (a delay that hardly matters) it counts as if it were that wide.
_LEAST_S = 1e-3


class Point(NamedTuple):
    """A response and the log of its share of the posterior, up to a constant."""

    log: float
    response: Response


def refine(
    problem: Problem, near: Candidate, fixed_window: bool = False
) -> tuple[list[Point], float]:
    """The posterior on a grid around the optimum near a candidate, and the drift there."""
    local = _Local(problem, near, fixed_window)
    peak = local.climbed()
    return local.grid_around(peak), local.drift


class _Local:
    """Log posterior of one family over (lag, log window) near a candidate.

    The lag rather than the delay: readings tell the middle of what is averaged best of all, and
    little of it depends on the window.
    """

    def __init__(self, problem: Problem, near: Candidate, fixed_window: bool) -> None:
        self.problem, self.prior = problem, near.prior
        self.near, self.drift = near.response, near.drift
        one_window = self.prior.family == "continuous" or self.prior.window_spread == 0
        self.fixed = fixed_window or one_window

    def response(self, v: Floats) -> Response | None:
        """None: it cannot be."""
        family = self.prior.family
        window = self.near.window_s
        if not self.fixed:
            window = self.prior.window_s * float(np.exp(v[_WINDOW]))
            if not (1e-4 < window < 20.0 and self.prior.allows(window)):
                return None
        return Response(family, window, float(v[_LAG]) - Response(family, window).lag_s)

    def log(self, v: Floats) -> float:
        r = self.response(v)
        if r is None:
            return _IMPOSSIBLE
        return self.problem.log_likelihood(r, self.drift) + self.prior.log_density(r)

    def climbed(self) -> Floats:
        """The optimum; twice, as it decides the drift and the drift decides it."""
        from scipy.optimize import minimize

        problem, u = self.problem, self.problem.updates
        window_s = self.near.window_s
        top = np.array(
            [self.near.lag_s, 0.0 if self.fixed else np.log(window_s / self.prior.window_s)]
        )
        scale = np.array([max(0.2 * window_s, 0.001), 0.1])
        free = 1 if self.fixed else 2
        for _ in range(2):
            x = problem.design(self.response(top) or self.near)
            self.drift = best_drift(
                u.value, x, problem.weight, u.steps, problem.prior_w, problem.drifts
            )
            simplex = top[:free] + np.vstack([np.zeros(free), np.diag(scale[:free])])
            result = minimize(
                lambda v, rest=top[free:]: -self.log(np.concatenate([v, rest])),
                top[:free],
                method="Nelder-Mead",
                options={"initial_simplex": simplex, "xatol": 1e-6, "fatol": 0.01, "maxfev": 80},
            )
            top = np.concatenate([result.x, top[free:]])
            scale = scale / 5
        return top

    def grid_around(self, peak: Floats) -> list[Point]:
        """Points in standard deviations of each parameter, each for the area around it."""
        # Where one edge of the work is all that was seen, its time fixes delay + window, or the
        # delay alone, and the window is free: the posterior is a ridge, and is followed along it.
        ridges = (0.0,) if self.fixed else (0.0, -0.5, 0.5)
        top = self.log(peak)
        widths = [
            0.0 if self.fixed else _half_width(self._along(peak, r), peak, top, _WINDOW)
            for r in ridges
        ]
        ridge = ridges[int(np.argmax(widths))]
        sides = [_half_width(self.log, peak, top, _LAG), max(widths)]
        area = float(np.log(max(sides[0], _LEAST_S)))
        area += 0.0 if self.fixed else float(np.log(sides[1]))
        points = []
        for a in _SIDES:
            for b in _SIDES if not self.fixed else (0.0,):
                v = self._on_ridge(peak + np.array([a * sides[0], b * sides[1]]), peak, ridge)
                if (r := self.response(v)) is not None:
                    points.append(Point(self.log(v) + area, r))
        return points

    def _along(self, peak: Floats, ridge: float) -> Callable[[Floats], float]:
        return lambda v: self.log(self._on_ridge(v, peak, ridge))

    def _on_ridge(self, v: Floats, peak: Floats, ridge: float) -> Floats:
        """Moved so that the lag follows the window by ``ridge`` times its change.

        -0.5 keeps delay + window of a boxcar, 0.5 its delay; an RC's lag holds twice as much of it.
        """
        if ridge == 0.0:
            return v
        share = ridge if self.prior.family == "boxcar" else 2 * ridge
        window_s = (self.response(peak) or self.near).window_s
        moved_s = share * window_s * (np.exp(v[_WINDOW] - peak[_WINDOW]) - 1)
        return np.array([v[_LAG] + moved_s, v[_WINDOW]])


def _half_width(log: Callable[[Floats], float], middle: Floats, top: float, axis: int) -> float:
    """Where the posterior has fallen by one half (one standard deviation of a normal one)."""

    def below(distance: float) -> bool:
        v = middle.copy()
        v[axis] += distance
        return top - log(v) > 0.5

    widths = []
    for sign in (-1.0, 1.0):
        low, high = 0.0, _SHORTEST[axis]
        while high < _LONGEST[axis] and not below(sign * high):
            low, high = high, 2 * high
        for _ in range(4):
            half = (low + high) / 2
            if below(sign * half):
                high = half
            else:
                low = half
        widths.append((low + high) / 2)
    return float(np.mean(widths))
