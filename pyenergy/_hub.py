# SPDX-License-Identifier: Apache-2.0
"""One sampler per device and process, shared by every trace and monitor that asks for it."""

from __future__ import annotations

import atexit
import math
import os
import threading
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from . import _core, _devices
from .errors import OptionError, RecordingError
from .recording.series import ChannelMeta
from .sensor.catalog import POWER_CHANNELS, SensorPrior, prior_for
from .sensor.profile import find_profile
from .units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Protocol

    from ._devices import Device
    from .config import Sampling
    from .sensor.profile import Profile

__all__ = ["SharedStream", "acquire", "forget", "generation", "simulated"]

# Readings that cover the end of a trace are published up to one lag after it; the rest keeps the
# sampler warm for the next trace, whose start then has readings before it.
_LINGER_NS = NS_PER_S
_NEVER_NS = 1 << 62


if TYPE_CHECKING:

    class Reader(Protocol):
        """Who looks at a recording, and since when."""

        recording: _core.Recording
        needs_ns: int


# Saved around the bounds of a trace, so that its edges keep the readings that speak of them.
_MARGIN_NS = 2 * NS_PER_S


@dataclass
class SharedStream:
    """A device's stream and what is known of its channels."""

    device: Device
    stream: _core.Stream
    channels: dict[str, ChannelMeta]
    priors: dict[str, SensorPrior]
    period_ns: int
    edge: bool
    longest_poll_ns: int  # that a wrapping counter allows, however rarely one would poll
    # The recording that is known to hold a usable reading: who joins it need not wait for one.
    ready: _core.Recording | None = None
    readers: weakref.WeakSet[Reader] = field(default_factory=weakref.WeakSet)

    @property
    def margin_ns(self) -> int:
        """How long before and after a time readings speak of it."""
        return max(_MARGIN_NS, 2 * self.power_lag_ns)

    def forget(self, now_ns: int) -> None:
        """Let the readings go that nobody needs; a trace that opens now needs one margin."""
        recording = self.stream.recording
        # A reader that joins from here on needs later ones.
        needed = [now_ns - 2 * self.margin_ns]
        needed += [r.needs_ns for r in list(self.readers) if r.recording is recording]
        recording.forget_before(min(needed))

    def serves(self, sampling: Sampling) -> bool:
        """Whether this stream polls at least as finely as ``sampling`` asks for."""
        if not self.stream.running:
            return False
        if sampling.rate_hz is None and sampling.pacing == "auto":
            return True
        wants_edge = sampling.pacing == "edge"
        return self.period_ns <= sampling.period_ns and (wants_edge or not self.edge)

    @property
    def power_lag_ns(self) -> int:
        """How long after a moment the last reading that covers it appears."""
        for name in POWER_CHANNELS:
            if name in self.priors:
                return self.priors[name].lag_ns
        return NS_PER_S // 10

    def release(self) -> None:
        """Let go; the sampler lingers until the readings that cover this moment are published."""
        self.stream.release(self.power_lag_ns + _LINGER_NS)


_lock = threading.RLock()  # as all of our locks: a signal handler may trace while we hold it
_streams: dict[tuple[object, ...], SharedStream] = {}
_abandoned: list[SharedStream] = []
_generation = 0


def generation() -> int:
    """Changes when this process is a fork: what was opened before belongs to the parent."""
    return _generation


def acquire(device: Device, sampling: Sampling) -> SharedStream:
    """A running stream of ``device`` that serves ``sampling``; `SharedStream.release` it."""
    with _lock:
        shared = _streams.get(device.key)
        if shared is None or not shared.serves(sampling):
            reusable = shared is not None and _same_options(shared, sampling)
            if not reusable:
                shared = _create(device, sampling)
                others = _streams.get(device.key)  # a signal handler's, meanwhile
                if others is not None and others.serves(sampling):
                    shared = others
                _streams[device.key] = shared
        assert shared is not None
        shared.stream.acquire()
        return shared


def simulated(device: Device, sampling: Sampling, clock: _core.ManualClock) -> SharedStream:
    """A stream in simulated time, which nobody shares: ``stream.run_inline`` polls."""
    return _create(device, sampling, clock)


def forget() -> None:
    """Let the readings of every sampler go that nobody needs."""
    with _lock:
        streams = list(_streams.values())
    for shared in streams:
        shared.forget(_core.now_ns())


def _same_options(shared: SharedStream, sampling: Sampling) -> bool:
    """A stopped stream is started again when it would be created alike; a replay never is, nor
    what reads files: those that are open may be of a module that was loaded anew since."""
    if shared.stream.running or shared.device.info.source in ("replay", "rapl", "hwmon"):
        return False
    seed = _seed_ns(shared.device, shared.priors, sampling)
    period_ns = min(sampling.period_ns, shared.longest_poll_ns)
    return shared.period_ns == period_ns and shared.edge == bool(seed)


def _longest_poll_ns(channels: Iterable[_core.Channel]) -> int:
    """Half the time in which the largest power that there may be takes a counter once around."""
    times_s = [
        c.modulus * c.scale / c.valid_max / 2
        for c in channels
        if c.kind == "counter" and c.modulus > 0 and math.isfinite(c.valid_max)
    ]
    return max(round(min(times_s) * NS_PER_S), 1) if times_s else _NEVER_NS


def _seed_ns(device: Device, priors: dict[str, SensorPrior], sampling: Sampling) -> int:
    """The update period that seeds edge pacing; 0: fixed pacing."""
    if device.info.source == "dcgm":  # its host engine polls the sensor, by its own clock
        if sampling.pacing == "edge":
            raise OptionError(
                "pacing='edge' has no meaning with DCGM, which reads the sensor itself every 10 ms"
            )
        return 0
    power = priors.get("power")
    return sampling.seed_ns(power.update_ns if power else -1)


def _create(
    device: Device, sampling: Sampling, clock: _core.ManualClock | None = None
) -> SharedStream:
    found = _devices.channels_of(device)
    longest_poll_ns = _longest_poll_ns(found)
    period_ns = min(sampling.period_ns, longest_poll_ns)
    channels = {c.name: ChannelMeta.of(c) for c in found}
    priors = {
        c.name: prior_for(device.meta.architecture, c.source, c.update_ns, c.window_ns, c.delay_ns)
        for c in channels.values()
        if c.unit == "W"
    }
    profile = _profile(device)
    if profile is not None:
        priors = {n: profile.narrowed(p, channels[n].source) for n, p in priors.items()}
    power = priors.get("power")
    seed = _seed_ns(device, priors, sampling)
    gap_ns = 0
    if device.info.source == "replay":
        gap_ns = _NEVER_NS  # a recording says itself where its gaps are
    elif power is not None and power.update_ns > 0:
        # Polls that pause for less than one update period can miss no update.
        gap_ns = max(power.update_ns, 10 * period_ns)
    elif power is None and "energy" in channels:
        gap_ns = longest_poll_ns  # a counter counts on while nobody looks
    stream = _core.Stream(
        device.info,
        period_ns=period_ns,
        pacing="edge" if seed else "fixed",
        seeds_ns=[seed if c.name == "power" else 0 for c in found] if seed else [],
        gap_ns=gap_ns,
        clock=clock,
    )
    return SharedStream(device, stream, channels, priors, period_ns, bool(seed), longest_poll_ns)


def _profile(device: Device) -> Profile | None:
    """The card's calibration; one that cannot be read is spoken of when energies are asked for."""
    if device.info.source in ("sim", "replay", "estimate"):
        return None
    try:
        return find_profile(device.meta.uuid)
    except RecordingError:
        return None


def _shutdown() -> None:
    """At interpreter exit: threads end before the interpreter does."""
    with _lock:
        streams = list(_streams.values())
        _streams.clear()
    for shared in streams:
        shared.stream.stop(1.0)


def _after_fork_in_child() -> None:
    """Threads do not survive a fork: forget them without touching what they may have locked."""
    global _lock, _generation
    _lock = threading.RLock()
    _generation += 1
    for shared in _streams.values():
        shared.stream.abandon_after_fork()
        _abandoned.append(shared)
    _streams.clear()
    _core.abandon_collector_after_fork()
    _devices.forget()


atexit.register(_shutdown)
os.register_at_fork(after_in_child=_after_fork_in_child)
