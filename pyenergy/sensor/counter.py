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

__all__ = ["CounterModel", "Misfit", "misfit"]

_FEWEST_UPDATES = 10
_COUNTER_U = 0.01  # agreement of counter and integrated power that users report (sensors differ)


@dataclass(frozen=True)
class Misfit:
    """The counter's energy and the integral's over the same time, J."""

    counter_j: float
    integral_j: float
    seconds: float

    @property
    def relative(self) -> float:
        """Difference over the integral."""
        return abs(self.counter_j - self.integral_j) / self.integral_j


def misfit(runs: Runs, model: PowerModel, start_ns: int, end_ns: int) -> Misfit | None:
    """Compare an energy counter with the integral of power, edge to edge of the counter's updates.

    None when they agree within two standard uncertainties (those of the integral without gain
    and offset, and 1 % for the counter), or when the counter moved too little to tell.
    """
    inside = runs.usable & (runs.t_first_ns >= start_ns) & (runs.read_first_ns <= end_ns)
    at = np.flatnonzero(inside)
    broken = np.uint32(_core.FLAG_RESET | _core.FLAG_GAP_BEFORE)
    if len(at) < _FEWEST_UPDATES or bool((runs.flags[at[1:]] & broken).any()):
        return None
    first, last = at[1], at[-1]  # the first run may have begun before we looked
    middle = (runs.t_first_ns + runs.read_first_ns) // 2
    terms = model.windows(middle[[first]], middle[[last]])
    integral, counter = float(terms.joules[0]), float(runs.value[last] - runs.value[first])
    if integral <= 0.0:
        return None
    allowed = 2 * float(np.hypot(terms.unseen[0], _COUNTER_U * integral))
    if abs(counter - integral) <= allowed:
        return None
    return Misfit(counter, integral, float(middle[last] - middle[first]) / NS_PER_S)


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
