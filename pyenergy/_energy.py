# SPDX-License-Identifier: Apache-2.0
"""An energy with its standard uncertainty."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import OptionError
from .units import si_prefix

if TYPE_CHECKING:
    from collections.abc import Iterable

    from uncertainties import UFloat

__all__ = ["Energy", "format_with_uncertainty"]


def format_with_uncertainty(value: float, u: float, unit: str) -> str:
    """``value ± u unit``, rounded by the PDG rule, with an SI prefix for large and small ones.

    The Particle Data Group's rule (Review of Particle Physics, Introduction 5.3) keeps one or two
    digits of the uncertainty and rounds the value to the same place.

    >>> format_with_uncertainty(1234.5, 67.8, "J")
    '1230 ± 70 J'
    >>> format_with_uncertainty(0.0712, 0.0035, "J")
    '71.2 ± 3.5 mJ'
    """
    if not (math.isfinite(value) and math.isfinite(u)):
        return f"{value:.4g} ± {u:.2g} {unit}"
    if u == 0.0:
        return f"{value:.6g} ± 0 {unit}"
    from uncertainties.formatting import PDG_precision

    factor, prefix = si_prefix(max(abs(value), u))
    digits, rounded = PDG_precision(u / factor)
    place = digits - 1 - math.floor(math.log10(rounded))
    shown = [_rounded(x / factor, place) for x in (value, u)]
    return f"{shown[0]} ± {shown[1]} {prefix}{unit}"


def _rounded(value: float, place: int) -> str:
    """``value`` rounded to ``place`` decimals (negative: tens, hundreds), never as ``-0``."""
    return f"{round(value, place) + 0.0:.{max(place, 0)}f}"


@dataclass(frozen=True)
class Energy:
    """Energy in joules with its standard uncertainty (GUM: one sigma).

    Attributes
    ----------
    joules : float
        Best estimate, J.
    u : float
        Standard uncertainty, J: everything that is known to be unknown, the sensor's gain
        included. A 95 % interval is ``interval(0.95)``.
    method : str
        How the number was obtained.
    scope : str
        What it covers (``"gpu"``, ``"module"``, ``"cpu-package"``, or several joined by ``+``).
    notes : tuple of str
        What a reader must know to use the number.
    u_same_card : float
        Standard uncertainty, J, of comparisons on one card: without its gain and offset, which
        are the same in every measurement on it (`pyenergy.compare` gives ratios).
    duration_s : float
        Length of the window, s.
    terms : tuple of (str, float)
        Contributions to `u`, J: see `budget`.
    """

    joules: float
    u: float
    method: str
    scope: str
    notes: tuple[str, ...] = ()
    u_same_card: float = math.nan
    duration_s: float = math.nan
    terms: tuple[tuple[str, float], ...] = ()

    def budget(self) -> dict[str, float]:
        """What each source contributes to `u`, J, largest first; in quadrature they are `u`.

        The names are those of `pyenergy.sensor.terms.TERMS`, which says what each is.
        """
        return dict(sorted(self.terms, key=lambda term: -term[1]))

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Coverage interval in joules, ``joules ± k u`` with the normal ``k`` (GUM G.1.3).

        Parameters
        ----------
        level : float
            Probability in (0, 1).

        Raises
        ------
        OptionError
            When ``level`` is not inside (0, 1).
        """
        if not 0.0 < level < 1.0:
            raise OptionError(f"level must lie inside (0, 1), got {level!r}")
        from statistics import NormalDist

        k = NormalDist().inv_cdf(0.5 + level / 2)
        return self.joules - k * self.u, self.joules + k * self.u

    def format_interval(self, level: float = 0.95) -> str:
        """The interval as text, rounded to the place of the uncertainty's PDG digits."""
        from uncertainties.formatting import PDG_precision

        low, high = self.interval(level)
        if self.u == 0.0 or not math.isfinite(self.u):
            return f"{low:.6g} … {high:.6g} J"
        factor, prefix = si_prefix(max(abs(self.joules), self.u))
        digits, rounded = PDG_precision(self.u / factor)
        place = digits - 1 - math.floor(math.log10(rounded))
        return f"{_rounded(low / factor, place)} … {_rounded(high / factor, place)} {prefix}J"

    @property
    def ufloat(self) -> UFloat:
        """The same as an ``uncertainties.ufloat``, for further arithmetic (J)."""
        from uncertainties import ufloat

        return ufloat(self.joules, self.u)

    @property
    def relative_u(self) -> float:
        """Standard uncertainty over energy; ``inf`` when the energy is zero and ``u`` is not."""
        if self.joules == 0.0:
            return 0.0 if self.u == 0.0 else math.inf
        return self.u / abs(self.joules)

    def __str__(self) -> str:
        return format_with_uncertainty(self.joules, self.u, "J")


def combine(parts: list[Energy]) -> Energy:
    """Sum of the energies of different devices; their errors are independent."""
    methods = list(dict.fromkeys(p.method for p in parts))
    scopes = list(dict.fromkeys(p.scope for p in parts))
    notes = tuple(dict.fromkeys(n for p in parts for n in p.notes))
    names = list(dict.fromkeys(name for p in parts for name, _ in p.terms))
    terms = tuple((name, _norm(dict(p.terms).get(name, 0.0) for p in parts)) for name in names)
    return Energy(
        joules=math.fsum(p.joules for p in parts),
        u=_norm(p.u for p in parts),
        method="; ".join(methods),
        scope="+".join(scopes),
        notes=notes,
        u_same_card=_norm(p.u_same_card for p in parts),
        duration_s=max((p.duration_s for p in parts), default=math.nan),
        terms=terms,
    )


def _norm(values: Iterable[float]) -> float:
    return math.sqrt(math.fsum(v**2 for v in values))
