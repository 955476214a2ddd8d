# SPDX-License-Identifier: Apache-2.0
"""What an energy counter integrates, told from its increments.

It is not documented: the true power, or the update period times each sampled reading. Totals cannot
tell; increments can. The sum of the readings predicts a counter of the second kind to its last
digit, whatever ran, in one of a few conventions: with the newest reading or without it, as
rectangles or trapezoids. One of the first kind follows the work, a delay before it is published.
What follows neither is not believed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..units import NS_PER_S
from .estimate import ActivityModel
from .update_clock import fit_clock, updates_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..recording.series import Runs
    from .uncertainty import PowerModel

    Floats = NDArray[np.float64]
    Times = NDArray[np.int64]

__all__ = ["FEWEST_UPDATES", "Hypothesis", "Kind", "told"]

FEWEST_UPDATES = 10
_SHARP = 0.003  # a counter that adds up readings follows them this closely, relative to one
_LAGS = (-0.5, 0.5, 1.5)  # periods by which a sum of readings is late: with the newest, or without
_LONGEST_S = 0.03  # a counter may be late by that much, or by what the power reading may
_STEP_S = 0.002
_MOST = 5000  # increments that tell a delay
_FOREIGN = 4.0  # root mean square of increments' misses, over what is expected of them

Hypothesis = Literal["truth", "sensor", "undecided", "neither"]


@dataclass(frozen=True)
class Kind:
    """What a counter integrates, and how late it is published.

    Attributes
    ----------
    hypothesis : {"truth", "sensor", "undecided", "neither"}
    delay_s, delay_u_s : float
        Of a counter that follows the work, and its standard uncertainty.
    """

    hypothesis: Hypothesis
    delay_s: float = 0.0
    delay_u_s: float = 0.0


def told(
    t: Times,
    steps: Floats,
    whole: NDArray[np.bool_],
    power: Runs,
    model: ActivityModel | PowerModel,
    edge_u_s: float,
) -> Kind:
    """Tell it.

    Parameters
    ----------
    t : ndarray of int64, shape (n + 1,)
        Updates of the counter, ns.
    steps : ndarray, shape (n,)
        Increments between them, J.
    whole : ndarray of bool, shape (n,)
        Which of them lost nothing.
    power : Runs
        The readings.
    model : ActivityModel or PowerModel
        What the readings say.
    edge_u_s : float
        Standard uncertainty of an update's time, s.
    """
    sums = _added_up(power, t)
    if sums is None:
        return Kind("undecided")
    if int(whole.sum()) < FEWEST_UPDATES:
        return Kind("undecided")
    steps_used = steps[whole]
    typical = float(np.median(np.abs(steps_used)))
    by_sensor = min(_miss(steps_used - added[whole]) for added in sums)
    work = _Work(t, steps, whole, model)
    delay_s, delay_u_s = work.delay() if isinstance(model, ActivityModel) else (0.0, 0.0)
    by_truth = _miss(work.residual(delay_s))
    follows = by_sensor < max(_SHARP * typical, 0.1 * by_truth)
    if follows and by_truth >= 3 * by_sensor + _SHARP * typical:
        return Kind("sensor")
    if isinstance(model, ActivityModel) and work.is_foreign(delay_s, delay_u_s, edge_u_s):
        return Kind("sensor" if follows else "neither")
    return Kind("undecided" if follows else "truth", delay_s, delay_u_s)


def _miss(off: Floats) -> float:
    """Root mean square, trimmed: an update that falls on the edge moves two increments."""
    off = np.sort(np.abs(off))
    return float(np.sqrt(np.mean(off[: max(1, int(0.9 * len(off)))] ** 2)))


def _added_up(power: Runs, t: Times) -> list[Floats] | None:
    """Update period times the readings of each increment, by convention; None without a clock."""
    clock = fit_clock(power)
    if clock is None:
        return None
    updates = updates_of(power, clock)
    period_s = np.diff(updates.t_ns, prepend=updates.t_ns[:1]) / NS_PER_S
    if len(period_s) > 1:
        period_s[0] = np.median(period_s[1:])
    middle = (updates.value + np.append(updates.value[:1], updates.value[:-1])) / 2
    found = []
    for value in (updates.value, middle):
        total = np.concatenate([[0.0], np.cumsum(value * period_s)])
        for lag in (0.0, *_LAGS):
            at = t - round(lag * clock.period_ns)
            found.append(np.diff(total[np.searchsorted(updates.t_ns, at, side="right")]))
    return found


class _Work:
    """Increments beside the model's energy, some time before."""

    def __init__(
        self,
        t: Times,
        steps: Floats,
        whole: NDArray[np.bool_],
        model: ActivityModel | PowerModel,
    ) -> None:
        responses = model.prior.responses
        self.longest_s = max([_LONGEST_S, *(r.delay_high_s for r in responses)])
        reach = round(self.longest_s * NS_PER_S)
        self._model, self._curves = model, model.energy_curves()
        used = whole & (t[:-1] - reach >= model.start_ns) if whole.sum() > 2 else whole
        rows = np.flatnonzero(used if int(used.sum()) >= FEWEST_UPDATES else whole)[:_MOST]
        self._start, self._end, self._steps = t[rows], t[rows + 1], steps[rows]

    def modelled(self, delay_s: float) -> Floats:
        shift = round(delay_s * NS_PER_S)
        low = self._model.start_ns
        a, b = np.maximum(self._start - shift, low), np.maximum(self._end - shift, low)
        total = np.zeros(len(a))
        for curve in self._curves:
            total = total + curve.windows(a, b)
        return total

    def residual(self, delay_s: float) -> Floats:
        """Increments less what the model has of them, its gain free."""
        modelled = self.modelled(delay_s)
        all_j = float(modelled.sum())
        scale = float(self._steps.sum()) / all_j if all_j > 0 else 1.0
        return np.asarray(self._steps - scale * modelled)

    def delay(self) -> tuple[float, float]:
        """(how late the counter is, standard uncertainty), s."""
        from scipy.optimize import minimize_scalar

        grid = np.arange(0.0, self.longest_s + _STEP_S / 2, _STEP_S)
        misses = [_miss(self.residual(d)) for d in grid]
        near = float(grid[int(np.argmin(misses))])
        low, high = max(near - _STEP_S, 0.0), min(near + _STEP_S, self.longest_s)
        found = minimize_scalar(
            lambda d: _miss(self.residual(d)), bounds=(low, high), options={"xatol": 1e-6}
        )
        best = float(found.x)
        slope = (self.modelled(best + 1e-4) - self.modelled(best - 1e-4)) / 2e-4
        told_by = float(slope @ slope) / max(float(found.fun), 1e-6) ** 2
        return best, float(1 / np.sqrt(told_by + 12 / self.longest_s**2))

    def is_foreign(self, delay_s: float, delay_u_s: float, edge_u_s: float) -> bool:
        """Whether increments miss a model by what neither it nor their own edges can be off by."""
        shift = round(delay_s * NS_PER_S)
        low = self._model.start_ns
        a, b = np.maximum(self._start - shift, low), np.maximum(self._end - shift, low)
        own = self._model.windows(a, b).unseen
        seconds = np.maximum(self._end - self._start, 1) / NS_PER_S
        power = self._steps / seconds
        edges = np.hypot(np.sqrt(2) * edge_u_s * power, np.sqrt(2) * delay_u_s * np.std(power))
        expected = np.sqrt(own**2 + edges**2 + (_SHARP * self._steps) ** 2)
        return _miss(self.residual(delay_s) / np.maximum(expected, 1e-9)) > _FOREIGN
