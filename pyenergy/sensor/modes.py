# SPDX-License-Identifier: Apache-2.0
"""The posterior of a response around each of its peaks, from all readings."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .response import Response, filtered_dense

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .. import _core
    from .class_powers import Evidence
    from .fine_search import Found, Where

    Floats = NDArray[np.float64]

__all__ = ["Weighed", "posterior"]

_IMPOSSIBLE = -1e12
_HIGHER = 0.2  # log posterior, from which another point is worth a second climb
_APART = 1.2  # standard deviations between points of the posterior
_POINTS = [(a, b) for a in range(-3, 4) for b in range(-3, 4) if a * a + b * b <= 10]
_HALF = (0.35, 0.8)  # about one half: a peak of kernels' edges is no parabola nearer to its top
_NO_WEIGHT = 12.0  # log posterior below the best peak: less than 1e-5 of it
_FEW_WIDE = 3.0  # peaks nearer than so many standard deviations are one


class Weighed(NamedTuple):
    """A response and the log of its share of the posterior, up to a constant."""

    log: float
    response: Response
    where: Where  # that it was found in


def posterior(
    found: Sequence[Found],
    activity: _core.Activity,
    t_ns: NDArray[np.int64],
    evidence: Evidence,
) -> list[Weighed]:
    """Points of the posterior around every peak that counts.

    Parameters
    ----------
    found : sequence of Found
        Where to climb from.
    activity, t_ns, evidence
        What all readings see.
    """
    starts = [_Peak(f, activity, t_ns, evidence) for f in found]
    best = max(s.top for s in starts)
    peaks: list[_Peak] = []
    for start in sorted(starts, key=lambda s: -s.top):
        if any(p.near(start.v) for p in peaks):
            continue
        start.climb()
        best = max(best, start.top)
        if not any(p.near(start.v) for p in peaks):
            start.measure()
            if start.bettered():
                start.climb()
                start.measure()
            peaks.append(start)
    counted = [p for p in peaks if p.top > best - _NO_WEIGHT]
    return [point for peak in counted for point in peak.points()]


class _Peak:
    """Log posterior over (lag, window) near a start."""

    def __init__(
        self, found: Found, activity: _core.Activity, t_ns: NDArray[np.int64], evidence: Evidence
    ) -> None:
        self._activity, self._t_ns, self._evidence = activity, t_ns, evidence
        self.where = found.where
        self._window_s = found.response.window_s
        self.v = np.array([found.response.lag_s, found.response.window_s])
        one_window = self.where.windows_s[0] == self.where.windows_s[1]
        self.free = 0 if self.where.single else 1 if one_window else 2
        self.root = np.zeros((2, 2))  # of the covariance
        self.top = self.log(self.v)

    def response(self, v: Floats) -> Response | None:
        family, window = self.where.family, float(v[1])
        if self.free < 2:
            window = self._window_s
        elif window <= 1e-4 or window > 20.0:
            return None
        delay = float(v[0]) - Response(family, window).lag_s
        low, high = self.where.delays_s
        if self.free and not low <= delay <= high:
            return None
        return Response(family, window, delay)

    def log(self, v: Floats) -> float:
        r = self.response(v)
        if r is None:
            return _IMPOSSIBLE
        x = filtered_dense(self._activity, self._t_ns, r)
        return self._evidence.log(x) + self.where.log_density(r)

    def climb(self) -> None:
        from scipy.optimize import minimize

        if not self.free:
            return
        base, free = self.v.copy(), self.free
        simplex = base[:free] + np.vstack([np.zeros(free), 2e-5 * np.eye(free)])
        result = minimize(
            lambda v: -self.log(np.concatenate([v, base[free:]])),
            base[:free],
            method="Nelder-Mead",
            options={"initial_simplex": simplex, "xatol": 1e-7, "fatol": 0.02, "maxfev": 45},
        )
        self.v = np.concatenate([result.x, base[free:]])
        self.top = -float(result.fun)

    def measure(self) -> None:
        """The shape of the peak, from how fast it falls."""
        if not self.free:
            return
        steps = [self._fall(axis) for axis in range(self.free)]
        if self.free == 1:
            self.root[0, 0] = steps[0]
            return
        both = np.array(steps)
        here = self.v
        plus, minus = self.log(here + both), self.log(here - both)
        # With each axis in its own standard deviations: f = top - (a^2 + 2 c a b + b^2) / 2.
        c = float(np.clip((2 * self.top - plus - minus) / 2 - 1.0, -0.98, 0.98))
        inside = np.linalg.inv(np.array([[1.0, c], [c, 1.0]]))
        self.root = both[:, None] * np.linalg.cholesky(inside)

    def _fall(self, axis: int) -> float:
        """Distance at which the posterior has fallen by one half."""
        step = 1e-5
        for _ in range(16):
            move = np.zeros(2)
            move[axis] = step
            fall = self.top - (self.log(self.v + move) + self.log(self.v - move)) / 2
            if _HALF[0] <= fall <= _HALF[1] or (fall < _HALF[0] and step > 0.3):
                break
            step *= float(np.clip(np.sqrt(0.5 / max(fall, 1e-3)), 0.2, 5.0))
        return step

    def near(self, v: Floats) -> bool:
        """Whether a response is on this peak."""
        apart = v - self.v
        if not self.free:
            return bool(np.all(apart == 0))
        sd = np.maximum(np.sqrt((self.root**2).sum(axis=1)), 1e-6)
        return bool(np.all(np.abs(apart)[: self.free] < _FEW_WIDE * sd[: self.free]))

    def bettered(self) -> bool:
        """Moves to a point of the grid that is higher than the peak, if there is one."""
        if not self.free:
            return False
        best = max(self.points(), key=lambda p: p.log)
        v = np.array([best.response.lag_s, best.response.window_s])
        if (log := self.log(v)) <= self.top + _HIGHER:
            return False
        self.v, self.top = v, log
        return True

    def points(self) -> list[Weighed]:
        """Of a grid along the peak's axes, each for the area around it."""
        if not self.free:
            response = self.response(self.v)
            assert response is not None
            return [Weighed(self.top, response, self.where)]
        sides = np.diag(self.root)[: self.free]
        area = float(np.log(sides * _APART).sum())
        found = []
        for a, b in _POINTS:
            if self.free == 1 and b != 0:
                continue
            v = self.v + self.root @ (_APART * np.array([a, b]))
            if (r := self.response(v)) is not None:
                log = self.log(v) if (a, b) != (0, 0) else self.top
                found.append(Weighed(log + area, r, self.where))
        return found
