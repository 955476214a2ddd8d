# SPDX-License-Identifier: Apache-2.0
"""The energy counter: fused with the readings, or alone where no power can be read.

What a counter integrates is not documented: the true power, or the update period times each
sampled reading. The two are told apart increment by increment (totals cannot): the sum of the
readings predicts a counter of the second kind to its last digit, whatever ran.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from .. import _core
from ..errors import NoReadingsError
from ..units import NS_PER_S, engineering
from .catalog import GAIN_U
from .gaps import extended
from .terms import WindowTerms
from .unseen import pooled_variance
from .update_clock import fit_clock, updates_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..recording.series import Runs
    from .estimate import ActivityModel
    from .uncertainty import PowerModel
    from .update_clock import UpdateClock

__all__ = ["CounterModel", "Fusion", "fuse"]

_FEWEST_UPDATES = 10
_QUANTUM_J = 1e-3  # nvmlDeviceGetTotalEnergyConsumption counts millijoules (nvml.h)
_COUNTER_U = 0.01  # agreement of counter and integrated power that users report (sensors differ)
_SHARP = 0.003  # a counter that adds up readings follows them this closely, relative to one
# Terms that the counter replaces between two of its updates.
_REPLACED = ("fit", "drift", "clock", "edges", "inside", "misfit")

Hypothesis = Literal["truth", "sensor", "undecided"]


@dataclass(frozen=True)
class Fusion:
    """What the counter adds to a model of the readings.

    Attributes
    ----------
    hypothesis : {"truth", "sensor", "undecided"}
        What it integrates. Only a counter of the truth changes energies.
    scale : float
        Counter over model: the ratio of their gains, as far as the data tell it from sampling.
    scale_u : float
        Its standard uncertainty.
    edges_ns : ndarray of int64
        Updates of the counter that increments lie between.
    curve : EnergyCurve
        Its integral over a window is counter / scale minus model, J; zero where it is silent.
    model : ActivityModel or PowerModel
    counter_j, model_j, seconds : float
        Over all that both cover.
    disagree : bool
        By more than two standard uncertainties: those of the model without gain and offset, and
        1 % for the counter.
    weight : float
        Share of their difference that is the model's error rather than the counter's tick; 0 for a
        counter that is not used.
    tick_u_j : float
        Standard uncertainty of an increment, J: quantum, and the time of its two updates.
    explained : bool
        Whether a gain, or what the sensor does not look at, can make the two differ as they do.
    """

    hypothesis: Hypothesis
    scale: float
    scale_u: float
    edges_ns: NDArray[np.int64]
    curve: _core.EnergyCurve
    model: ActivityModel | PowerModel
    counter_j: float
    model_j: float
    seconds: float
    disagree: bool
    weight: float
    tick_u_j: float
    explained: bool

    def applied(
        self,
        terms: WindowTerms,
        starts_ns: NDArray[np.int64],
        ends_ns: NDArray[np.int64],
        threads: int = 0,
    ) -> WindowTerms:
        """The model's energies with what the counter knows.

        Between the first and the last update of the counter in a window its difference counts,
        and the model only outside them.
        """
        if self.hypothesis == "sensor":
            return terms
        difference = self.curve.windows(starts_ns, ends_ns, threads)
        if self.hypothesis == "undecided":
            return WindowTerms(terms.joules, {**terms.terms, "counter": np.abs(difference)})
        joules = terms.joules + self.weight * difference
        last = len(self.edges_ns) - 1
        first_edge = np.searchsorted(self.edges_ns, starts_ns).clip(0, last)
        last_edge = (np.searchsorted(self.edges_ns, ends_ns, side="right") - 1).clip(0, last)
        holds = last_edge > first_edge
        inner = np.where(holds, self.edges_ns[first_edge], starts_ns)
        outer = np.where(holds, self.edges_ns[last_edge], starts_ns)
        head = self.model.windows(starts_ns, inner, threads)
        tail = self.model.windows(outer, ends_ns, threads)
        fused = dict(terms.terms)
        for name in _REPLACED:
            if name in fused:
                pieces = np.hypot(head.terms[name], tail.terms[name])
                whole = fused[name]
                mixed = np.sqrt(self.weight * pieces**2 + (1 - self.weight) * whole**2)
                fused[name] = np.where(holds, np.minimum(mixed, whole), whole)
        # An increment that begins or ends outside says how much, not where.
        spread = np.abs(difference - self.curve.windows(inner, np.maximum(outer, inner), threads))
        share = np.minimum((ends_ns - starts_ns) / NS_PER_S / self.increment_s, 1.0)
        # What neither a gain nor sampling explains: one of the two is broken, and either may be.
        broken = 0.0 if self.explained else difference
        fused["counter"] = self.weight * np.sqrt(
            (share * self.tick_u_j) ** 2
            + (joules * self.scale_u) ** 2
            + spread**2 / 3
            + broken**2 / 3
        )
        return WindowTerms(joules, fused)

    @property
    def increment_s(self) -> float:
        """Typical time between two updates of the counter, s."""
        return float(np.median(np.diff(self.edges_ns))) / NS_PER_S

    def notes(self) -> list[str]:
        """What a reader of any window must know."""
        if self.hypothesis == "sensor":
            return [
                "the energy counter adds up the sensor's own readings: it knows nothing that they "
                "do not, and is not used"
            ]
        if not self.disagree:
            return []
        said = (
            f"over {engineering(self.seconds, 's')} the energy counter says "
            f"{engineering(self.counter_j, 'J')}, the readings {engineering(self.model_j, 'J')}: "
        )
        if not self.explained:
            return [
                said + "no gain does this, but a load in step with the sensor's updates does, or "
                "one of the two is broken; the uncertainty has both"
            ]
        if self.weight > 0:
            return [
                said + "the counter is used between its updates. A gain, or a load in step with "
                "the sensor's updates, does this"
            ]
        return [said + "as a card's gain can make them, which the uncertainty has anyway"]


def fuse(counter: Runs, power: Runs, model: ActivityModel | PowerModel) -> Fusion | None:
    """Compare a counter with a model of the readings; None when it moved too little."""
    clock = fit_clock(counter)
    t, total, whole = _edges(counter, clock, model.start_ns, model.end_ns)
    if len(t) < _FEWEST_UPDATES:
        return None
    seconds = np.maximum(np.diff(t), 1) / NS_PER_S
    modelled = model.windows(t[:-1], t[1:]).joules
    if not bool((np.diff(total)[whole[1:]] > 0).any()):
        return None
    steps = np.where(whole[1:], np.diff(total), modelled)
    across = model.windows(t[:1], t[-1:])
    counter_j, model_j = float(steps.sum()), float(across.joules[0])
    own_u = float(across.unseen[0])
    added = _added_up(power, t)
    use = whole[1:]
    hypothesis: Hypothesis = "undecided"
    if added is not None:
        hypothesis = _hypothesis(steps[use], modelled[use], added[use])
    ratio = counter_j / model_j if model_j > 0 else 1.0
    scale, scale_u, explained = _scale(ratio, own_u / max(model_j, 1e-9))
    difference = steps / scale - modelled
    density = difference / seconds
    tick_u = _tick_u(counter, clock, steps, seconds)
    genuine = max(float(np.mean(difference**2)) - tick_u**2, 0.0)
    weight = genuine / (genuine + tick_u**2) if hypothesis == "truth" else 0.0
    knots = np.concatenate([[model.start_ns], np.repeat(t, 2), [model.end_ns]])
    heights = np.concatenate([[0.0, 0.0], np.repeat(density, 2), [0.0, 0.0]])
    disagree = abs(counter_j - model_j) > 2 * np.hypot(own_u, _COUNTER_U * model_j)
    return Fusion(
        hypothesis=hypothesis,
        scale=scale,
        scale_u=scale_u,
        edges_ns=t,
        curve=_core.EnergyCurve(knots, heights),
        model=model,
        counter_j=counter_j,
        model_j=model_j,
        seconds=float(t[-1] - t[0]) / NS_PER_S,
        disagree=bool(disagree),
        weight=weight,
        tick_u_j=tick_u,
        explained=explained,
    )


def _scale(ratio: float, sampling_u: float) -> tuple[float, float, bool]:
    """Ratio of the gains of counter and reading, its standard uncertainty, and whether it can be.

    Gain or sampling? What the two differ by is shared out by how much of each is expected; a
    difference that no gain explains is sampling (a load in step with the sensor), or a fault.
    """
    sampling_u = max(sampling_u, 1e-9)
    if abs(ratio - 1) > 2.5 * np.hypot(GAIN_U, sampling_u):
        return 1.0, GAIN_U, False
    believed = GAIN_U**2 / (GAIN_U**2 + sampling_u**2)
    scale_u = float(1 / np.hypot(1 / GAIN_U, 1 / sampling_u))
    return 1 + (ratio - 1) * believed, scale_u, True


def _edges(
    runs: Runs, clock: UpdateClock | None, start_ns: int, end_ns: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_]]:
    """(when it changed, to what, whether the increment up to there is whole)."""
    usable = runs.usable
    t = ((runs.t_first_ns + runs.read_first_ns) // 2)[usable]
    value = np.asarray(runs.value[usable])
    if clock is not None:  # a change lies on the clock's tick, to better than a poll
        index = np.round((t - clock.origin_ns - clock.t0_ns) / clock.period_ns)
        tick = clock.origin_ns + np.round(clock.t0_ns + index * clock.period_ns).astype(np.int64)
        late = np.abs(tick - t) > 3 * clock.scatter_ns + 1
        t = np.maximum.accumulate(np.where(late, t, tick))
    broken = np.uint32(_core.FLAG_RESET | _core.FLAG_GAP_BEFORE)
    whole = (runs.flags[usable] & broken) == 0
    # The first run may have begun before we looked: its start is no update of the counter.
    inside = (t >= start_ns) & (t <= end_ns)
    inside[:1] = False
    # The same value again, after a failed read or another recording's gap, is no update.
    inside[1:] &= np.diff(value) != 0
    keep = np.flatnonzero(inside)
    keep = keep[np.diff(t[keep], prepend=np.iinfo(np.int64).min // 2) > 0]
    return t[keep], value[keep], whole[keep]


def _added_up(power: Runs, t: NDArray[np.int64]) -> NDArray[np.float64] | None:
    """Update period times the readings published in each increment; None without a clock."""
    clock = fit_clock(power)
    if clock is None:
        return None
    updates = updates_of(power, clock)
    period_s = np.diff(updates.t_ns, prepend=updates.t_ns[:1]) / NS_PER_S
    if len(period_s) > 1:
        period_s[0] = np.median(period_s[1:])
    sums = np.concatenate([[0.0], np.cumsum(updates.value * period_s)])
    upto = np.searchsorted(updates.t_ns, t, side="right")
    return np.asarray(np.diff(sums[upto]))


def _hypothesis(
    steps: NDArray[np.float64], modelled: NDArray[np.float64], added: NDArray[np.float64]
) -> Hypothesis:
    """What the increments follow. Trimmed: an update that falls on the edge moves two of them."""
    if len(steps) < _FEWEST_UPDATES:
        return "undecided"

    def miss(predicted: NDArray[np.float64]) -> float:
        off = np.sort(np.abs(steps - predicted))
        return float(np.sqrt(np.mean(off[: max(1, int(0.9 * len(off)))] ** 2)))

    typical = float(np.median(np.abs(steps)))
    scale = float(steps.sum() / modelled.sum()) if modelled.sum() > 0 else 1.0
    # Readings that are added up are added up as they are: that hypothesis has no scale of its own.
    by_sensor, by_truth = miss(added), miss(scale * modelled)
    follows = by_sensor < max(_SHARP * typical, 0.1 * by_truth)
    if follows and by_truth < 3 * by_sensor + _SHARP * typical:
        return "undecided"
    return "sensor" if follows else "truth"


def _tick_u(
    counter: Runs,
    clock: UpdateClock | None,
    steps: NDArray[np.float64],
    seconds: NDArray[np.float64],
) -> float:
    """Quantum, and the two edges' time at the mean power."""
    width = (counter.read_first_ns[1:] - counter.t_last_ns[:-1]) / NS_PER_S
    edge_s = (
        clock.u_t0_ns / NS_PER_S if clock is not None else float(np.median(width)) / np.sqrt(12)
    )
    rate_w = float(np.sqrt(np.mean((steps / seconds) ** 2)))
    return float(np.sqrt(2 * (edge_s * rate_w) ** 2 + 2 * _QUANTUM_J**2 / 12))


class CounterModel:
    """Energy between two moments as the counter's difference, linear between its updates.

    A window's edge lies inside one increment of the counter: the energy at the edge is anywhere
    in that increment (rectangular, ``increment / sqrt(12)``). A reset leaves an increment unknown:
    ``(max - min) / sqrt(3) * time``, as a gap.

    With no power beside it nothing tells whether it integrates the truth or adds up readings of a
    sensor that looks at ``coverage`` of the time: what that would miss is in the uncertainty
    (``inside``: the variance between neighbouring increments, for the time not looked at).
    """

    def __init__(
        self,
        runs: Runs,
        power_min_w: float,
        power_max_w: float,
        start_ns: int,
        end_ns: int,
        coverage: float = 1.0,
    ) -> None:
        usable = runs.usable
        if int(usable.sum()) < 2:
            raise NoReadingsError("the energy counter did not move in the recording")
        t = np.asarray((runs.t_first_ns + runs.read_first_ns)[usable] // 2)
        total = np.asarray(runs.value[usable])
        dt = np.maximum(np.diff(t), 1) / NS_PER_S
        rate = np.diff(total) / dt
        low = 0.0 if np.isnan(power_min_w) else power_min_w
        high = max(1000.0 if np.isnan(power_max_w) else power_max_w, float(rate.max()))
        broken = ((runs.flags & np.uint32(_core.FLAG_RESET | _core.FLAG_GAP_BEFORE)) != 0)[usable]
        self.low_w, self.high_w = low, high
        self._bounds = start_ns, end_ns
        self._start, self._end = int(t[0]), int(t[-1])
        steps = np.repeat(t, 2)[1:-1]
        self.curve = _core.EnergyCurve(steps, np.repeat(rate, 2))
        variance = np.repeat((np.diff(total)) ** 2 / 12, 2)
        self._edge = _core.EnergyCurve(steps, variance)
        half_width = np.where(broken[1:], (high - low) / np.sqrt(3), 0.0)
        self._gap = _core.EnergyCurve(steps, np.repeat(half_width, 2))
        period_ns = round(float(np.median(np.diff(t))))
        span = self._start, self._end
        grid, spread = pooled_variance(t[:-1], t[1:], rate, period_ns, (low, high), span)
        unseen_s = (1.0 - coverage) * period_ns / NS_PER_S
        self._unseen = _core.EnergyCurve(grid, unseen_s**2 / (period_ns / NS_PER_S) * spread)

    def windows(
        self, starts_ns: NDArray[np.int64], ends_ns: NDArray[np.int64], threads: int = 0
    ) -> WindowTerms:
        """Energies of windows; time before the first or after the last reading is a gap."""
        a, b = starts_ns.clip(self._start, self._end), ends_ns.clip(self._start, self._end)
        outside_s = ((ends_ns - starts_ns) - (b - a)) / NS_PER_S
        mean_w = self.curve.total / ((self._end - self._start) / NS_PER_S)
        joules = self.curve.windows(a, b, threads) + outside_s * mean_w
        edges = np.sqrt(self._edge.values(a) + self._edge.values(b))
        outside = outside_s * (self.high_w - self.low_w) / np.sqrt(3)
        return WindowTerms(
            joules,
            {
                "edges": np.where(starts_ns == ends_ns, 0.0, edges),
                "inside": np.sqrt(self._unseen.windows(a, b, threads)),
                "gaps": self._gap.windows(a, b, threads) + outside,
            },
        )

    def energy_curves(self) -> list[_core.EnergyCurve]:
        """Whose integrals add up to the energy of any window."""
        t, rate = self.curve.knots()
        low, high = min(self._bounds[0], self._start), max(self._bounds[1], self._end)
        mean_w = self.curve.total / ((self._end - self._start) / NS_PER_S)
        return [_core.EnergyCurve(*extended((t, rate), low, high, mean_w))]

    def gap_s(self, start_ns: int, end_ns: int) -> float:
        """Seconds of [start_ns, end_ns] that the counter does not cover."""
        inside = max(0, min(end_ns, self._end) - max(start_ns, self._start))
        return (end_ns - start_ns - inside) / NS_PER_S
