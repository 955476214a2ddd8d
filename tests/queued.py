# SPDX-License-Identifier: Apache-2.0
"""GPUs that work behind the host: what a queue of work and events does to times."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import numpy as np


class Device:
    """A queue of work and events. Host time passes in calls; the device's clock runs off by ppm."""

    def __init__(self, ppm: float = 0.0, jump_ns: int = 0, call_ns: int = 1000) -> None:
        self.host_ns = 5_000_000_000
        self.jump_ns = jump_ns  # of the device's clock, after 30 ms
        self.busy_until_ns = 0.0  # the host's clock
        self.ppm, self.call_ns = ppm, call_ns
        self.made = 0
        self.capturing = False
        self.fails = False

    def now_ns(self) -> int:
        self.host_ns += 50
        return self.host_ns

    def work(self, ns: int) -> None:
        """Launch something that takes so long."""
        self.host_ns += self.call_ns
        self.busy_until_ns = max(self.busy_until_ns, self.host_ns) + ns

    def make(self) -> dict[str, float]:
        self.made += 1
        return {}

    def record(self, event: dict[str, float]) -> None:
        if self.fails:
            raise RuntimeError("an illegal memory access")
        self.host_ns += self.call_ns
        event["ns"] = max(self.busy_until_ns, self.host_ns)

    def can_record(self) -> bool:
        return not self.capturing

    def drain(self) -> None:
        self.host_ns = max(self.host_ns, int(self.busy_until_ns) + 1)

    def wait(self, event: dict[str, float]) -> None:
        self.host_ns = max(self.host_ns, int(event["ns"])) + self.call_ns

    def clock(self, ns: float) -> float:
        jumped = self.jump_ns if ns > 5_030_000_000 else 0
        return (ns - 5e9) * (1 + self.ppm * 1e-6) + jumped

    def elapsed_ms(self, first: dict[str, float], second: dict[str, float]) -> float:
        apart = self.clock(second["ns"]) - self.clock(first["ns"])
        return float(np.float32(round(apart / 500) * 500 * 1e-6))


class Cuda:
    """As much of ``torch.cuda`` as times need, over a queue in real time; one GPU."""

    def __init__(self, index: int = 0) -> None:
        self.index, self.busy_until_ns, self.capturing = index, 0, False
        self.waited: list[tuple[int, int]] = []
        cuda = self

        class Event:
            def __init__(self, enable_timing: bool = False) -> None:
                self.ns = 0

            def record(self, stream: object) -> None:
                self.ns = max(time.monotonic_ns(), cuda.busy_until_ns)

            def synchronize(self) -> None:
                while time.monotonic_ns() < self.ns:
                    time.sleep(1e-4)

            def elapsed_time(self, other: Any) -> float:
                return float(np.float32(round((other.ns - self.ns) / 500) * 500 * 1e-6))

        self.Event = Event

    def work(self, ns: int) -> tuple[int, int]:
        """Launch what takes so long; when it will run."""
        start = max(time.monotonic_ns(), self.busy_until_ns)
        self.busy_until_ns = start + ns
        return start, self.busy_until_ns

    def module(self) -> SimpleNamespace:
        """To be ``torch``."""
        return SimpleNamespace(cuda=self)

    def is_initialized(self) -> bool:
        return True

    def device_count(self) -> int:
        return 2

    def current_device(self) -> int:
        return self.index

    def current_stream(self, device: object = None) -> str:
        return "the only stream"

    def is_current_stream_capturing(self) -> bool:
        return self.capturing

    def synchronize(self, device: int) -> None:
        self.waited.append((device, time.monotonic_ns()))
        while device == self.index and time.monotonic_ns() < self.busy_until_ns:
            time.sleep(1e-4)
