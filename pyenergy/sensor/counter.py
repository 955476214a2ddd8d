# SPDX-License-Identifier: Apache-2.0
"""The energy counter: energies where no power can be read, and a check where it can."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .. import _core
from ..errors import NoReadingsError
from ..units import NS_PER_S
from .catalog import GAIN_U
from .uncertainty import WindowTerms

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..recording.series import Runs
    from .uncertainty import PowerModel

__all__ = ["Comparison", "CounterModel", "compare"]

_FEWEST_UPDATES = 10
_COUNTER_U = 0.01  # agreement of counter and integrated power that users report (sensors differ)


@dataclass(frozen=True)
class Comparison:
    """The energy counter against the integral of power, between updates of the counter.

    Attributes
    ----------
    curve : EnergyCurve
        Its integral over a window is counter minus integral, J; zero where the counter is silent.
    counter_j, integral_j, seconds : float
        Over all that both cover.
    disagree : bool
        By more than two standard uncertainties: those of the integral without gain and offset,
        and 1 % for the counter.
    """

    curve: _core.EnergyCurve
    counter_j: float
    integral_j: float
    seconds: float
    disagree: bool


def compare(runs: Runs, model: PowerModel) -> Comparison | None:
    """Compare a counter with the integral of power; None when it moved too little to tell."""
    usable = runs.usable
    t = ((runs.t_first_ns + runs.read_first_ns) // 2)[usable]
    inside = (t >= model.start_ns) & (t <= model.end_ns)
    broken = np.uint32(_core.FLAG_RESET | _core.FLAG_GAP_BEFORE)
    whole = ((runs.flags[usable] & broken) == 0)[inside]
    t, total = np.asarray(t[inside]), np.asarray(runs.value[usable][inside])
    # The first run may have begun before we looked: its start is no update of the counter.
    t, total, whole = t[1:], total[1:], whole[1:]
    if len(t) < _FEWEST_UPDATES:
        return None
    integrals = model.curve.windows(t[:-1], t[1:])
    steps = np.where(whole[1:], np.diff(total), integrals)
    density = (steps - integrals) / (np.maximum(np.diff(t), 1) / NS_PER_S)
    edges = np.concatenate([[model.start_ns], np.repeat(t, 2), [model.end_ns]])
    heights = np.concatenate([[0.0, 0.0], np.repeat(density, 2), [0.0, 0.0]])
    counter, integral = float(steps.sum()), float(integrals.sum())
    unseen = float(model.windows(t[:1], t[-1:]).unseen[0])
    return Comparison(
        curve=_core.EnergyCurve(edges, heights),
        counter_j=counter,
        integral_j=integral,
        seconds=float(t[-1] - t[0]) / NS_PER_S,
        disagree=abs(counter - integral) > 2 * float(np.hypot(unseen, _COUNTER_U * integral)),
    )


class CounterModel:
    """Energy between two moments as the counter's difference, linear between its updates.

    A window's edge lies inside one increment of the counter: the energy at the edge is anywhere
    in that increment (rectangular, ``increment / sqrt(12)``). A reset leaves an increment unknown:
    ``(max - min) / sqrt(3) * time``, as a gap.
    """

    def __init__(
        self, runs: Runs, power_min_w: float, power_max_w: float, start_ns: int, end_ns: int
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
        self._start, self._end = int(t[0]), int(t[-1])
        steps = np.repeat(t, 2)[1:-1]
        self.curve = _core.EnergyCurve(steps, np.repeat(rate, 2))
        variance = np.repeat((np.diff(total)) ** 2 / 12, 2)
        self._edge = _core.EnergyCurve(steps, variance)
        half_width = np.where(broken[1:], (high - low) / np.sqrt(3), 0.0)
        self._gap = _core.EnergyCurve(steps, np.repeat(half_width, 2))

    def windows(
        self, starts_ns: NDArray[np.int64], ends_ns: NDArray[np.int64], threads: int = 0
    ) -> WindowTerms:
        """Energies of windows; time before the first or after the last reading is a gap."""
        a, b = starts_ns.clip(self._start, self._end), ends_ns.clip(self._start, self._end)
        outside_s = ((ends_ns - starts_ns) - (b - a)) / NS_PER_S
        mean_w = self.curve.total / ((self._end - self._start) / NS_PER_S)
        joules = self.curve.windows(a, b, threads) + outside_s * mean_w
        zero = np.zeros_like(joules)
        return WindowTerms(
            joules=joules,
            gain=np.abs(joules) * GAIN_U,
            offset=zero,
            edges=np.where(
                starts_ns == ends_ns, 0.0, np.sqrt(self._edge.values(a) + self._edge.values(b))
            ),
            inside=zero,
            gaps=self._gap.windows(a, b, threads)
            + outside_s * (self.high_w - self.low_w) / np.sqrt(3),
        )

    def gap_s(self, start_ns: int, end_ns: int) -> float:
        """Seconds of [start_ns, end_ns] that the counter does not cover."""
        inside = max(0, min(end_ns, self._end) - max(start_ns, self._start))
        return (end_ns - start_ns - inside) / NS_PER_S
