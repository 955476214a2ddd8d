# SPDX-License-Identifier: Apache-2.0
"""Energy of windows from a power channel alone, with what is unknown about each.

Serves where no spans are labelled (`estimate` does where they are). The energy is the integral of
the readings: flat while a reading was unchanged, linear between two (`EnergyCurve.from_runs`). Its
standard uncertainty adds in quadrature (GUM 5.1.2); transitions, unseen and failures are the term
``inside``

=============  ======================================================================
edges          readings that are late by L give the energy of a window L earlier: too much of
               the power before its start, too little of the power before its end. L is
               uniform on [0, lag], its root mean square lag / sqrt(3); it multiplies the
               net change of the readings over the window and, for each edge, the range of
               the readings within one lag after it. Together never more than what the
               device's power bounds allow over the window
structure      part of ``edges``: what the reading at an edge averages away, ``sigma * tau /
               sqrt(12)``, sigma the largest that a mean allows between the device's bounds
transitions    the power moved from one reading to the next somewhere between two polls:
               rectangular, ``step * bracket / sqrt(12)`` each
unseen         a part-time sensor looks at a share c of each update period T (or time between
               polls, where that is longer): ``(1 - c) * T * s`` per period, s the spread
               between neighbouring readings, pooled over two seconds with one pseudo-reading
               from the device's power bounds (a few equal readings prove little)
failures       a read that fails among good ones: any power in the device's bounds until the
               next good one, ``(max - min) / sqrt(3) * time``, each for itself
gaps           power anywhere in the device's bounds while nothing was read:
               ``(max - min) / sqrt(3) * gap``, fully correlated inside a window
=============  ======================================================================

It is computed by csrc/core/power_integral.cpp, for C++ and Python alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .. import _core
from ..errors import NoReadingsError
from ..units import NS_PER_S
from .terms import WindowTerms

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..recording.series import Runs
    from .catalog import SensorPrior

__all__ = ["PowerModel"]


class PowerModel:
    """Energy and uncertainty of any window inside [start_ns, end_ns] of one power channel.

    Parameters
    ----------
    runs : Runs
        Readings of a power channel, W.
    prior : SensorPrior
        What is known of the sensor.
    power_min_w, power_max_w : float
        Bounds of the device's power, NaN where unknown.
    start_ns, end_ns : int
        The span to cover; where it reaches beyond the readings, the nearest reading is held and
        the time counts as a gap.
    gap_ns : int
        Failed reads that last longer are a gap; shorter ones are like any time between polls.

    Raises
    ------
    NoReadingsError
        When no run is usable.
    """

    def __init__(
        self,
        runs: Runs,
        prior: SensorPrior,
        power_min_w: float,
        power_max_w: float,
        start_ns: int,
        end_ns: int,
        gap_ns: int = 0,
    ) -> None:
        if not bool(runs.usable.any()):
            raise NoReadingsError("no usable power reading in the recording")
        self.prior = prior
        self.start_ns, self.end_ns = start_ns, end_ns
        self._plain = _core.PowerIntegral(
            runs.t_first_ns,
            runs.read_first_ns,
            runs.t_last_ns,
            runs.read_last_ns,
            runs.value,
            runs.flags,
            update_ns=prior.update_ns,
            window_ns=prior.window_ns,
            lag_ns=prior.lag_ns,
            coverage=prior.coverage,
            power_min_w=power_min_w,
            power_max_w=power_max_w,
            start_ns=start_ns,
            end_ns=end_ns,
            gap_ns=gap_ns,
        )
        self.low_w, self.high_w = self._plain.low_w, self._plain.high_w
        self.curve = self._plain.curve
        self.unseen_curve = self._plain.unseen
        self.gap_starts_ns, self.gap_ends_ns = self._plain.gap_starts_ns, self._plain.gap_ends_ns

    def windows(
        self, starts_ns: NDArray[np.int64], ends_ns: NDArray[np.int64], threads: int = 0
    ) -> WindowTerms:
        """Energies of windows [starts_ns, ends_ns] (checked by the caller) and their terms."""
        joules, edges, inside, gaps = self._plain.windows(starts_ns, ends_ns, threads)
        return WindowTerms(joules, {"edges": edges, "inside": inside, "gaps": gaps})

    def energy_curves(self) -> list[_core.EnergyCurve]:
        """Whose integrals add up to the energy of any window."""
        return [self.curve]

    def gap_s(self, start_ns: int, end_ns: int) -> float:
        """Seconds of [start_ns, end_ns] in which nothing was read."""
        overlap = np.minimum(self.gap_ends_ns, end_ns) - np.maximum(self.gap_starts_ns, start_ns)
        return float(np.maximum(overlap, 0).sum()) / NS_PER_S
