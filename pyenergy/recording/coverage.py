# SPDX-License-Identifier: Apache-2.0
"""Where a recording begins before its readings, or ends after them.

Nothing was read there: it counts as a gap like any other, with any power that the device can draw.
A window's notes say for how long nothing was read; these say at which end, and who asked for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..units import NS_PER_S, engineering

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .marks import Mark

__all__ = ["Extent", "coverage_notes"]


@dataclass(frozen=True)
class Extent:
    """When a channel was read.

    Attributes
    ----------
    first_ns, last_ns : int
        Its first and last reading.
    silence_ns : int
        The longest interval between two readings that is no gap.
    """

    first_ns: int
    last_ns: int
    silence_ns: int


def coverage_notes(
    extents: Mapping[str, Extent],
    bounds_ns: tuple[int, int],
    marks: tuple[Mark, ...],
    asked: bool,
) -> list[str]:
    """Notes on channels that were not read all along, those that lack the same in one.

    Parameters
    ----------
    extents : mapping of str to Extent
        By channel (``"gpu:0/power"``).
    bounds_ns : (int, int)
        Start and end of the recording.
    marks : tuple of Mark
        What may have made the recording longer than its readings.
    asked : bool
        Whether the bounds were asked for: then it was they.
    """
    lacks: dict[str, list[str]] = {}
    for name, extent in extents.items():
        if lack := _lack(extent, bounds_ns, marks, asked):
            lacks.setdefault(lack, []).append(name)
    return [
        f"{', '.join(names)}: nothing was read in {lack}: a gap, with any power that the device "
        "can draw"
        for lack, names in lacks.items()
    ]


def _lack(extent: Extent, bounds_ns: tuple[int, int], marks: tuple[Mark, ...], asked: bool) -> str:
    """Which part of the recording has no readings, and why it is there; empty: none."""
    start, end = bounds_ns
    if extent.last_ns < start or extent.first_ns > end:
        return f"all {_seconds(end - start)} of the recording"
    head, tail = extent.first_ns - start, end - extent.last_ns
    parts = []
    if head > extent.silence_ns:
        first = next((m.name for m in marks if m.start_ns == start), None)
        parts.append(f"the first {_seconds(head)} ({_asker(asked, first, 'begin', 'earlier')})")
    if tail > extent.silence_ns:
        last = next((m.name for m in marks if m.end_ns == end), None)
        parts.append(f"the last {_seconds(tail)} ({_asker(asked, last, 'end', 'later')})")
    return " and ".join(parts)


def _asker(asked: bool, span: str | None, does: str, when: str) -> str:
    if asked:
        return f"bounds_ns {does} {when}"
    return f"span {span!r} {does}s {when}" if span is not None else f"other readings {does} {when}"


def _seconds(ns: int) -> str:
    return engineering(ns / NS_PER_S, "s")
