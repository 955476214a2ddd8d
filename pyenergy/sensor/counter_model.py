# SPDX-License-Identifier: Apache-2.0
"""The energy counter alone, where no power can be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .. import _core
from ..errors import NoReadingsError
from ..units import NS_PER_S
from .gaps import extended
from .terms import WindowTerms
from .unseen import pooled_variance

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..recording.series import Runs

__all__ = ["CounterModel"]


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
        # The same value once more is no update: where a counter stands still, nothing is known.
        again = (runs.flags & np.uint32(_core.FLAG_CONTINUES)) != 0
        usable &= ~again | (np.cumsum(usable) == 1)
        t = np.asarray((runs.t_first_ns + runs.read_first_ns)[usable] // 2)
        total = np.asarray(runs.value[usable])
        if len(total) < 2 or not total[-1] > total[0]:
            raise NoReadingsError("the energy counter did not move in the recording")
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
