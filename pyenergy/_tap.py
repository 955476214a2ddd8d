# SPDX-License-Identifier: Apache-2.0
"""One device as a trace listens to it: the sampler's stream, from when the trace began."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import _core, _hub
from .recording.series import DeviceData, Runs
from .sensor.catalog import POWER_CHANNELS

if TYPE_CHECKING:
    from ._devices import Device
    from ._hub import SharedStream
    from .config import Sampling
    from .recording.live import LiveSource

__all__ = ["Tap"]


class Tap:
    """One device's stream, and the recording it was filling when we began to listen."""

    def __init__(
        self, device: Device, sampling: Sampling, clock: _core.ManualClock | None = None
    ) -> None:
        self.device = device
        self.shared: SharedStream = (
            _hub.acquire(device, sampling)
            if clock is None
            else _hub.simulated(device, sampling, clock)
        )
        self.recording = self.shared.stream.recording
        self.dropped_before = self.shared.stream.dropped
        names = list(self.shared.channels)
        # The channel whose readings say up to when the energy is covered.
        self.covering = next((names.index(n) for n in POWER_CHANNELS if n in names), 0)
        self.needs_ns = (clock or _core).now_ns() - self.margin_ns
        self._before: dict[str, Runs] = {}  # a channel's last usable run from before that
        self.shared.readers.add(self)

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
        return self.shared.margin_ns

    def runs(self, index: int, start_ns: int, end_ns: int) -> Runs:
        """Runs of a channel that speak of a time: views, but where the last usable one before was
        let go since."""
        name = list(self.shared.channels)[index]
        found = Runs.of(self.recording.runs(index)).between(start_ns, end_ns)
        before = self._before.get(name)
        if before is None or bool(found.usable[:1].any()):
            return found
        return found.after(before, silent=self.shared.channels[name].kind != "counter")

    def let_go(self, needs_ns: int) -> None:
        """Readings from before then are needed no more; `_hub.forget` removes them."""
        for index, name in enumerate(self.shared.channels):
            runs = Runs.of(self.recording.runs(index))
            last = np.flatnonzero(runs.usable & (runs.t_first_ns <= needs_ns))[-1:]
            if len(last):
                self._before[name] = runs.copied(int(last[0]), int(last[0]) + 1)
        self.needs_ns = needs_ns

    def data(self, start_ns: int, end_ns: int) -> DeviceData:
        self.shared.stream.drain()
        self.recording.seal()
        margin = self.margin_ns
        return DeviceData(
            meta=self.device.meta,
            channels=self.shared.channels,
            runs={
                name: self.runs(index, start_ns - margin, end_ns + margin)
                for index, name in enumerate(self.shared.channels)
            },
            stats={
                **self.shared.stream.stats(),
                "dropped_in_trace": self.shared.stream.dropped - self.dropped_before,
            },
            gap_ns=self.shared.stream.gap_ns,
        )
