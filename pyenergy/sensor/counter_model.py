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

    It is computed by csrc/core/counter_difference.cpp, for C++ and Python alike.
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
        try:
            self._plain = _core.CounterDifference(
                runs.t_first_ns,
                runs.read_first_ns,
                runs.t_last_ns,
                runs.read_last_ns,
                runs.value,
                runs.flags,
                power_min_w=power_min_w,
                power_max_w=power_max_w,
                coverage=coverage,
            )
        except RuntimeError as error:
            raise NoReadingsError(str(error)) from None
        self._bounds = start_ns, end_ns
        self.low_w, self.high_w = self._plain.low_w, self._plain.high_w
        self.curve = self._plain.curve
        self._start, self._end = self.curve.start_ns, self.curve.end_ns

    def windows(
        self, starts_ns: NDArray[np.int64], ends_ns: NDArray[np.int64], threads: int = 0
    ) -> WindowTerms:
        """Energies of windows; time before the first or after the last reading is a gap."""
        joules, edges, inside, gaps = self._plain.windows(starts_ns, ends_ns, threads)
        return WindowTerms(joules, {"edges": edges, "inside": inside, "gaps": gaps})

    def energy_curves(self) -> list[_core.EnergyCurve]:
        """Whose integrals add up to the energy of any window."""
        t, rate = self.curve.knots()
        low, high = min(self._bounds[0], self._start), max(self._bounds[1], self._end)
        return [_core.EnergyCurve(*extended((t, rate), low, high, self._plain.mean_w))]

    def gap_s(self, start_ns: int, end_ns: int) -> float:
        """Seconds of [start_ns, end_ns] that the counter does not cover."""
        inside = max(0, min(end_ns, self._end) - max(start_ns, self._start))
        return (end_ns - start_ns - inside) / NS_PER_S
