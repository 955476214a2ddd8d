# SPDX-License-Identifier: Apache-2.0
"""Marks: labelled spans inside a trace."""

from __future__ import annotations

from dataclasses import asdict, dataclass

__all__ = ["Mark", "longest_wait_ns"]

# A wait is seldom longer than that many mean ones (of exponential ones 95 % are shorter).
_MEAN_WAITS = 3


@dataclass(frozen=True)
class Mark:
    """A labelled span, int64 ns of CLOCK_MONOTONIC.

    Attributes
    ----------
    name : str
    start_ns, end_ns : int
        When the work in it began and ended: on a GPU whose queue took the edges, the GPU's times.
    depth : int
        Marks around it.
    thread : int
        Which thread set it.
    host_start_ns, host_end_ns : int, optional
        When the host set the edges, where that is another time.
    bound_ns : int
        How far the edges may be off: of the GPU's times at most, of the host's because the thread
        waited so long for a processor.
    """

    name: str
    start_ns: int
    end_ns: int
    depth: int = 0
    thread: int = 0
    host_start_ns: int | None = None
    host_end_ns: int | None = None
    bound_ns: int = 0

    @property
    def host_ns(self) -> tuple[int, int]:
        """When the host set the edges."""
        start, end = self.host_start_ns, self.host_end_ns
        return (
            self.start_ns if start is None else start,
            self.end_ns if end is None else end,
        )

    def is_sound(self) -> bool:
        """Whether every number is one, and the end is not before the start."""
        host = [t for t in (self.host_start_ns, self.host_end_ns) if t is not None]
        whole = (self.start_ns, self.end_ns, self.depth, self.thread, self.bound_ns, *host)
        numbers = all(isinstance(n, int) and not isinstance(n, bool) for n in whole)
        return numbers and self.end_ns >= self.start_ns and self.host_ns[1] >= self.host_ns[0]

    def described(self) -> dict[str, str | int]:
        """What a recording keeps; `Mark(**described)` is the same mark."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def longest_wait_ns(before: tuple[int, int], after: tuple[int, int]) -> int:
    """How long a thread may have waited at an edge between two of its `_core.run_delay`, ns.

    All of it in one wait where there were few; else three times the mean. Where the kernel does
    not tell it is 0, and edges are as good as a host that has nothing else to do.
    """
    if before[0] < 0 or after[0] < 0:
        return 0
    waited, turns = after[0] - before[0], after[1] - before[1]
    return round(waited * min(1.0, _MEAN_WAITS / max(turns, 1)))
