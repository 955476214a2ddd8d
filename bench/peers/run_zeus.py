# SPDX-License-Identifier: Apache-2.0
"""Zeus: ``counter``, ``approx`` (its answer to windows within one update) or ``power``."""

from __future__ import annotations

import sys
import time
from importlib.metadata import version

from peer import Tool, serve
from zeus.monitor import PowerMonitor, ZeusMonitor

# Without it, 0.16.0 infers a period of 0 s and polls without a pause: that would take the
# machine's cores from every other tool. Zeus advises against less than this.
UPDATE_PERIOD_S = 0.05


class Windows(Tool):
    """``begin_window`` and ``end_window``: differences of the energy counter."""

    version = version("zeus")

    def __init__(self, approx_instant_energy: bool) -> None:
        super().__init__()
        self._monitor = ZeusMonitor(
            gpu_indices=[0], cpu_indices=[], approx_instant_energy=approx_instant_energy
        )

    def begin(self, label: str) -> None:
        # There is no framework in this process to synchronise with.
        self._monitor.begin_window(label, sync_execution=False)
        self._label = label

    def end(self) -> None:
        self.answer(self._monitor.end_window(self._label, sync_execution=False).gpu_energy[0])


class Power(Tool):
    """``PowerMonitor.get_energy`` for each window's own times."""

    version = version("zeus")

    def __init__(self) -> None:
        super().__init__()
        self._monitor = PowerMonitor(
            gpu_indices=[0], update_period=UPDATE_PERIOD_S, power_domains=["device_instant"]
        )
        self._windows: list[tuple[float, float]] = []

    def start(self) -> None:
        self._windows = []

    def begin(self, label: str) -> None:
        self._start = time.time()

    def end(self) -> None:
        self._windows.append((self._start, time.time()))

    def stop(self) -> None:
        for start, end in self._windows:
            energies = self._monitor.get_energy(start, end)
            self.answer(None if energies is None else energies[0])

    def close(self) -> None:
        self._monitor.stop()


if __name__ == "__main__":  # its child processes import this file again
    how = sys.argv[1]
    serve(Power() if how == "power" else Windows(how == "approx"))
