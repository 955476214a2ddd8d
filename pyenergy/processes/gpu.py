# SPDX-License-Identifier: Apache-2.0
"""Time in which processes had kernels running on one NVIDIA GPU, as its driver samples it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .. import _core
from ..units import NS_PER_S
from .proc import process_ticks
from .usage import Usage, UsageLog, Who

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["GpuUse"]

_NS_PER_US = 1000
# The driver averages over a sixth of a second to a second; after a longer silence its first sample
# tells of no more than that.
_LONGEST_NS = NS_PER_S
_PERCENT = 0.01


class GpuUse:
    """Asks NVML; `usage` tells what it found."""

    def __init__(self, uuid: str) -> None:
        self._uuid = uuid
        self._log = UsageLog()
        self._who: dict[int, Who] = {}
        self._busy: dict[Who, float] = {}
        self._after_us = self._last_ns = 0
        self._asked = False
        self.problem = ""

    def sample(self, t_ns: int) -> None:
        """Ask now, ``t_ns`` of CLOCK_MONOTONIC. Never raises: `problem` says what is wrong."""
        anchor = _core.take_anchor()
        offset_ns = anchor[0] - anchor[1]
        begins = self._last_ns == 0
        if begins:
            self._last_ns, self._after_us = t_ns, (t_ns - offset_ns) // _NS_PER_US
        try:
            found = _core.gpu_use(self._uuid, self._after_us)
        except RuntimeError as error:
            self.problem = str(error)
            return
        self.problem = found["problem"]
        self._meet([*found["running"], *(s[0] for s in found["samples"])])
        if begins:
            self._log.add(t_ns, 0.0, dict.fromkeys(self._who.values(), 0.0))
        self._take(found["samples"], offset_ns)
        if self._last_ns <= t_ns - _LONGEST_NS:  # nobody worked
            self._last_ns = t_ns
            self._add(t_ns)

    def _take(self, samples: Iterable[tuple[int, int, int, int]], offset_ns: int) -> None:
        """Samples of one moment or several; each tells of the time since the one before."""
        by_stamp: dict[int, list[tuple[int, int]]] = {}
        for pid, stamp_us, sm, _ in samples:
            by_stamp.setdefault(stamp_us, []).append((pid, sm))
        for stamp_us in sorted(by_stamp):
            self._after_us = max(self._after_us, stamp_us)
            at_ns = stamp_us * _NS_PER_US + offset_ns
            length_ns = min(at_ns - self._last_ns, _LONGEST_NS)
            if length_ns <= 0:
                continue
            for pid, sm in by_stamp[stamp_us]:
                self._busy[self._who[pid]] += sm * _PERCENT * length_ns / NS_PER_S
            self._last_ns = at_ns
            self._add(at_ns)

    def _add(self, t_ns: int) -> None:
        self._log.add(t_ns, sum(self._busy.values()), dict(self._busy))

    def _meet(self, pids: Iterable[int]) -> None:
        for pid in pids:
            if pid not in self._who:
                known = process_ticks(pid)
                self._who[pid] = Who(pid, known.name if known is not None else "")
                self._busy[self._who[pid]] = 0.0

    def usage(self) -> Usage:
        """All that was sampled."""
        notes = []
        if self._who and os.getpid() not in self._who:
            notes.append(
                f"this process ({os.getpid()}) is not among those that NVML names: it did not use "
                "this GPU, or NVML gives the host's pids, as it does in containers"
            )
        return self._log.usage(1, _PERCENT, "time with a kernel running", tuple(notes))
