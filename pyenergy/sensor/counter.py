# SPDX-License-Identifier: Apache-2.0
"""The energy counter, fused with a model of the readings where it knows more (`counter_kind`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .. import _core
from ..units import NS_PER_S, engineering
from .catalog import GAIN_U
from .counter_kind import FEWEST_UPDATES, told
from .terms import WindowTerms
from .update_clock import fit_clock

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..recording.series import Runs
    from .counter_kind import Hypothesis
    from .estimate import ActivityModel
    from .uncertainty import PowerModel
    from .update_clock import UpdateClock

__all__ = ["Fusion", "fuse"]

_QUANTUM_J = 1e-3  # nvmlDeviceGetTotalEnergyConsumption counts millijoules (nvml.h)
_COUNTER_U = 0.01  # agreement of counter and integrated power that users report (sensors differ)
# Terms that the counter replaces between two of its updates.
_REPLACED = ("fit", "drift", "clock", "edges", "inside", "misfit")


@dataclass(frozen=True)
class Fusion:
    """What the counter adds to a model of the readings.

    Attributes
    ----------
    hypothesis : {"truth", "sensor", "undecided", "neither"}
        What it integrates. Only a counter of the truth changes energies; of one that follows
        neither the work nor the readings the uncertainty has all by which they differ.
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
        if self.hypothesis == "undecided" and not self.disagree:
            return terms  # the readings' sum and the work predict it: it has nothing to add
        difference = self.curve.windows(starts_ns, ends_ns, threads)
        if self.hypothesis in ("undecided", "neither"):
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
        if self.hypothesis == "neither":
            return [
                "the energy counter follows neither the work nor the sum of the readings: it is "
                "not used, and the uncertainty has what it says otherwise"
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


def fuse(
    counter: Runs,
    power: Runs,
    model: ActivityModel | PowerModel,
    periods: dict[str, float] | None = None,
) -> Fusion | None:
    """Compare a counter with a model of the readings; None when it moved too little.

    ``periods``: update periods of the two (``counter``, ``power``, ns) as they were found before;
    those that are found are written there.
    """
    periods = {} if periods is None else periods
    clock = fit_clock(counter, near_ns=periods.get("counter", 0.0))
    if clock is not None:
        periods["counter"] = clock.period_ns
    t, total, whole = _edges(counter, clock, model.start_ns, model.end_ns)
    if len(t) < FEWEST_UPDATES:
        return None
    if not bool((np.diff(total)[whole[1:]] > 0).any()):
        return None
    use = whole[1:]
    edge_u_s, quantum_j = _edge_u_s(counter, clock), _quantum_j(total)
    kind = told(t, np.diff(total), use, power, model, edge_u_s, quantum_j, periods)
    # What it counted at a tick had happened a delay before.
    t = t - round(kind.delay_s * NS_PER_S)
    inside = t >= model.start_ns
    t, total, whole = t[inside], total[inside], whole[inside]
    if len(t) < FEWEST_UPDATES:
        return None
    seconds = np.maximum(np.diff(t), 1) / NS_PER_S
    modelled = model.windows(t[:-1], t[1:]).joules
    steps = np.where(whole[1:], np.diff(total), modelled)
    across = model.windows(t[:1], t[-1:])
    counter_j, model_j = float(steps.sum()), float(across.joules[0])
    own_u = float(across.unseen[0])
    hypothesis = kind.hypothesis
    ratio = counter_j / model_j if model_j > 0 else 1.0
    scale, scale_u, explained = _scale(ratio, own_u / max(model_j, 1e-9))
    difference = steps / scale - modelled
    density = difference / seconds
    tick_u = _tick_u(edge_u_s, kind.delay_u_s, steps / seconds, quantum_j)
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
        # It lay anywhere between two polls: one that is farther away is no tick of the clock.
        poll_ns = (runs.read_first_ns - np.append(runs.t_first_ns[:1], runs.t_last_ns[:-1]))[usable]
        late = np.abs(tick - t) > poll_ns + 3 * clock.scatter_ns + 1
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


def _edge_u_s(counter: Runs, clock: UpdateClock | None) -> float:
    """Standard uncertainty of the time of an update, s."""
    width = (counter.read_first_ns[1:] - counter.t_last_ns[:-1]) / NS_PER_S
    poll_s = float(np.median(width)) / np.sqrt(12)
    return float(poll_s if clock is None else min(clock.u_t0_ns / NS_PER_S, poll_s))


def _quantum_j(total: NDArray[np.float64]) -> float:
    """The largest power of ten that all values are multiples of, or else what NVML counts in, J.

    A log may have rounded them.
    """
    for step in (100.0, 10.0, 1.0, 0.1, 0.01):
        # Of differences: the recording's first value may be any.
        multiple = (total - total[0]) / step
        if bool(np.all(np.abs(multiple - np.round(multiple)) < 1e-6)):
            return step
    return _QUANTUM_J


def _tick_u(
    edge_u_s: float, delay_u_s: float, power_w: NDArray[np.float64], quantum_j: float
) -> float:
    """Of an increment, J: quantum, its two edges' time, and a delay that moves both of them."""
    rate_w = float(np.sqrt(np.mean(power_w**2)))
    swing_w = float(np.sqrt(2) * np.std(power_w))
    edges = 2 * (edge_u_s * rate_w) ** 2 + (delay_u_s * swing_w) ** 2
    return float(np.sqrt(edges + 2 * quantum_j**2 / 12))
