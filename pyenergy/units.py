# SPDX-License-Identifier: Apache-2.0
"""Units: the factors between what people say and the SI that pyenergy keeps inside."""

from __future__ import annotations

__all__ = ["NS_PER_MS", "NS_PER_S", "engineering", "si_prefix"]

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000

_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"))


def si_prefix(magnitude: float) -> tuple[float, str]:
    """Factor and letter of the prefix to show ``magnitude`` with; units up to 10 000 need none.

    >>> si_prefix(250.0), si_prefix(0.002), si_prefix(3.6e6)
    ((1.0, ''), (0.001, 'm'), (1000000.0, 'M'))
    """
    if 0.1 <= magnitude < 10_000 or magnitude == 0:
        return 1.0, ""
    for factor, prefix in _PREFIXES:
        if magnitude >= factor:
            return factor, prefix
    return _PREFIXES[-1]


def engineering(value: float, unit: str, digits: int = 3) -> str:
    """``value`` in ``unit`` with an SI prefix: ``0.0123, "s"`` gives ``"12.3 ms"``."""
    if value != value:
        return f"? {unit}"
    magnitude = abs(value)
    for factor, prefix in _PREFIXES:
        if magnitude >= factor * 0.9995:
            return f"{value / factor:.{digits}g} {prefix}{unit}"
    return f"{value:.{digits}g} {unit}"
