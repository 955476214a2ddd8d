# SPDX-License-Identifier: Apache-2.0
"""Everything that a trace measured, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .clock_anchor import ClockAnchor
    from .marks import Mark
    from .operations import Operations
    from .series import DeviceData

__all__ = ["Recorded"]


@dataclass(frozen=True)
class Recorded:
    """Everything that a trace measured."""

    bounds_ns: tuple[int, int]
    devices: dict[str, DeviceData]
    marks: tuple[Mark, ...] = ()
    anchors: Sequence[ClockAnchor] = ()
    notes: tuple[str, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    operations: Operations | None = None
