# SPDX-License-Identifier: Apache-2.0
"""What an energy counter integrates, told from its increments.

It is not documented: the true power, or the update period times each sampled reading. Totals cannot
tell; increments can. The sum of the readings predicts a counter of the second kind to its last
digit, whatever ran, in one of a few conventions: with the newest reading or without it, as
rectangles or trapezoids, at the sensor's updates or at ticks of its own. One of the first kind
follows the work, a delay before it is published. What follows neither is not believed.
"""

from __future__ import annotations

import math
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
    from .update_clock import Updates

    Floats = NDArray[np.float64]
    Times = NDArray[np.int64]

__all__ = ["FEWEST_UPDATES", "Hypothesis", "Kind", "told"]

FEWEST_UPDATES = 10
_SHARP = 0.003  # a counter that adds up readings follows them this closely, relative to one
_LAGS = (-0.5, 0.5, 1.5)  # periods by which a sum of readings is late: with the newest, or without
_LONGEST_S = 0.03  # a counter may be late by that much, or by what the power reading may
_STEP_S = 0.002
_MOST = 5000  # increments that tell a delay
_DEGREES = 3  # of Student's t
_MEDIAN = 0.6745  # of the size of a standard normal variable
_LEAST_S = 20e-6  # no delay is known better
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
    quantum_j: float,
    periods: dict[str, float],
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
    quantum_j : float
        The counter's smallest step, J.
    periods : dict
        See `fuse`.
    """
    sums = _added_up(power, t, periods)
    if sums is None:
        return Kind("undecided")
    if int(whole.sum()) < FEWEST_UPDATES:
        return Kind("undecided")
    steps_used = steps[whole]
    typical = float(np.median(np.abs(steps_used)))
    by_sensor = min(_miss(steps_used - added[whole]) for added in sums)
    work = _Work(t, steps, whole, model)
    if isinstance(model, ActivityModel):
        delay_s, delay_u_s = work.delay(edge_u_s, quantum_j)
    else:  # nothing says when the work ran
        delay_s, delay_u_s = 0.0, work.longest_s / math.sqrt(12)
    by_truth = _miss(work.residual(delay_s))
    follows = by_sensor < max(_SHARP * typical, 0.1 * by_truth)
    if follows and by_truth >= 3 * by_sensor + _SHARP * typical:
        return Kind("sensor")
    if isinstance(model, ActivityModel) and work.is_foreign(
        delay_s, delay_u_s, edge_u_s, quantum_j
    ):
        return Kind("sensor" if follows else "neither")
    return Kind("undecided" if follows else "truth", delay_s, delay_u_s)


def _miss(off: Floats) -> float:
    """Root mean square, trimmed: an update that falls on the edge moves two increments."""
    off = np.sort(np.abs(off))
    return float(np.sqrt(np.mean(off[: max(1, int(0.9 * len(off)))] ** 2)))


def _added_up(power: Runs, t: Times, periods: dict[str, float]) -> list[Floats] | None:
    """Update period times the readings of each increment, by convention; None without a clock."""
    clock = fit_clock(power, near_ns=periods.get("power", 0.0))
    if clock is None:
        return None
    periods["power"] = clock.period_ns
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
    return [*found, *_on_own_ticks(updates, power, t)]


def _on_own_ticks(updates: Updates, power: Runs, t: Times) -> list[Floats]:
    """The reading that was shown, at the counter's own updates: the new one, the old one, or each
    for as long as it stood.

    Where both change at about the same time, the polls do not tell which did first.
    """
    unsure = round(2 * float(np.median(power.read_first_ns[1:] - power.t_last_ns[:-1])))
    seconds = np.diff(t) / NS_PER_S
    own_s = float(np.median(seconds))  # it adds with its own period, however late polls saw it
    seconds = own_s * np.maximum(np.round(seconds / own_s), 1.0)
    length_s = np.diff(updates.t_ns, append=updates.t_ns[-1:]) / NS_PER_S
    before = np.concatenate([[0.0], np.cumsum(updates.value * length_s)])
    found = []
    for at in (t, t - unsure, t + unsure):
        newest = np.maximum(np.searchsorted(updates.t_ns, at, side="right") - 1, 0)
        shown = updates.value[newest]
        held = before[newest] + shown * ((at - updates.t_ns[newest]) / NS_PER_S)
        found += [shown[1:] * seconds, shown[:-1] * seconds, np.diff(held)]
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

    def delay(self, tick_u_s: float, quantum_j: float) -> tuple[float, float]:
        """(how late the counter is, standard uncertainty), s.

        From all increments by what each may be off by, with the tails of Student's t: the few that
        hold an edge of the work tell it, and are the ones that a model misses most.
        """
        expected = self.expected(0.0, 0.0, tick_u_s, quantum_j)
        coarse = np.arange(0.0, self.longest_s + _STEP_S / 2, _STEP_S)
        near, fit = coarse, self._log_fits(coarse, expected)
        for step_s in (_STEP_S / 8, _STEP_S / 64):
            best = float(near[int(np.argmax(fit))])
            extent = _spread_s(near, fit) + 16 * step_s
            low, high = max(best - extent, 0.0), min(best + extent, self.longest_s)
            near = np.linspace(low, high, int(np.clip((high - low) / step_s, 8, 64)) + 1)
            fit = self._log_fits(near, expected)
        share = np.exp(fit - fit.max())
        mean = float(share @ near / share.sum())
        return mean, float(np.hypot(_spread_s(near, fit), _LEAST_S))

    def _log_fits(self, delays_s: Floats, expected: Floats) -> Floats:
        """Log likelihood of each delay, up to a constant; the scale of the misses is free."""
        z = np.stack([self.residual(d) / expected for d in delays_s])
        scale = max(1.0, min(float(np.median(np.abs(row))) for row in z) / _MEDIAN)
        return np.asarray(-(_DEGREES + 1) / 2 * np.log1p((z / scale) ** 2 / _DEGREES).sum(axis=1))

    def expected(
        self, delay_s: float, delay_u_s: float, tick_u_s: float, quantum_j: float
    ) -> Floats:
        """What each increment may be off by: the model, its two edges, its digits, J."""
        shift = round(delay_s * NS_PER_S)
        low = self._model.start_ns
        a, b = np.maximum(self._start - shift, low), np.maximum(self._end - shift, low)
        own = self._model.windows(a, b).unseen
        seconds = np.maximum(self._end - self._start, 1) / NS_PER_S
        power = self._steps / seconds
        edges = np.hypot(np.sqrt(2) * tick_u_s * power, np.sqrt(2) * delay_u_s * np.std(power))
        digits = quantum_j / np.sqrt(6)
        off = np.sqrt(own**2 + edges**2 + digits**2 + (_SHARP * self._steps) ** 2)
        return np.asarray(np.maximum(off, 1e-9))

    def is_foreign(
        self, delay_s: float, delay_u_s: float, edge_u_s: float, quantum_j: float
    ) -> bool:
        """Whether increments miss a model by what neither it nor their own edges can be off by."""
        expected = self.expected(delay_s, delay_u_s, edge_u_s, quantum_j)
        return _miss(self.residual(delay_s) / expected) > _FOREIGN


def _spread_s(delays_s: Floats, log: Floats) -> float:
    """Standard deviation of a posterior on a grid."""
    share = np.exp(log - log.max())
    share /= share.sum()
    mean = float(share @ delays_s)
    return float(np.sqrt(max(float(share @ (delays_s - mean) ** 2), 0.0)))
