# SPDX-License-Identifier: Apache-2.0
"""CPU time of this process and of its descendants, beside that of the whole machine."""

from __future__ import annotations

import os

from .proc import TICK_S, ProcessTicks, cpu_totals, descendants, proc_root, process_ticks
from .usage import Usage, UsageLog, Who

__all__ = ["CpuUse"]

ENDED = Who(None, "(ended children)")


class CpuUse:
    """Samples ``/proc``; `usage` tells what it found.

    A child that ends between two samples leaves its last time to whoever waits for it: that is in
    the row `ENDED`, as are children that no sample saw.
    """

    def __init__(self, pid: int | None = None) -> None:
        self._pid = os.getpid() if pid is None else pid
        self._log = UsageLog()
        self._seen: dict[tuple[int, int], ProcessTicks] = {}  # alive at the last sample
        self._before: dict[tuple[int, int], int] = {}  # own ticks from before the trace
        self._ended = 0
        self._elsewhere = 0
        self._first: int | None = None
        self._units = 1
        self.problem = ""

    def sample(self, t_ns: int) -> None:
        """Look now, ``t_ns`` of CLOCK_MONOTONIC. Never raises: `problem` says what is wrong."""
        try:
            totals = cpu_totals()
        except (OSError, ValueError) as error:
            self.problem = f"{proc_root()}/stat: {error}"
            return
        if totals.total == 0:
            self.problem = f"{proc_root()}/stat counts no CPU time here (a sandbox)"
            return
        self._units = totals.processors
        begins = self._first is None
        self._first = totals.busy if self._first is None else self._first
        alive = self._alive()
        if not begins:
            self._count_ended(alive)
        for key, now in alive.items():
            self._before.setdefault(key, now.own if begins else 0)
        self._seen = alive
        busy = {
            Who(now.pid, now.name, now.started): (now.own - self._before[key]) * TICK_S
            for key, now in alive.items()
        }
        self._log.add(t_ns, (totals.busy - self._first) * TICK_S, busy | self._ended_row())

    def _ended_row(self) -> dict[Who, float]:
        return {ENDED: self._ended * TICK_S} if self._ended else {}

    def _alive(self) -> dict[tuple[int, int], ProcessTicks]:
        """The tree, and what was in it once: a process whose parent has ended is still ours."""
        pids = dict.fromkeys([*descendants(self._pid), *(pid for pid, _ in self._seen)])
        found = [ticks for ticks in map(process_ticks, pids) if ticks is not None]
        ours = {pid for pid, _ in self._seen} & {t.pid for t in found}
        return {
            (t.pid, t.started): t
            for t in found
            # A pid that is used again belongs to somebody else.
            if t.pid not in ours or (t.pid, t.started) in self._seen
        }

    def _count_ended(self, alive: dict[tuple[int, int], ProcessTicks]) -> None:
        """What parents were left by children, beyond what was seen of these."""
        left = sum(
            now.ended - (self._seen[key].ended if key in self._seen else 0)
            for key, now in alive.items()
        )
        gone = [last for key, last in self._seen.items() if key not in alive]
        known = sum(last.own + last.ended for last in gone)
        if left < known:
            self._elsewhere += len(gone)  # waited for by another, or by nobody
            return
        self._ended += left - known

    def usage(self) -> Usage:
        """All that was sampled."""
        notes = []
        if self._elsewhere:
            notes.append(
                f"{self._elsewhere} children ended that no process watched here waited for: up to "
                "one sample's CPU time of each is in (other)"
            )
        return self._log.usage(self._units, TICK_S, "CPU time", tuple(notes))
