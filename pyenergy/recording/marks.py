# SPDX-License-Identifier: Apache-2.0
"""Marks: labelled spans of host time inside a trace."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Mark"]


@dataclass(frozen=True)
class Mark:
    """A labelled span, int64 ns of CLOCK_MONOTONIC; ``depth`` counts the marks around it."""

    name: str
    start_ns: int
    end_ns: int
    depth: int = 0
    thread: int = 0
