# SPDX-License-Identifier: Apache-2.0
"""`EnergySource`: the little that another profiler needs of whatever measures energy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from . import _core

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from ._energy import Energy
    from ._trace import Trace

__all__ = ["EnergySource", "Sourced"]


@runtime_checkable
class EnergySource(Protocol):
    """Energies of any windows of time; `pyenergy.Monitor` and `pyenergy.Trace` are such.

    A profiler that takes one needs nothing else of pyenergy, and can be given another:

    >>> import pyenergy
    >>> def profile(regions: dict[str, tuple[int, int]], source: pyenergy.EnergySource):
    ...     starts, ends = zip(*regions.values())
    ...     joules, u = source.windows(starts, ends)
    ...     return {n: (j, du) for n, j, du in zip(regions, joules, u)}
    >>> with pyenergy.Monitor(devices="sim:ideal") as monitor:
    ...     start = monitor.now_ns()
    ...     _ = sum(range(100_000))
    ...     rows = profile({"sum": (start, monitor.now_ns())}, monitor)
    >>> sorted(rows)
    ['sum']
    """

    unit: str  # of the energies: "J"

    def names(self) -> tuple[str, ...]:
        """Ids of the devices whose energies are added up."""
        ...

    def now_ns(self) -> int:
        """Now, on the clock of the windows, ns."""
        ...

    def energy_between(self, start_ns: int, end_ns: int) -> Energy:
        """Energy of one window, with its uncertainty and notes."""
        ...

    def windows(
        self, starts_ns: ArrayLike, ends_ns: ArrayLike
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Energies and their standard uncertainties of many windows, J, each of shape (n,)."""
        ...


class Sourced:
    """What makes a trace, or whatever has one, an `EnergySource`."""

    unit = "J"

    def _measured(self) -> Trace:
        return self  # type: ignore[return-value]

    def names(self) -> tuple[str, ...]:
        """Ids of the devices in scope."""
        return tuple(d if isinstance(d, str) else d.id for d in self._measured()._source.devices)

    def now_ns(self) -> int:
        """Now, ns of CLOCK_MONOTONIC: `pyenergy.now_ns`."""
        return _core.now_ns()

    def energy_between(self, start_ns: int, end_ns: int) -> Energy:
        """Energy between two moments, all devices in scope together: `Trace.window`.

        Raises
        ------
        TypeError, WindowError, NoReadingsError
            As `Trace.window` does.
        """
        return self._measured().window(start_ns, end_ns)
