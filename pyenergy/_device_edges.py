# SPDX-License-Identifier: Apache-2.0
"""Edges of marks in the queue of the GPU that works: when it got there, not when the host did."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ._sync import gpu_indices

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._devices import Device
    from .attribution.device_marks import DeviceMarks, Events
    from .recording.marks import Mark

__all__ = ["DeviceEdges"]

_FIRST_EVENTS = 16  # made before the trace begins; more where they are used up
_MOST_EVENTS = 200_000  # events that a driver is asked to keep for one trace


class DeviceEdges:
    """Events at the edges of one session's marks, between two moments at which the GPU is idle.

    Parameters
    ----------
    events : Events
        The GPU; all work that is queued on it has ended.
    what : str
        Its id.

    Raises
    ------
    RuntimeError
        Whatever CUDA reports of work before.
    """

    def __init__(self, events: Events, what: str) -> None:
        from .attribution.device_marks import DeviceMarks

        self._what = what
        self._marks: DeviceMarks = DeviceMarks(events, pool=_FIRST_EVENTS)
        self._count = 0
        self._missed = 0  # edges of which the device knows nothing
        self._marks.anchor()

    @classmethod
    def of(cls, devices: Sequence[Device]) -> DeviceEdges | None:
        """Of the GPU that this thread's work goes to; None where no CUDA work can be under way.

        A trace of several GPUs has the edges of the one that is current when it begins: what torch
        runs on the others is in step with its queue, or not marked better by the host.
        """
        indices = gpu_indices(devices)
        if not indices:
            return None
        current = int(sys.modules["torch"].cuda.current_device())
        if current not in indices:
            return None
        from .attribution.device_marks import CudaEvents

        return cls(CudaEvents(current), f"gpu:{current}")

    def edge(self) -> int:
        """Queue an edge: its number; -1 where the queue takes none."""
        if self._count >= _MOST_EVENTS:
            self._missed += 1
            return -1
        number = self._marks.mark()
        self._count += number >= 0
        self._missed += number < 0
        return number

    def resolved(
        self, marks: Sequence[Mark], edges: dict[int, tuple[int, int]], bounds_ns: tuple[int, int]
    ) -> tuple[list[Mark], list[str]]:
        """Marks with the GPU's times where it has any, once it is idle again; and notes.

        Parameters
        ----------
        marks : sequence of Mark
            With the host's times.
        edges : dict of int to (int, int)
            By `id` of a mark, the numbers of its edges.
        bounds_ns : (int, int)
            In which the GPU did all that was queued meanwhile.
        """
        self._marks.anchor()
        times = self._marks.times()
        found = []
        for mark in marks:
            first, last = edges.get(id(mark), (-1, -1))
            if first < 0 or last < 0:
                found.append(mark)
                continue
            # A time is known to a few microseconds, and better known not to lie outside.
            start, end = np.clip(times.t_ns[[first, last]], *bounds_ns).tolist()
            bound = int(times.bound_ns[[first, last]].max())
            found.append(
                replace(
                    mark,
                    start_ns=start,
                    end_ns=max(start, end),
                    host_start_ns=mark.start_ns,
                    host_end_ns=mark.end_ns,
                    bound_ns=bound,
                )
            )
        if not self._missed:
            return found, []
        return found, [
            f"{self._what}: {self._missed} edges of marks have the host's time (a CUDA graph was "
            f"being captured, or there were more than {_MOST_EVENTS:,}): work that was still "
            "queued falls after them"
        ]
