# SPDX-License-Identifier: Apache-2.0
"""``share="node"``: one sampler per device for all processes of a user that ask so.

One process reads the device and keeps what it reads in a live recording in memory; the others read
that recording and evaluate windows of their own. When the reader ends, however it ends, its lock is
free, and one of those that are left reads on: between the two nothing was read, which is a gap.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import weakref
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from . import _core
from ._share_folder import ShareFolder, share_key, user_folder
from ._tap import Tap
from .errors import OptionError, PyEnergyError, RecordingError, StateError
from .recording.live import LiveRecording
from .recording.live_read import LiveReader
from .recording.series import ChannelMeta, DeviceData, Runs
from .sensor.catalog import POWER_CHANNELS, prior_for
from .units import NS_PER_MS, NS_PER_S

if TYPE_CHECKING:
    from pathlib import Path

    from ._devices import Device
    from .config import Sampling

__all__ = ["NodeTap"]

_PERIOD_S = 0.05  # how often followers look whether the device is theirs to read
_STALE_NS = 20 * NS_PER_MS  # a follower's readings are that old at most, beside the 50 ms of rows
_KEEP_NS = NS_PER_S  # a device is read on for a while after the last that wanted it
_ENVIRONMENT = ("PYENERGY_SIMGPU", "PYENERGY_NVML_LIBRARY", "PYENERGY_SYSFS_ROOT", "PYENERGY_DCGM")


class _Shared:
    """One device in this process: read by us, or by another."""

    def __init__(self, device: Device, sampling: Sampling) -> None:
        world = [os.environ.get(name, "") for name in _ENVIRONMENT]
        key = share_key([_core.__version__, *device.key, sampling, *world])
        self.device, self.sampling = device, sampling
        self.folder = ShareFolder(user_folder(), key)
        self.users = 1  # who makes it
        self.tap: Tap | None = None  # while we read
        self._live: LiveRecording | None = None
        self._readers: dict[Path, LiveReader] = {}
        self._unwanted_ns = 0
        self._closed: list[tuple[int, weakref.ref[NodeTap]]] = []  # until when they want readings
        self.lock = threading.RLock()
        with self.lock:
            if self.folder.lead():
                if not self.folder.is_wanted():  # of others, long ago
                    self.folder.remove_recordings()
                try:
                    self._begin()
                except BaseException:
                    self.folder.close()
                    raise

    def step(self) -> bool:
        """Read the device if nobody does; False once nobody needs that any more."""
        with self.lock:
            if self.tap is None and self.users and self.folder.lead():
                self._begin()
            self._keep_for_closed()
            if self.users or (self.tap is not None and self.folder.is_wanted()):
                self._unwanted_ns = 0
                return True
            now = _core.now_ns()
            self._unwanted_ns = self._unwanted_ns or now
            return now - self._unwanted_ns < _KEEP_NS

    def closed(self, tap: NodeTap, until_ns: int) -> None:
        """Whoever asks later finds what the trace had; what comes later is not its own."""
        with self.lock:
            self._closed.append((until_ns, weakref.ref(tap)))

    def _keep_for_closed(self) -> None:
        now = _core.now_ns()
        due = [tap() for until_ns, tap in self._closed if until_ns < now]
        self._closed = [entry for entry in self._closed if entry[0] >= now]
        for tap in due:
            if tap is not None:
                tap.keep()

    def use(self, change: int) -> None:
        """One user more, or one less."""
        with self.lock:
            self.users += change

    def _begin(self) -> None:
        with contextlib.ExitStack() as undo:
            undo.callback(self.folder.follow)  # another may do better
            tap = Tap(self.device, self.sampling)
            undo.callback(tap.release)
            live = LiveRecording(self.folder.next_target())
            undo.callback(live.discard)
            live.follow([tap.source], _core.now_ns() - tap.margin_ns, {})
            undo.pop_all()
        live.start(_core.now_ns())
        self.tap, self._live = tap, live

    def end(self) -> None:
        """Read no more. What was read stays for those who follow; the last one removes it."""
        with self.lock:
            last = self.folder.lead() and not self.folder.is_wanted()
            if self.tap is not None and self._live is not None:
                self._live.leave()
                self.tap.release()
            if last:
                self.folder.remove_recordings()
            self.tap = self._live = None
            self.folder.close()

    def abandon(self) -> None:
        """In a fork's child: all of it is the parent's."""
        self.folder.close()

    def parts(self, first: str) -> list[tuple[int, DeviceData]]:
        """(pid, what it read) of every reader from that recording on, oldest first; not of us."""
        with self.lock:
            ours = self._live.path if self._live is not None else None
            paths = [p for p in self.folder.recordings() if p.name >= first and p != ours]
            found = [(path, self._read(path)) for path in paths]
            return [(self._readers[p].pid, data) for p, data in found if data is not None]

    def _read(self, path: Path) -> DeviceData | None:
        """None: it has not begun yet, or never did."""
        try:
            if path not in self._readers:
                self._readers[path] = LiveReader(path)
            (data,) = self._readers[path].read().devices.values()
        except (RecordingError, ValueError, OSError):
            return None
        return data


class NodeTap:
    """One device as a session listens to it, whoever reads it."""

    def __init__(self, device: Device, sampling: Sampling) -> None:
        self.device = device
        if device.info.source == "replay":
            raise OptionError("a replay is nobody's device: share='node' does not apply to it")
        self._shared = shared = _join(device, sampling)
        self._leave = weakref.finalize(self, shared.use, -1)
        self._kept: list[tuple[int, DeviceData]] | None = None  # once nothing more is wanted
        there = shared.folder.recordings()
        self._first = there[-1].name if there else ""
        self._opened_ns = _core.now_ns()
        self._asked_ns = self._last_ns = 0
        self._lag_ns = NS_PER_S // 10

    @property
    def power_lag_ns(self) -> int:
        """How long after a moment the last reading that covers it appears."""
        own = self._shared.tap
        return self._lag_ns if own is None else own.power_lag_ns

    @property
    def margin_ns(self) -> int:
        """How long before and after the bounds readings speak of them."""
        return max(2 * NS_PER_S, 2 * self.power_lag_ns)

    @property
    def running(self) -> bool:
        """Whether readings still come, or may come when another takes over."""
        own = self._shared.tap
        return True if own is None else own.running

    def release(self) -> None:
        """The trace has closed: what covers its end is still wanted, and no more."""
        self._shared.closed(self, _core.now_ns() + self.margin_ns)

    def keep(self) -> None:
        """Hold what was read, so that nobody need read on for us."""
        with contextlib.suppress(PyEnergyError, OSError):
            self._kept = self._parts(self._opened_ns, _core.now_ns())
        self._leave()

    def last_t_ns(self) -> int:
        """When the latest reading was taken."""
        if self._kept:
            self._look_at(self._kept[-1][1])
            return self._last_ns
        own = self._shared.tap
        if own is not None:
            return own.last_t_ns()
        now = _core.now_ns()
        if now - self._asked_ns > _STALE_NS:
            self._asked_ns = now
            parts = self._shared.parts(self._first)
            if parts:
                self._look_at(parts[-1][1])
        return self._last_ns

    def _look_at(self, data: DeviceData) -> None:
        name = next((n for n in POWER_CHANNELS if n in data.channels), next(iter(data.channels)))
        channel, runs = data.channels[name], data.runs[name]
        if channel.unit == "W":
            self._lag_ns = prior_for(
                data.meta.architecture, channel.source, channel.update_ns, channel.window_ns,
                channel.delay_ns,
            ).lag_ns  # fmt: skip
        usable = np.flatnonzero(runs.usable)
        self._last_ns = int(runs.t_last_ns[usable[-1]]) if len(usable) else 0

    def has_read(self) -> bool:
        """Whether a usable reading has arrived."""
        own = self._shared.tap
        if own is not None:
            return own.has_read()
        return self.last_t_ns() > self._opened_ns - NS_PER_S  # no older reader's

    def data(self, start_ns: int, end_ns: int) -> DeviceData:
        """What all readers in turn have read around the bounds.

        Raises
        ------
        StateError
            When nobody has read anything.
        """
        low, high = start_ns - self.margin_ns, end_ns + self.margin_ns
        parts = self._parts(start_ns, end_ns) if self._kept is None else self._kept
        if not parts:
            raise StateError(f"{self.device}: no process of this node has read it yet")
        pids = [pid for pid, _ in parts]
        meta = replace(self.device.meta, notes=(*self.device.meta.notes, _said(pids)))
        first = parts[0][1]
        runs = {
            name: _joined([p.runs[name] for _, p in parts if name in p.runs], channel).between(
                low, high
            )
            for name, channel in first.channels.items()
        }
        gap_ns = max(data.gap_ns for _, data in parts)
        return DeviceData(meta, first.channels, runs, parts[-1][1].stats, gap_ns)

    def _parts(self, start_ns: int, end_ns: int) -> list[tuple[int, DeviceData]]:
        """(pid, what it read) of every reader in turn."""
        low = start_ns - self.margin_ns
        parts = [p for p in self._shared.parts(self._first) if _last_ns(p[1]) >= low]
        own = self._shared.tap
        if own is not None:
            parts.append((os.getpid(), own.data(start_ns, end_ns)))
        return parts


def _last_ns(data: DeviceData) -> int:
    return max((int(runs.read_last_ns[-1]) for runs in data.runs.values() if len(runs)), default=0)


def _said(pids: list[int]) -> str:
    if len(pids) == 1:
        return f"shared on this node: read by process {pids[0]}"
    turn = ", ".join(map(str, pids))
    return (
        f"shared on this node: read by processes {turn} in turn; where one took over nothing was "
        "read"
    )


def _joined(parts: list[Runs], channel: ChannelMeta) -> Runs:
    """Runs of one reader after another; between them is a gap, and a counter lost its start."""
    kept: list[dict[str, np.ndarray]] = []
    end, total = 0, 0.0
    for runs in parts:
        columns = {n: np.array(getattr(runs, n)[runs.t_first_ns > end]) for n in Runs.names()}
        if not len(columns["value"]):
            continue
        if kept:
            columns["flags"][0] |= _core.FLAG_GAP_BEFORE
            if channel.kind == "counter":
                columns["flags"][0] |= _core.FLAG_RESET
                columns["value"] += total - columns["value"][0]
        end = int(columns["read_last_ns"][-1])
        known = columns["value"][np.isfinite(columns["value"])]
        total = float(known[-1]) if len(known) else total
        kept.append(columns)
    if not kept:
        return parts[0]
    whole = {n: np.concatenate([columns[n] for columns in kept]) for n in Runs.names()}
    for column in whole.values():
        column.setflags(write=False)
    return Runs(**whole)


# Of this process -----------------------------------------------------------------------------

_lock = threading.RLock()
_all: dict[tuple[object, ...], _Shared] = {}
_over = threading.Event()
_thread: threading.Thread | None = None


def _join(device: Device, sampling: Sampling) -> _Shared:
    global _thread
    with _lock:
        key = (*device.key, sampling, *(os.environ.get(name, "") for name in _ENVIRONMENT))
        if key in _all:
            _all[key].use(1)
        else:
            _all[key] = _Shared(device, sampling)
        if _thread is None:
            _over.clear()
            _thread = threading.Thread(target=_run, name="pyenergy-share", daemon=True)
            _thread.start()
        return _all[key]


def _run() -> None:
    global _thread
    while not _over.wait(_PERIOD_S):
        with _lock:
            for key, shared in list(_all.items()):
                needed = True
                with contextlib.suppress(PyEnergyError, OSError):  # look again in a moment
                    needed = shared.step()
                if not needed:
                    shared.end()
                    del _all[key]
            if not _all:
                _thread = None
                return


def _shutdown() -> None:
    """At interpreter exit: who follows takes over."""
    _over.set()
    thread = _thread
    if thread is not None and thread is not threading.current_thread():
        thread.join(1.0)
    with _lock:
        for shared in _all.values():
            shared.end()
        _all.clear()


def _after_fork_in_child() -> None:
    global _lock, _thread, _over
    _lock, _thread, _over = threading.RLock(), None, threading.Event()
    for shared in _all.values():
        shared.abandon()
        _abandoned.append(shared)
    _all.clear()


_abandoned: list[_Shared] = []

atexit.register(_shutdown)  # before that of _hub, which `_tap` has imported
os.register_at_fork(after_in_child=_after_fork_in_child)
