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
    from .settled import Settled

__all__ = ["Recorded"]


@dataclass(frozen=True)
class Recorded:
    """Everything that a trace measured.

    ``bounds_ns`` is what the readings are of. Where only the latest were kept, ``settled`` has the
    energy of what came before.
    """

    bounds_ns: tuple[int, int]
    devices: dict[str, DeviceData]
    marks: tuple[Mark, ...] = ()
    anchors: Sequence[ClockAnchor] = ()
    notes: tuple[str, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    operations: Operations | None = None
    settled: Settled | None = None

    @property
    def whole_ns(self) -> tuple[int, int]:
        """Start and end of the trace, that of which no readings are kept included."""
        start, end = self.bounds_ns
        return (start if self.settled is None else self.settled.start_ns), end
