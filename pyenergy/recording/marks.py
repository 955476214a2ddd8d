# SPDX-License-Identifier: Apache-2.0
"""Marks: labelled spans inside a trace."""

from __future__ import annotations

from dataclasses import asdict, dataclass

__all__ = ["Mark"]


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
        How far the GPU's times are off at most.
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
