# SPDX-License-Identifier: Apache-2.0
"""Clock anchors join CLOCK_MONOTONIC to Unix time: at both ends of a trace and in between.

On Linux both clocks are slewed together, so that their offset changes only when somebody sets the
time: anchors in between say when that was. They are taken by one thread for all traces of a
process, which ends when nothing has been traced for a second.
"""

from __future__ import annotations

import atexit
import bisect
import os
import threading
import time
import weakref
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

import numpy as np

from .. import _core
from ..units import NS_PER_S

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["AnchorWatch", "ClockAnchor", "ClockAnchors"]

PERIOD_NS = NS_PER_S // 10
# An anchor is 5 us of CPU, the wake-up before it 5 us on bare metal and up to 100 us in a virtual
# machine. Where that comes to more than this share of a core, anchors are taken more rarely; but
# not more rarely than once a second.
_MOST_SHARE = 1e-3
_LONGEST_NS = NS_PER_S
_LINGER_NS = NS_PER_S


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


class ClockAnchors(Sequence[ClockAnchor]):
    """Anchors in columns: read-only int64 arrays, ns; one `ClockAnchor` each as a sequence."""

    def __init__(self, mono_ns: NDArray[np.int64], *others: NDArray[np.int64]) -> None:
        self.mono_ns, self.real_ns, self.width_ns = (
            np.array(column, dtype=np.int64) for column in (mono_ns, *others)
        )
        if not len(self.mono_ns) == len(self.real_ns) == len(self.width_ns):
            raise ValueError("the columns of clock anchors differ in length")
        for column in (self.mono_ns, self.real_ns, self.width_ns):
            column.setflags(write=False)

    @classmethod
    def of(cls, anchors: Iterable[ClockAnchor]) -> ClockAnchors:
        """The same anchors in columns."""
        if isinstance(anchors, ClockAnchors):
            return anchors
        rows = [(a.mono_ns, a.real_ns, a.width_ns) for a in anchors]
        return cls(*np.array(rows, dtype=np.int64).reshape(-1, 3).T)

    def __len__(self) -> int:
        return len(self.mono_ns)

    @overload
    def __getitem__(self, index: int) -> ClockAnchor: ...
    @overload
    def __getitem__(self, index: slice) -> ClockAnchors: ...
    def __getitem__(self, index: int | slice) -> ClockAnchor | ClockAnchors:
        columns = self.mono_ns[index], self.real_ns[index], self.width_ns[index]
        if isinstance(index, slice):
            return ClockAnchors(*columns)
        return ClockAnchor(*(int(value) for value in columns))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<ClockAnchors: {len(self)}>"


class AnchorWatch:
    """Anchors from now until `stop`: one at each end, and in between one every 100 ms.

    Where a wake-up costs more than 100 us of CPU they are rarer, so that it stays near 0.1 % of a
    core: one every second at worst. What the offset did between two is in the bound of the times
    (`ClockMap`), which is the wider the farther they are apart.
    """

    def __init__(self, tell: Callable[[ClockAnchor], None] | None = None) -> None:
        self._keeper = _keeper
        self._tell = tell  # each anchor as it is taken; must not raise
        self._log = self._keeper.enter(tell)
        self._first = ClockAnchor.take()
        self._keeper.needs[self] = self._first.mono_ns
        self._last: ClockAnchor | None = None
        if tell is not None:
            tell(self._first)

    def stop(self) -> None:
        """Take the last anchor. In a forked child, whose parent watches, it does nothing."""
        if self._last is None and self._keeper is _keeper:
            self._last = ClockAnchor.take()
            self._keeper.leave(self._tell)
            if self._tell is not None:
                self._tell(self._last)

    def forget_before(self, t_ns: int) -> None:
        """Anchors from before then are not needed, but for the latest of them."""
        rows = self._keeper.read(self._log)
        before = rows[rows[:, 0] <= t_ns]
        if len(before) and before[-1, 0] > self._first.mono_ns:
            self._first = ClockAnchor(*(int(value) for value in before[-1]))
        self._keeper.forget(self, self._log, self._first.mono_ns)

    def anchors(self) -> ClockAnchors:
        """What there is so far; while the watch runs one of now is the last."""
        first, last = self._first, self._last or ClockAnchor.take()
        rows = self._keeper.read(self._log)
        inside = rows[(rows[:, 0] > first.mono_ns) & (rows[:, 0] < last.mono_ns)]
        ends = [[(a.mono_ns, a.real_ns, a.width_ns)] for a in (first, last)]
        return ClockAnchors(*np.concatenate([ends[0], inside, ends[1]]).T)


class _Keeper:
    """The thread that takes anchors while anybody watches, and what it has taken."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a signal handler may trace, too
        self._log = array("q")  # mono, real, width; mono, real, width; ...
        self._watches = 0
        # From when on each needs the log, also after it has stopped.
        self.needs: weakref.WeakKeyDictionary[AnchorWatch, int] = weakref.WeakKeyDictionary()
        self._told: tuple[Callable[[ClockAnchor], None], ...] = ()  # replaced as a whole
        self._thread: threading.Thread | None = None
        self._over = threading.Lock()  # released to end the thread: the cheapest wait there is
        self._over.acquire()

    def enter(self, tell: Callable[[ClockAnchor], None] | None) -> array[int]:
        """Begin to watch; the log that will hold the anchors."""
        with self._lock:
            if tell is not None:
                self._told = (*self._told, tell)
            if self._watches == 0:
                self._log = array("q")  # who watched before keeps the old one
            self._watches += 1
            if self._thread is None:
                self._start()
            return self._log

    def leave(self, tell: Callable[[ClockAnchor], None] | None) -> None:
        with self._lock:
            self._told = tuple(other for other in self._told if other != tell)
            self._watches -= 1

    def read(self, log: array[int]) -> NDArray[np.int64]:
        """A copy of ``log``, one anchor a row."""
        with self._lock:  # an array cannot grow while NumPy looks at it
            return np.array(log, dtype=np.int64).reshape(-1, 3)

    def forget(self, watch: AnchorWatch, log: array[int], needs_ns: int) -> None:
        """One needs ``log`` only from then on; what nobody needs goes."""
        self.needs[watch] = needs_ns
        first = min(self.needs.values())
        with self._lock:
            gone = bisect.bisect_left(range(0, len(log), 3), first, key=log.__getitem__)
            del log[: 3 * gone]

    def shut(self) -> None:
        """At interpreter exit."""
        thread = self._thread
        if thread is not None and self._over.locked():
            self._over.release()
            thread.join(1.0)

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="pyenergy-anchors", daemon=True)
        self._thread = thread
        try:
            thread.start()
        except RuntimeError:  # the interpreter ends, or no thread is left: both ends remain
            self._thread = None

    def _run(self) -> None:
        period_ns, idle_ns, ticks = PERIOD_NS, 0, 0
        while not self._over.acquire(timeout=period_ns / NS_PER_S):
            idle_ns = 0 if self._tick() else idle_ns + period_ns
            if idle_ns >= _LINGER_NS and self._may_end():
                return
            ticks += 1
            period_ns = _period_ns(time.thread_time_ns() / ticks)

    def _tick(self) -> bool:
        """Whether anybody watches, who then has one anchor more."""
        if self._watches == 0:
            return False
        anchor = _core.take_anchor()
        with self._lock:
            self._log.extend(anchor)
        for tell in self._told:
            tell(ClockAnchor(*anchor))
        return True

    def _may_end(self) -> bool:
        with self._lock:
            if self._watches == 0:
                self._thread = None
            return self._watches == 0


def _period_ns(cpu_ns: float) -> int:
    """Time between anchors of which each costs ``cpu_ns``."""
    return min(max(PERIOD_NS, int(cpu_ns / _MOST_SHARE)), _LONGEST_NS)


_keeper = _Keeper()


def _after_fork_in_child() -> None:
    """The thread did not survive and its lock may be held: the child starts with nothing."""
    global _keeper
    _keeper = _Keeper()


def _shutdown() -> None:
    _keeper.shut()


atexit.register(_shutdown)
os.register_at_fork(after_in_child=_after_fork_in_child)
