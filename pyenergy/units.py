# SPDX-License-Identifier: Apache-2.0
"""Units: the factors between what people say and the SI that pyenergy keeps inside."""

from __future__ import annotations

__all__ = ["NS_PER_MS", "NS_PER_S", "engineering", "seconds"]

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000

_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"))


def seconds(duration_ns: int) -> float:
    """Nanoseconds to seconds."""
    return duration_ns / NS_PER_S


def engineering(value: float, unit: str, digits: int = 3) -> str:
    """``value`` in ``unit`` with an SI prefix: ``0.0123, "s"`` gives ``"12.3 ms"``."""
    if value != value:
        return f"? {unit}"
    magnitude = abs(value)
    for factor, prefix in _PREFIXES:
        if magnitude >= factor * 0.9995:
            return f"{value / factor:.{digits}g} {prefix}{unit}"
    return f"{value:.{digits}g} {unit}"
