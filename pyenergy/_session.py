# SPDX-License-Identifier: Apache-2.0
"""A span of live sampling: what `trace` and `Monitor` are made of."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import replace
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from . import _core, _hub, _marks, _settling, _sync
from ._device_edges import DeviceEdges
from ._retention import Retention, clipped
from ._tap import Tap
from .errors import StateError
from .processes.watch import KEY, ProcessWatch
from .recording.clock_anchor import AnchorWatch
from .recording.marks import Mark
from .recording.recorded import Recorded
from .units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ._devices import Device
    from ._share import NodeTap
    from .config import Sampling
    from .recording.live import LiveRecording

__all__ = ["Session"]

_FIRST_SAMPLE_TIMEOUT_NS = NS_PER_S // 2
_COVER_TIMEOUT_NS = 3 * NS_PER_S
_HOST_TIMES = "marks that are not kept have the host's times: the GPU tells its own at the end"


class Session:
    """Holds the samplers of ``devices`` from `open` to `close`, and collects marks.

    ``clocks``, one for each device, puts it into simulated time: `step` polls, and nothing runs by
    itself.
    """

    def __init__(
        self,
        devices: tuple[Device, ...],
        sampling: Sampling,
        sync: bool,
        path: Path | None = None,
        facts: Mapping[str, Any] | None = None,
        processes: bool = False,
        share: bool = False,
        keep_ns: int | None = None,
        clocks: Sequence[_core.ManualClock] = (),
    ) -> None:
        self.devices = devices
        self._clocks = tuple(clocks)
        self._keep_ns = keep_ns
        self._retention: Retention | None = None
        self.sync = sync
        self.path = path
        self.live: LiveRecording | None = None  # until the file at `path` is written
        self.start_ns = 0
        self.end_ns = 0
        self.notes: list[str] = []
        self._sampling = sampling
        self._given = dict(facts or {})  # for the provenance
        self._users = ProcessWatch(d.meta for d in devices) if processes else None
        self._extra: dict[str, Any] = {}
        self.edges: DeviceEdges | None = None  # of marks, on a GPU that works behind the host
        self._marks: list[Mark] = []
        self._edges: dict[int, tuple[int, int]] = {}
        self._marks_lock = threading.RLock()
        self._clock: AnchorWatch | None = None
        self._share = share  # with other processes of this node
        self._taps: list[Tap | NodeTap] = []
        self._generation = _hub.generation()
        self._profiles: dict[str, dict[str, Any]] | None = None
        self._final: Recorded | None = None
        self._final_lock = threading.RLock()

    def open(self) -> None:
        """Start or join the samplers; returns when each has read once, or had half a second."""
        if self.path is not None:
            from .recording.live import LiveRecording

            self.live = LiveRecording(self.path)
        try:
            listen: type[Tap] | type[NodeTap] = Tap
            if self._share:
                from ._share import NodeTap as listen
            for device, clock in zip_longest(self.devices, self._clocks):
                given = () if clock is None else (clock,)
                self._taps.append(listen(device, self._sampling, *given))
            if not self._clocks:
                self._await_first_samples()
            if self.sync:
                _sync.synchronize(self.devices)
                self.edges = DeviceEdges.of(self.devices)
            if self.live is not None:
                self._follow(self.live)
        except BaseException:
            for tap in self._taps:
                tap.release()
            if self.live is not None:
                self.live.discard()
            raise
        if not self._clocks:
            self._clock = AnchorWatch(None if self.live is None else self.live.anchor)
        self.start_ns = self._now_ns()
        if self.live is not None:
            self.live.start(self.start_ns)
        if self._users is not None:
            self._users.start()
        if self._keep_ns is not None:
            margin_ns = max((t.margin_ns for t in self._taps), default=0)
            self._retention = Retention(self._keep_ns, self.start_ns, margin_ns)
            if not self._clocks:
                _settling.watch(self)

    def _now_ns(self) -> int:
        """Now; in simulated time that of the device that is least far."""
        return min((c.now_ns() for c in self._clocks), default=0) or _core.now_ns()

    def step(self, device: int, polls: int) -> None:
        """In simulated time: poll a device so often. Any thread, one for each device."""
        self._own_taps()[device].shared.stream.run_inline(polls)

    def _own_taps(self) -> list[Tap]:
        """Those that read themselves: all, unless other processes share the samplers."""
        return [t for t in self._taps if isinstance(t, Tap)]

    def _follow(self, live: LiveRecording) -> None:
        since_ns = _core.now_ns() - max((t.margin_ns for t in self._taps), default=0)
        live.notes += self.notes
        live.follow(
            [t.source for t in self._own_taps()],
            since_ns,
            self._facts(),
            self.edges is not None,
        )
        self.notes = list(live.notes)

    def close(self) -> None:
        """Mark the end and let the samplers go. Never waits for readings."""
        if self.is_foreign:
            return
        try:
            if self.sync:
                _sync.synchronize(self.devices)
        finally:
            self.end_ns = self._now_ns()
            if self._clock is not None:
                self._clock.stop()
            for tap in self._taps:
                tap.release()
            if self._users is not None:
                self._users.stop()
                self._extra[KEY] = self._users.described()
        self._resolve_marks()

    @property
    def is_foreign(self) -> bool:
        """Whether this session was opened by the process that forked this one."""
        return self._generation != _hub.generation()

    @property
    def is_open(self) -> bool:
        """Between `open` and `close`."""
        return self.start_ns > 0 and self.end_ns == 0

    def add_mark(self, mark: Mark, edges: tuple[int, int] = (-1, -1)) -> None:
        """Keep a span that lies inside this session, and the numbers of its edges on the GPU."""
        if mark.start_ns >= self.start_ns:
            with self._marks_lock:
                self._marks.append(mark)
                if edges[0] >= 0:
                    self._edges[id(mark)] = edges
            if self.live is not None:
                self.live.mark(mark)

    def add_note(self, note: str) -> None:
        """What a reader must know, also of a session whose readings are all in."""
        self.notes.append(note)
        if self._final is not None:
            self._final = replace(self._final, notes=(*self._final.notes, note))

    def _resolve_marks(self) -> None:
        """Give marks the GPU's times, now that it is idle; the host's where it tells none."""
        edges, self.edges = self.edges, None
        if edges is None or not self._marks:
            return
        bounds = self.start_ns, self.end_ns
        with self._marks_lock:
            try:
                self._marks, notes = edges.resolved(self._marks, self._edges, bounds)
            except RuntimeError as error:  # CUDA reports so what went wrong in the queue
                notes = [f"marks have the host's time: the GPU did not tell its own ({error})"]
            self._edges = {}
            self.notes += notes

    def recorded(self, wait: bool = True) -> Recorded:
        """What was measured so far; of a closed session everything that covers it.

        Raises
        ------
        StateError
            In a forked child: the readings arrive in the parent.
        """
        if self._final is not None:
            return self._final
        if self.is_foreign:
            raise StateError(
                "this trace was opened before fork(): its sampler runs in the parent process, "
                "which has the readings; open a new trace in the child"
            )
        if self.start_ns == 0:
            raise StateError("not started")
        with self._final_lock:  # whoever comes second must not find the taps gone
            if self._final is not None:
                return self._final
            covered = not self.is_open and (self._await_cover() if wait else self._covered())
            recorded = self._snapshot()
            if covered:
                self._final = recorded
                self._taps.clear()
            return recorded

    def _facts(self) -> dict[str, Any]:
        from ._profiles import stored
        from .recording import provenance

        if self._profiles is None:  # once: a trace has one calibration from end to end
            self._profiles = stored(t.device.meta for t in self._taps)
        return {**provenance.collect(), "profiles": self._profiles, **self._given}

    # What need not be kept -------------------------------------------------------------------

    @property
    def settle_period_s(self) -> float:
        """How often `settle` wants to be called, s."""
        retention = self._retention
        return math.inf if retention is None else retention.part_ns / 2 / NS_PER_S

    def settle(self) -> None:
        """Settle what is older than ``keep``; its readings may be forgotten then. Never raises."""
        try:
            self._settle()
        except Exception as error:  # whatever it is, the trace goes on and keeps everything
            note = (
                "what is older than keep could not be settled and stays in memory "
                f"({type(error).__name__}: {error})"
            )
            if note not in self.notes:
                self.add_note(note)

    def _settle(self) -> None:
        retention = self._retention
        if retention is None:
            return
        while self.is_open and (upto_ns := retention.next_ns(self._now_ns())) is not None:
            settled = retention.evaluated(self._block(retention, upto_ns))
            with self._final_lock:  # no snapshot has half of it
                retention.settle(settled)
                self._let_go(upto_ns - retention.margin_ns)

    def _block(self, retention: Retention, upto_ns: int) -> Recorded:
        """The part that is settled next. Marks that still run are in it as far as it goes."""
        start_ns, margin_ns = retention.kept_ns, retention.margin_ns
        around = start_ns - margin_ns, upto_ns + margin_ns
        running = [
            Mark(name, since_ns, around[1])
            for name, since_ns in _marks.running()
            if since_ns >= self.start_ns
        ]
        with self._marks_lock:
            marks = [*self._marks, *running]
        return Recorded(
            bounds_ns=(start_ns, upto_ns),
            devices={t.device.id: t.data(start_ns, upto_ns) for t in self._taps},
            marks=clipped(marks, *around),
            provenance=self._facts(),
        )

    def _let_go(self, needs_ns: int) -> None:
        for tap in self._own_taps():
            tap.let_go(needs_ns)
            if self._clocks:
                tap.shared.forget(self._now_ns())
        if self._clock is not None:
            self._clock.forget_before(needs_ns)
        with self._marks_lock:
            gone = [mark for mark in self._marks if mark.end_ns < needs_ns]
            if self.edges is not None and gone and _HOST_TIMES not in self.notes:
                self.notes.append(_HOST_TIMES)
            for mark in gone:
                self._edges.pop(id(mark), None)
            self._marks = [mark for mark in self._marks if mark.end_ns >= needs_ns]

    def _snapshot(self) -> Recorded:
        end_ns = self.end_ns or self._now_ns()
        retention = self._retention
        start_ns = self.start_ns if retention is None else retention.kept_ns
        problem = self.live.problem if self.live is not None else ""
        with self._marks_lock:
            marks = tuple(sorted(self._marks, key=lambda m: (m.start_ns, -m.end_ns)))
        return Recorded(
            bounds_ns=(start_ns, end_ns),
            devices={t.device.id: t.data(start_ns, end_ns) for t in self._taps},
            marks=marks,
            anchors=self._clock.anchors() if self._clock is not None else (),
            notes=(*self.notes, problem) if problem else tuple(self.notes),
            provenance=self._facts(),
            extra=dict(self._extra),
            settled=None if retention is None else retention.settled,
        )

    def _await_first_samples(self) -> None:
        deadline = _core.now_ns() + _FIRST_SAMPLE_TIMEOUT_NS
        for tap in self._taps:
            while not tap.has_read():
                if _core.now_ns() > deadline:
                    self.notes.append(f"{tap.device.id}: no reading yet when the trace began")
                    break
                time.sleep(0.0005)

    def _covered(self) -> bool:
        return all(
            tap.last_t_ns() >= self.end_ns + tap.power_lag_ns or not tap.running
            for tap in self._taps
        )

    def _await_cover(self) -> bool:
        """Wait until the readings that cover the end are published; True whatever came."""
        if self._clocks:
            return True  # whoever steps has to step on
        longest = max((tap.power_lag_ns for tap in self._taps), default=0)
        deadline = self.end_ns + longest + _COVER_TIMEOUT_NS
        while not self._covered() and _core.now_ns() < deadline:
            time.sleep(0.002)
        return True
