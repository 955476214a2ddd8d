# SPDX-License-Identifier: Apache-2.0
"""Clock anchors join CLOCK_MONOTONIC to Unix time."""

from __future__ import annotations

from dataclasses import dataclass

from .. import _core

__all__ = ["ClockAnchor"]


@dataclass(frozen=True)
class ClockAnchor:
    """At ``mono_ns`` the Unix clock said ``real_ns``, known to within ``width_ns``."""

    mono_ns: int
    real_ns: int
    width_ns: int

    @classmethod
    def take(cls) -> ClockAnchor:
        """The narrowest of 64 (mono, real, mono) triples taken now."""
        return cls(*_core.take_anchor())
