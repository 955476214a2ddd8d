# SPDX-License-Identifier: Apache-2.0
"""Marks that a device passes between its pieces of work, as times of CLOCK_MONOTONIC afterwards.

A mark is an event in the device's queue: recording one does not wait for the work before it. Events
know only how far apart they are. At an anchor the device is idle, and the host reads its clock
just before it records an event and just after the event has passed: anchors before and after tie
the marks between them to the host's clock.
"""

from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from .. import _core
from ..errors import OptionError, StateError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["CudaEvents", "DeviceMarks", "Events", "MarkTimes"]

_RESOLUTION_NS = 500  # cudaEventElapsedTime, as CUDA documents it
_FLOAT32 = 2.0**-24  # it gives milliseconds in single precision
_TRIES = 8


class Events(Protocol):
    """A device that passes events; all of this project that knows of one."""

    def make(self) -> Any:
        """A new event, ready to be recorded."""

    def record(self, event: Any) -> None:
        """Queue it behind the work of the current stream."""

    def can_record(self) -> bool:
        """Whether the current stream runs what it is given: a CUDA graph's capture does not."""

    def drain(self) -> None:
        """Wait for all work of the device."""

    def wait(self, event: Any) -> None:
        """Wait until it has passed."""

    def elapsed_ms(self, first: Any, second: Any) -> float:
        """From one that has passed to another, ms."""


class CudaEvents:
    """Events of torch on one CUDA device."""

    def __init__(self, device: Any) -> None:
        import torch

        self._cuda: Any = torch.cuda
        self._device = device

    def make(self) -> Any:
        event = self._cuda.Event(enable_timing=True)
        self.record(event)  # CUDA makes the event when it is recorded for the first time
        return event

    def record(self, event: Any) -> None:
        event.record(self._cuda.current_stream(self._device))

    def can_record(self) -> bool:
        return not self._cuda.is_current_stream_capturing()

    def drain(self) -> None:
        self._cuda.synchronize(self._device)

    def wait(self, event: Any) -> None:
        event.synchronize()

    def elapsed_ms(self, first: Any, second: Any) -> float:
        return float(first.elapsed_time(second))


@dataclass(frozen=True)
class MarkTimes:
    """``t_ns`` on CLOCK_MONOTONIC, and how far each is off at most, ``bound_ns``."""

    t_ns: NDArray[np.int64]
    bound_ns: NDArray[np.int64]


@dataclass(frozen=True)
class _Anchor:
    event: Any
    t_ns: int
    half_width_ns: int


class DeviceMarks:
    """Records marks and tells their times; any thread may mark.

    Parameters
    ----------
    events : Events
        The device.
    pool : int
        Events made beforehand. When they are used up more are made, in the midst of what is timed.
    now_ns : callable, optional
        CLOCK_MONOTONIC in ns.
    """

    def __init__(
        self, events: Events, pool: int = 4096, now_ns: Callable[[], int] = _core.now_ns
    ) -> None:
        if pool < 1:
            raise OptionError(f"a pool of {pool} events is none: it must be at least 1")
        self._events = events
        self._now_ns = now_ns
        self._lock = threading.Lock()
        self._pool = [events.make() for _ in range(pool)]
        self._first_pool = pool
        self._count = itertools.count()
        self._anchors: list[_Anchor] = []
        self._resolved: list[MarkTimes] = []
        self._before = 0  # marks before the last anchor

    @property
    def grown(self) -> int:
        """How many events had to be made while marks were set."""
        return len(self._pool) - self._first_pool

    def anchor(self) -> int:
        """Wait for the device and tie its events to the host's clock: the time, ns.

        The events of marks before it are free again: call it between windows of a long run, while
        no other thread marks.
        """
        self._events.drain()
        best = None
        for _ in range(_TRIES):
            event = self._events.make()
            before = self._now_ns()
            self._events.record(event)
            self._events.wait(event)
            after = self._now_ns()
            half = (after - before + 1) // 2
            if best is None or half < best.half_width_ns:
                best = _Anchor(event, before + half, half)
        assert best is not None
        marked = next(self._count)
        self._count = itertools.count()
        if self._anchors:
            self._resolved.append(self._between(self._anchors[-1], best, marked))
        elif marked:
            raise StateError("marks were set before the first anchor: nothing says when")
        self._before += marked
        self._anchors.append(best)
        return best.t_ns

    def mark(self) -> int:
        """Queue a mark: its number, from 0; -1 where a CUDA graph is being captured."""
        if not self._events.can_record():
            return -1
        number = next(self._count)
        try:
            event = self._pool[number]
        except IndexError:
            event = self._more(number)
        self._events.record(event)
        return self._before + number

    def times(self) -> MarkTimes:
        """Of every mark before the last anchor."""
        parts = self._resolved
        empty = np.zeros(0, np.int64)
        return MarkTimes(
            np.concatenate([empty, *(part.t_ns for part in parts)]),
            np.concatenate([empty, *(part.bound_ns for part in parts)]),
        )

    def _more(self, number: int) -> Any:
        with self._lock:
            while len(self._pool) <= number:
                self._pool.extend([self._events.make() for _ in range(self._first_pool)])
        return self._pool[number]

    def _between(self, first: _Anchor, last: _Anchor, count: int) -> MarkTimes:
        """Marks between two anchors, as if the clocks' difference grew evenly.

        The bound holds also if all of it came at any one moment.
        """
        elapsed = self._events.elapsed_ms
        after = np.array([elapsed(first.event, mark) for mark in self._pool[:count]]) * 1e6
        whole = elapsed(first.event, last.event) * 1e6
        apart = (last.t_ns - first.t_ns) - whole
        share = after / whole if whole > 0 else np.zeros(count)
        rounding = (np.abs(after) + whole) * _FLOAT32
        uneven = abs(apart) * np.maximum(share, 1 - share)
        bound = max(first.half_width_ns, last.half_width_ns) + _RESOLUTION_NS + rounding + uneven
        t_ns = first.t_ns + np.rint(after + apart * share).astype(np.int64)
        return MarkTimes(t_ns, np.ceil(bound).astype(np.int64))
