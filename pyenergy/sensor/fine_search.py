# SPDX-License-Identifier: Apache-2.0
"""Every response that kernels' readings allow: a scan at the scale of kernels, not of windows.

Where work repeats, the likelihood over (delay, window) is many narrow peaks, a repetition apart.
So the whole prior is scanned in steps across which the filtered activity hardly changes, the best
peaks are climbed on a stretch of the readings, and all of them are handed on (`modes`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .class_powers import prior_precision
from .fine_table import LONG, Table
from .response import Response

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from .. import _core
    from .response import Family, ResponsePrior

    Floats = NDArray[np.float64]

__all__ = ["Found", "Stretch", "Where", "search"]

_KNOT_S = 0.1e-3  # of the table; shorter structure blurs in the scan alone
_GROWTH = 1.02  # of a knot's length over the one before it, in the tail of an RC
_MOST_ENTRIES = 24_000_000  # of the table: 96 MB, twice
_ALIKE = 0.95  # correlation of the filtered activity from one step of the scan to the next
_BUDGET_S = 2.0  # CPU seconds that a scan may take, about
_REACH = 2.5  # standard deviations of the window's prior
_MARGIN_S = 0.004  # beyond the prior's delays
_FEWEST_TRIED = 100  # responses, whatever they cost
_PEAKS = 80  # that are climbed, if the budget allows
_LEVEL_TERMS = 8  # cosines that stand for the level in the scan
_SURELY = 5  # peaks that are climbed whatever they promise
_STEPS = 40  # of a climb
_LOOKED_INTO = {"boxcar": 6, "rc": 1, "continuous": 6}  # peaks around which it is scanned finely
_GAIN = 2.0  # times the most that a climb has gained so far: no other is hoped to gain more
_BEHIND = 60.0  # log evidence below the best: the table's blur costs some of it


@dataclass(frozen=True)
class Where:
    """Responses of one family that may be, and how likely each is before anything is read."""

    family: Family
    windows_s: tuple[float, float]
    delays_s: tuple[float, float]
    log_density: Callable[[Response], float]

    @classmethod
    def of(cls, prior: ResponsePrior) -> Where:
        """All that a prior allows."""
        reach = math.exp(_REACH * prior.window_spread)
        window = 0.0 if prior.family == "continuous" else prior.window_s
        return cls(
            prior.family,
            (window / reach, window * reach),
            (prior.delay_low_s - _MARGIN_S, prior.delay_high_s + _MARGIN_S),
            prior.log_density,
        )

    @property
    def single(self) -> bool:
        """Whether there is nothing to search for."""
        return self.windows_s[0] == self.windows_s[1] and self.delays_s[0] == self.delays_s[1]


class Found(NamedTuple):
    """A response at a peak, its log evidence on the stretch that was searched, and its family."""

    log: float
    response: Response
    where: Where


@dataclass(frozen=True)
class Stretch:
    """Readings that are searched.

    Attributes
    ----------
    t_ns, value : ndarray, shape (n,)
    activity : Activity
    spread_w, mean_w, noise_w : float
        Of the classes' powers about their mean, of that mean, of a reading, W.
    """

    t_ns: NDArray[np.int64]
    value: Floats
    activity: _core.Activity
    spread_w: float
    mean_w: float
    noise_w: float


def search(stretch: Stretch, where: Where, known: float = -math.inf) -> list[Found]:
    """Peaks of the posterior, best first; not yet as sharp as all readings tell them.

    ``known``: the best log evidence of another family; what is far below it is left out.
    """
    if where.single:
        response = _response(where.family, where.windows_s[0], where.delays_s[0])
        return [Found(math.inf, response, where)]
    scan = _Scan(stretch, where)
    found: list[Found] = []
    gain = 0.0
    for value, start in scan.peaks():
        if len(found) >= _SURELY and value + _GAIN * gain < known - _BEHIND:
            break  # they come best first
        climbed = scan.climbed(start)
        gain, known = max(gain, climbed.log - value), max(known, climbed.log)
        found.append(climbed)
    # Between the scan's steps may lie a better one, beside those that are good.
    for near in sorted(found, key=lambda f: -f.log)[: _LOOKED_INTO[where.family]]:
        found += [scan.climbed(start) for start in scan.beside(near.response)]
    known = max(known, max(f.log for f in found))
    return sorted((f for f in found if f.log > known - _BEHIND), key=lambda f: -f.log)


class _Scan:
    def __init__(self, stretch: Stretch, where: Where) -> None:
        self.where = where
        n, p = len(stretch.t_ns), stretch.activity.classes
        self.boxcar = where.family != "rc"
        self.table = Table(stretch.activity, stretch.t_ns, _knots(where, n * p))
        phase = (np.arange(n) + 0.5) / n
        terms = min(_LEVEL_TERMS, max(n // 8, 1))
        cosines = np.cos(np.pi * phase[:, None] * np.arange(terms))
        self._basis = np.linalg.qr(cosines)[0].astype(np.float32)
        y = stretch.value - stretch.value.mean()
        y = y - self._basis @ (self._basis.T @ y)
        self._y = y.astype(np.float32)
        scale = stretch.noise_w
        self._unit = prior_precision(p, stretch.spread_w / scale, stretch.mean_w / scale)
        self._dof = max(n - terms, 1)
        self._each_s = 60e-6 + 2.0 * n * p * p / 8e9 + p**3 / 8e9
        # What a response costs besides: an RC is a sum over the table, or a step along it.
        knots = len(self.table.knots_s)
        self._one_s = 0.0 if self.boxcar else knots * n * p / 1e9
        self._along_s = 0.0 if self.boxcar else knots * (5e-6 + n * p / 5e8)
        middle = self.design(_response(where.family, where.windows_s[1], where.delays_s[0]))
        self._share = middle.sum(axis=0) / max(float(middle.sum()), 1e-9)
        self.step_s = self._steps()

    def design(self, response: Response) -> NDArray[np.float32]:
        if self.boxcar:
            window_s = max(response.window_s, 1e-6)
            return self.table.boxcar(response.delay_s, window_s)
        return self.table.lowpass(response.delay_s, response.window_s)

    def evidence(self, x: NDArray[np.float32]) -> float:
        """Log evidence of a design, up to a constant."""
        from scipy.linalg.lapack import dpotrf, dpotrs

        level = self._basis.T @ x
        gram = (x.T @ x - level.T @ level).astype(np.float64) + self._unit
        factor, info = dpotrf(gram, overwrite_a=1)
        if info != 0:
            return -math.inf
        beta = dpotrs(factor, (x.T @ self._y).astype(np.float64))[0]
        single = beta.astype(np.float32)
        rest = self._y - x @ single + self._basis @ (level @ single)
        quadratic = float(rest @ rest) + float(beta @ self._unit @ beta)
        log_det = 2 * float(np.log(np.diag(factor)).sum())
        return -0.5 * (self._dof * math.log(max(quadratic, 1e-6 * self._dof)) + log_det)

    def log(self, response: Response) -> float:
        return self.evidence(self.design(response)) + self.where.log_density(response)

    def _steps(self) -> float:
        """Delay across which the filtered activity stays nearly the same, s."""
        low, high = self.where.delays_s
        window_s = math.sqrt(self.where.windows_s[0] * self.where.windows_s[1])
        if high <= low:
            return _KNOT_S

        def seen(delay_s: float) -> NDArray[np.float32]:
            x = self.design(Response(self.where.family, window_s, delay_s))
            # What all classes have in common says when work began, not which kernel ran.
            x = x - np.outer(x.sum(axis=1), self._share)
            x = x - self._basis @ (self._basis.T @ x)
            return np.asarray(x / np.maximum(np.sqrt((x * x).sum(axis=0)), 1e-9))

        here = seen(low)
        step, knot = 0.0, float(self.table.knots_s[1] - self.table.knots_s[0])
        while step + knot < high - low:
            step = max(step * 1.25, step + knot)
            alike = (here * seen(min(low + step, high))).sum(axis=0)
            if float(alike @ self._share) < _ALIKE:
                break
        return max(step, knot)

    def grid(self) -> tuple[Floats, Floats]:
        """Delays and windows that are tried."""
        d_low, d_high = self.where.delays_s
        w_low, w_high = self.where.windows_s
        # An RC's tail blurs what its time constant would resolve.
        w_step = self.step_s * (1.0 if self.boxcar else 2.0)
        while True:
            step = self.step_s
            delays = np.linspace(d_low, d_high, 1 + math.ceil((d_high - d_low) / step - 1e-9))
            windows = np.linspace(w_low, w_high, 1 + math.ceil((w_high - w_low) / w_step - 1e-9))
            both = len(delays) * len(windows)
            cost_s = both * self._each_s + len(windows) * self._along_s
            if cost_s <= _BUDGET_S or both <= _FEWEST_TRIED:
                return delays, windows
            # A long window's own scale is its length.
            self.step_s, w_step = 1.1 * self.step_s, 1.1 * w_step

    def _values(self) -> tuple[Floats, Floats, Floats]:
        delays, windows = self.grid()
        values = np.full((len(delays), len(windows)), -np.inf)
        if self.boxcar:
            for i, delay in enumerate(delays):
                for j, window in enumerate(windows):
                    values[i, j] = self.log(_response(self.where.family, window, delay))
            return delays, windows, values
        knots = self.table.knots_s
        knot = float(knots[1] - knots[0])
        every = max(1, round(self.step_s / knot))
        first = int(np.searchsorted(knots, self.where.delays_s[1], side="right")) - 1
        delays = knots[: first + 1 : every]
        values = np.full((len(delays), len(windows)), -np.inf)
        for j, window in enumerate(windows):
            for delay, x in self.table.lowpasses(window, first, every):
                density = self.where.log_density(_response("rc", window, delay))
                values[round((delay - knots[0]) / knot) // every, j] = self.evidence(x) + density
        return delays, windows, values

    def peaks(self) -> Iterator[tuple[float, Response]]:
        """The best local maxima of the scan, best first, and how good they are."""
        delays, windows, values = self._values()
        peaks = _local_maxima(values)
        climbs = round(_BUDGET_S / (_STEPS * (self._each_s + self._one_s)))
        most = min(max(climbs, 2 * _SURELY), _PEAKS)
        order = np.argsort(-values[tuple(peaks.T)], kind="stable")[:most]
        self._window_step = float(windows[1] - windows[0]) if len(windows) > 1 else 0.0
        self._delay_step = float(delays[1] - delays[0]) if len(delays) > 1 else 0.0
        for i, j in peaks[order]:
            response = _response(self.where.family, float(windows[j]), float(delays[i]))
            yield float(values[i, j]), response

    def beside(self, peak: Response) -> list[Response]:
        """The best local maxima of a finer grid around a peak."""
        sides = np.linspace(-1.5, 1.5, 13)
        few = sides if self.boxcar else sides[::3]
        delays = peak.delay_s + (sides * self._delay_step if self._delay_step > 0 else np.zeros(1))
        windows = peak.window_s + (
            few * self._window_step if self._window_step > 0 else np.zeros(1)
        )
        low, high = self.where.windows_s
        windows = windows[(windows >= low) & (windows <= high)]
        delays = delays[(delays >= self.where.delays_s[0]) & (delays <= self.where.delays_s[1])]
        if len(delays) * len(windows) < 2:
            return []
        made = [[_response(self.where.family, w, d) for w in windows] for d in delays]
        values = np.array([[self.log(r) for r in row] for row in made])
        peaks = _local_maxima(values)
        order = np.argsort(-values[tuple(peaks.T)], kind="stable")[:3]
        return [made[i][j] for i, j in peaks[order]]

    def climbed(self, start: Response) -> Found:
        from scipy.optimize import minimize

        free = [i for i, s in enumerate((self._delay_step, self._window_step)) if s > 0]
        if not free:
            return Found(self.log(start), start, self.where)
        origin = np.array([start.lag_s, start.window_s])
        scale = 0.35 * np.array([self._delay_step, self._window_step])

        def response(v: Floats) -> Response | None:
            full = origin.copy()
            full[free] = v
            low, high = self.where.windows_s
            window = float(full[1])
            if window < 0.999 * low or window > 1.001 * high:
                return None
            lag = _response(self.where.family, window, 0.0).lag_s
            delay = float(full[0]) - lag
            if not self.where.delays_s[0] <= delay <= self.where.delays_s[1]:
                return None
            return _response(self.where.family, window, delay)

        def cost(v: Floats) -> float:
            r = response(v)
            return 1e12 if r is None else -self.log(r)

        base = origin[free]
        simplex = base + np.vstack([np.zeros(len(free)), np.diag(scale[free])])
        result = minimize(
            cost,
            base,
            method="Nelder-Mead",
            options={"initial_simplex": simplex, "xatol": 2e-6, "fatol": 0.02, "maxfev": _STEPS},
        )
        return Found(-float(result.fun), response(result.x) or start, self.where)


def _local_maxima(values: Floats) -> NDArray[np.int64]:
    """Where a grid is at least as high as all around, shape (k, 2)."""
    padded = np.pad(values, 1, constant_values=-np.inf)
    n, m = values.shape
    top = np.isfinite(values)
    for a in (0, 1, 2):
        for b in (0, 1, 2):
            top &= values >= padded[a : a + n, b : b + m]
    return np.argwhere(top)


def _tail(extent_s: float) -> Floats:
    """Ages beyond the delays, steps growing with age: an RC weighs what is old smoothly."""
    count = math.ceil(math.log(1 + extent_s * (_GROWTH - 1) / _KNOT_S) / math.log(_GROWTH))
    return np.asarray(_KNOT_S * (_GROWTH ** np.arange(1, count + 2) - 1) / (_GROWTH - 1))


def _response(family: Family, window_s: float, delay_s: float) -> Response:
    return Response(family, 0.0 if family == "continuous" else float(window_s), float(delay_s))


def _knots(where: Where, size: int) -> Floats:
    """Ages that the table needs: of the near edge and of the far edge of every window."""
    low, high = where.delays_s
    short, long = where.windows_s
    if where.family == "rc":
        tail = _tail(LONG * long)
        room = max(_MOST_ENTRIES / size - len(tail), 16.0)
        knot = max(_KNOT_S, (high - low) / room)
        near = low + knot * np.arange(math.ceil((high - low) / knot) + 2)
        return np.concatenate([near, near[-1] + tail])
    long = max(long, 1e-6)
    extent = (high - low) + min(high - low + long - short, long)
    knot = max(_KNOT_S, extent * size / _MOST_ENTRIES)
    near = low + knot * np.arange(math.ceil((high - low) / knot) + 2)
    begin = low + short
    if begin <= near[-1]:
        return np.asarray(
            low + knot * np.arange(math.ceil((high + long - low) / knot) + 2), np.float64
        )
    far = begin + knot * np.arange(math.ceil((high + long - begin) / knot) + 2)
    return np.concatenate([near, far])
