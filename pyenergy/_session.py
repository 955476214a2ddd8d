# SPDX-License-Identifier: Apache-2.0
"""A span of live sampling: what `trace` and `Monitor` are made of."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from . import _core, _hub, _sync
from ._device_edges import DeviceEdges
from .errors import StateError
from .processes.watch import KEY, ProcessWatch
from .recording.clock_anchor import AnchorWatch
from .recording.recorded import Recorded
from .recording.series import DeviceData, Runs
from .sensor.catalog import POWER_CHANNELS
from .units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ._devices import Device
    from ._hub import SharedStream
    from ._share import NodeTap
    from .config import Sampling
    from .recording.live import LiveRecording, LiveSource
    from .recording.marks import Mark

__all__ = ["Session", "Tap"]

_FIRST_SAMPLE_TIMEOUT_NS = NS_PER_S // 2
_COVER_TIMEOUT_NS = 3 * NS_PER_S
# Saved around the bounds, so that the edges keep the readings that speak of them.
_MARGIN_NS = 2 * NS_PER_S


class Tap:
    """One device's stream, and the recording it was filling when we began to listen."""

    def __init__(self, device: Device, sampling: Sampling) -> None:
        self.device = device
        self.shared: SharedStream = _hub.acquire(device, sampling)
        self.recording = self.shared.stream.recording
        self.dropped_before = self.shared.stream.dropped
        names = list(self.shared.channels)
        # The channel whose readings say up to when the energy is covered.
        self.covering = next((names.index(n) for n in POWER_CHANNELS if n in names), 0)

    def last_t_ns(self) -> int:
        self.shared.stream.drain()
        return self.recording.last_t_ns(self.covering)

    def has_read(self) -> bool:
        """Whether a usable reading has arrived."""
        if self.shared.ready is self.recording:
            return True
        if self.last_t_ns() == 0:
            return False
        self.recording.seal()
        if not Runs.of(self.recording.runs(self.covering)).usable.any():
            return False
        self.shared.ready = self.recording
        return True

    @property
    def source(self) -> LiveSource:
        """What a live recording follows."""
        from .recording.live import LiveSource

        shared = self.shared
        return LiveSource(self.device.meta, shared.channels, shared.stream, self.recording)

    @property
    def power_lag_ns(self) -> int:
        """How long after a moment the last reading that covers it appears."""
        return self.shared.power_lag_ns

    @property
    def running(self) -> bool:
        """Whether readings still come."""
        return self.shared.stream.running

    def release(self) -> None:
        """Let the sampler go; it lingers until this moment is covered."""
        self.shared.release()

    @property
    def margin_ns(self) -> int:
        """How long before and after the bounds readings speak of them."""
        return max(_MARGIN_NS, 2 * self.shared.power_lag_ns)

    def data(self, start_ns: int, end_ns: int) -> DeviceData:
        self.shared.stream.drain()
        self.recording.seal()
        margin = self.margin_ns
        return DeviceData(
            meta=self.device.meta,
            channels=self.shared.channels,
            runs={
                name: Runs.of(self.recording.runs(index)).between(
                    start_ns - margin, end_ns + margin
                )
                for index, name in enumerate(self.shared.channels)
            },
            stats={
                **self.shared.stream.stats(),
                "dropped_in_trace": self.shared.stream.dropped - self.dropped_before,
            },
            gap_ns=self.shared.stream.gap_ns,
        )


class Session:
    """Holds the samplers of ``devices`` from `open` to `close`, and collects marks."""

    def __init__(
        self,
        devices: tuple[Device, ...],
        sampling: Sampling,
        sync: bool,
        path: Path | None = None,
        facts: Mapping[str, Any] | None = None,
        processes: bool = False,
        share: bool = False,
    ) -> None:
        self.devices = devices
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
            for device in self.devices:
                self._taps.append(listen(device, self._sampling))
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
        self._clock = AnchorWatch(None if self.live is None else self.live.anchor)
        self.start_ns = _core.now_ns()
        if self.live is not None:
            self.live.start(self.start_ns)
        if self._users is not None:
            self._users.start()

    def _follow(self, live: LiveRecording) -> None:
        since_ns = _core.now_ns() - max((t.margin_ns for t in self._taps), default=0)
        live.notes += self.notes
        live.follow(
            [t.source for t in self._taps if isinstance(t, Tap)],
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
            self.end_ns = _core.now_ns()
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

    def _snapshot(self) -> Recorded:
        end_ns = self.end_ns or _core.now_ns()
        problem = self.live.problem if self.live is not None else ""
        with self._marks_lock:
            marks = tuple(sorted(self._marks, key=lambda m: (m.start_ns, -m.end_ns)))
        return Recorded(
            bounds_ns=(self.start_ns, end_ns),
            devices={t.device.id: t.data(self.start_ns, end_ns) for t in self._taps},
            marks=marks,
            anchors=self._clock.anchors() if self._clock is not None else (),
            notes=(*self.notes, problem) if problem else tuple(self.notes),
            provenance=self._facts(),
            extra=dict(self._extra),
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
        longest = max((tap.power_lag_ns for tap in self._taps), default=0)
        deadline = self.end_ns + longest + _COVER_TIMEOUT_NS
        while not self._covered() and _core.now_ns() < deadline:
            time.sleep(0.002)
        return True
