# SPDX-License-Identifier: Apache-2.0
"""Ratio of two measurements, with what they share left out of its uncertainty."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import NoReadingsError

if TYPE_CHECKING:
    from ._energy import Energy
    from ._trace import Trace

__all__ = ["Comparison", "compare"]


@dataclass(frozen=True)
class Comparison:
    """``a / b`` of two energies.

    Attributes
    ----------
    ratio : float
        Energy of a over energy of b.
    u : float
        Its standard uncertainty.
    shared : tuple of str
        UUIDs (or names) of the cards in both, whose gain cancels.
    """

    ratio: float
    u: float
    shared: tuple[str, ...] = ()

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Coverage interval, normal (GUM G.1.3)."""
        from statistics import NormalDist

        k = NormalDist().inv_cdf(0.5 + level / 2)
        return self.ratio - k * self.u, self.ratio + k * self.u

    def __str__(self) -> str:
        from ._energy import format_with_uncertainty

        return format_with_uncertainty(self.ratio, self.u, "").strip()


def compare(a: Trace, b: Trace) -> Comparison:
    """Ratio of the energies of two traces, the gain of a card that is in both cancelled.

    With ``E = (E' - o T) / g`` on each card, a relative error of the gain moves both energies
    alike and leaves the ratio; an error of the offset moves it by ``(T_a / E_a - T_b / E_b)``,
    which vanishes at equal mean power. What is of the window alone stays (GUM 5.2.2, correlated
    quantities).

    Raises
    ------
    NoReadingsError
        When a device could not be read, or when b has no energy to divide by.

    Examples
    --------
    >>> import pyenergy
    >>> with pyenergy.trace(devices="sim:ideal") as a:
    ...     _ = sum(range(100_000))
    >>> with pyenergy.trace(devices="sim:ideal") as b:
    ...     _ = sum(range(100_000))
    >>> pyenergy.compare(a, a).u < pyenergy.compare(a, a).ratio
    True
    """
    first, second = _by_card(a), _by_card(b)
    total_a = math.fsum(e.joules for e in first.values())
    total_b = math.fsum(e.joules for e in second.values())
    if total_b == 0:
        raise NoReadingsError("the second trace has no energy to compare with")
    ratio = total_a / total_b
    scale_a, scale_b = 1 / total_a if total_a else 0.0, 1 / total_b
    variance = 0.0
    for energies, scale in ((first, scale_a), (second, scale_b)):
        variance += math.fsum((e.u_same_card * scale) ** 2 for e in energies.values())
    for card in first.keys() | second.keys():
        for term in ("gain", "offset"):
            moved = [
                dict(energies[card].terms).get(term, 0.0) * scale if card in energies else 0.0
                for energies, scale in ((first, scale_a), (second, scale_b))
            ]
            variance += (moved[0] - moved[1]) ** 2
    shared = tuple(card for card in first if card in second)
    return Comparison(ratio, abs(ratio) * math.sqrt(variance), shared)


def _by_card(trace: Trace) -> dict[str, Energy]:
    if trace.unreadable:
        raise NoReadingsError("no energy for " + "; ".join(trace.unreadable.values()))
    devices = trace.recorded.devices
    return {devices[k].meta.uuid or k: energy for k, energy in trace.energies.items()}
