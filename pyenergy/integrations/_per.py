# SPDX-License-Identifier: Apache-2.0
"""An energy divided by how many of something it made."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .._energy import Energy

__all__ = ["per"]


def per(energy: Energy, count: float) -> Energy | None:
    """``energy / count``, every part of its uncertainty too; None when there is nothing."""
    if count <= 0:
        return None
    return replace(
        energy,
        joules=energy.joules / count,
        u=energy.u / count,
        u_same_card=energy.u_same_card / count,
        duration_s=energy.duration_s / count,
        terms=tuple((name, u / count) for name, u in energy.terms),
    )
