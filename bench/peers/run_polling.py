# SPDX-License-Identifier: Apache-2.0
"""The loop that most scripts have: a thread reads the power, the trapezoid rule does the rest."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left, bisect_right
from importlib.metadata import version

import pynvml
from peer import Tool, serve

INTERVAL_S = 0.01


class Polling(Tool):
    """``nvmlDeviceGetPowerUsage`` every 10 ms; windows end between two samples, linearly."""

    version = version("nvidia-ml-py")

    def __init__(self) -> None:
        super().__init__()
        pynvml.nvmlInit()
        self._handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        self._times: list[float] = []
        self._watts: list[float] = []
        self._windows: list[tuple[float, float]] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._poll, daemon=True)
        self._thread.start()

    def _poll(self) -> None:
        while not self._stopped.wait(INTERVAL_S):
            watts = pynvml.nvmlDeviceGetPowerUsage(self._handle) / 1e3
            self._times.append(time.monotonic())
            self._watts.append(watts)

    def start(self) -> None:
        self._windows = []

    def begin(self, label: str) -> None:
        self._start = time.monotonic()

    def end(self) -> None:
        self._windows.append((self._start, time.monotonic()))

    def stop(self) -> None:
        time.sleep(2 * INTERVAL_S)  # a sample after the last window
        for start, end in self._windows:
            self.answer(self._integral(start, end))

    def _integral(self, start: float, end: float) -> float:
        first, last = bisect_right(self._times, start), bisect_left(self._times, end)
        times = [start, *self._times[first:last], end]
        watts = [self._at(start), *self._watts[first:last], self._at(end)]
        pairs = zip(zip(times, watts), zip(times[1:], watts[1:]))  # noqa: B905
        return sum((t1 - t0) * (w0 + w1) / 2 for (t0, w0), (t1, w1) in pairs)

    def _at(self, t: float) -> float:
        after = min(max(bisect_left(self._times, t), 1), len(self._times) - 1)
        (t0, t1), (w0, w1) = self._times[after - 1 : after + 1], self._watts[after - 1 : after + 1]
        return w0 + (w1 - w0) * (t - t0) / (t1 - t0)

    def close(self) -> None:
        self._stopped.set()
        self._thread.join()


if __name__ == "__main__":
    serve(Polling())
